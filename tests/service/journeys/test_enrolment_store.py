"""Questions about one customer, or about those who are in a journey now, do not read everybody who ever was."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from service.journeys import enrolment_store
from service.storage.database import Connection, Database

OF_CUSTOMER = "ix_journey_enrolments_customer (customer_id=? AND journey_id=?)"


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda at: enrolment_store.earlier(at, "j", "c"), OF_CUSTOMER),
        (lambda at: enrolment_store.ever_enrolled(at, "j", ["c", "d"], False), OF_CUSTOMER),
        (lambda at: enrolment_store.ever_enrolled(at, "j", ["c", "d"], True), OF_CUSTOMER),
        (lambda at: enrolment_store.count_active(at, "j"), "ix_journey_enrolments_step (journey_id=? AND status=?)"),
    ],
)
def test_an_index_of_what_is_asked_is_read(tmp_path: Path, ask: Callable[[Connection], Any], index: str) -> None:
    """On SQLite, which plans without knowing what the tables hold."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.create_tables()
    asked: list[tuple[str, Any]] = []
    event.listen(database.engine, "before_cursor_execute", lambda *told: asked.append((told[2], told[3])))
    with database.read() as connection:
        ask(connection)
        [(query, values)] = asked
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
    assert [row for row in plan if index in row[3]], plan
    database.close()

"""Several columns asked for together: those rows and no others, found by an index."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Column, Integer, String, Table, select

from service.customers.refunds_store import refunds_of
from service.decisions.lessons_store import take_lessons
from service.decisions.outcome_store import every_outcome, outcomes
from service.experiments.experiment_store import add_values
from service.experiments.goals_store import goals_of, goals_of_orders, remove_goals
from service.offers.offers_store import read_versions
from service.storage.database import Connection, Database, any_key, metadata
from tests.fakes.plans import plans_of, sqlite_at

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
pairs = Table("test_pairs", metadata, Column("a", String, primary_key=True), Column("b", Integer, primary_key=True))


def test_rows_are_those_asked_for(database: Database) -> None:
    with database.write() as connection:
        connection.execute(pairs.insert(), [{"a": a, "b": b} for a in "xyz" for b in range(3)])
        for keys in ([("x", 1)], [("x", 1), ("z", 0), ("y", 2), ("nobody", 1)], []):
            found = connection.execute(select(pairs).where(any_key((pairs.c.a, pairs.c.b), keys))).all()
            assert {tuple(row) for row in found} == {key for key in keys if key[0] != "nobody"}


def lesson(number: int) -> SimpleNamespace:
    return SimpleNamespace(decision_id=f"d{number}", offer_id="o", channel="email", stage=1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda at: take_lessons(at, [lesson(1), lesson(2)]),
        lambda at: goals_of(at, {("e", "c1"), ("e", "c2")}),
        lambda at: goals_of_orders(at, {("c1", "o1"), ("c2", "o2")}),
        lambda at: remove_goals(at, [("m1", "e", "m"), ("m2", "e", "m")]),
        lambda at: refunds_of(at, {("c1", "o1"), ("c2", "o2")}),
        lambda at: add_values(at, {("e", "c1", "m"): (1, 1.0), ("e", "c2", "m"): (1, 1.0)}),
        lambda at: read_versions(at, [("o1", 1), ("o2", 1)]),
        lambda at: list(every_outcome(at)),
    ],
)
def test_no_table_is_read_for_a_few_of_its_rows(tmp_path: Path, ask: Callable[[Connection], Any]) -> None:
    database = sqlite_at(tmp_path)
    with database.write() as connection:
        told = [line for line in plans_of(database, connection, ask) if "CONSTANT ROWS" not in line]
    assert [line for line in told if line.startswith("SEARCH")]
    assert not [line for line in told if line.startswith("SCAN")]
    database.close()


def test_every_outcome_is_told_once_wherever_a_portion_ends(database: Database) -> None:
    rows = [
        {"message_id": f"m{n}", "kind": kind, "decision_id": "d", "customer_id": "c", "at": NOON, "machine": False}
        for n in range(4)
        for kind in ("clicked", "converted", "opened")
    ]
    with database.write() as connection:
        connection.execute(outcomes.insert(), rows)
        for size in (1, 2, 4, 5, 12, 100):
            told = [(row.message_id, row.kind) for some in every_outcome(connection, size) for row in some]
            assert told == sorted((str(row["message_id"]), str(row["kind"])) for row in rows)

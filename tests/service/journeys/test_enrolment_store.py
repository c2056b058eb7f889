"""Questions about one customer, or about those who are in a journey now, do not read everybody who ever was."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.journeys import enrolment_store
from service.journeys.enrolment import State
from service.journeys.enrolment_store import Enrolment, claim_due
from service.journeys.figures_store import count_converted, count_tasks, problems, standing_counts
from service.journeys.journey_store import journeys
from service.storage.database import Connection
from tests.fakes.plans import plans_of, sqlite_at

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)
OF_CUSTOMER = "ix_journey_enrolments_customer (customer_id=? AND journey_id=?)"
STANDING = "ix_journey_enrolments_standing"
DUE = "SEARCH journey_enrolments USING INDEX ix_journey_enrolments_due (journey_id=? AND due_at<?)"


def enrol(connection: Connection, name: str, journey: str, due: datetime) -> None:
    state = State(NOON)
    enrolment = Enrolment(name, journey, 1, name, "active", 0, state, due_at=due)
    assert enrolment_store.add_enrolment(connection, enrolment, None)


@pytest.mark.parametrize(
    ("ask", "index"),
    [
        (lambda at: enrolment_store.earlier(at, "j", "c"), OF_CUSTOMER),
        (lambda at: enrolment_store.ever_enrolled(at, "j", ["c", "d"], False), OF_CUSTOMER),
        (lambda at: enrolment_store.ever_enrolled(at, "j", ["c", "d"], True), OF_CUSTOMER),
        (lambda at: problems(at, ("j", None), 50), "ix_journey_enrolments_problem (journey_id=?)"),
        (lambda at: enrolment_store.count_active(at, "j"), f"{STANDING} (journey_id=? AND status=?)"),
        (lambda at: standing_counts(at, ("j", None)), f"COVERING INDEX {STANDING} (journey_id=?)"),
        (lambda at: count_converted(at, ("j", None)), "COVERING INDEX ix_journey_enrolments_converted (journey_id=?"),
    ],
)
def test_an_index_of_what_is_asked_is_read(tmp_path: Path, ask: Callable[[Connection], Any], index: str) -> None:
    database = sqlite_at(tmp_path)
    with database.read() as connection:
        assert [line for line in plans_of(database, connection, ask) if index in line]
    database.close()


def test_a_wave_is_claimed_off_the_index_and_those_due_first_first(tmp_path: Path) -> None:
    """Of a hundred thousand that are due at once each claim sorted all."""
    database = sqlite_at(tmp_path)
    with database.write() as connection:
        for journey, status in (("one", "active"), ("other", "active"), ("still", "paused")):
            made = {"journey_id": journey, "status": status, "version": 1, "created_at": NOON, "changed_at": NOON}
            connection.execute(journeys.insert().values(made))
            for place in range(6):
                enrol(
                    connection,
                    f"{journey}-{place}",
                    journey,
                    NOON - timedelta(minutes=place * 2 + (journey == "other")),
                )
        enrol(connection, "later", "one", NOON + timedelta(minutes=1))
        until = NOON + timedelta(minutes=1)
        claimed: list[str] = []

        def claim(at: Connection) -> None:
            claimed.extend(one.id for one in claim_due(at, NOON, NOON, until, 5))

        plans = plans_of(database, connection, claim)
        assert claimed == ["other-5", "one-5", "other-4", "one-4", "other-3"]
        assert [line for line in plans if "due_at" in line] == [DUE] * 2
        assert not [line for line in plans if "journey_enrolments" in line and line.startswith("SCAN")]
        assert not [line for line in plans if "TEMP B-TREE" in line]
        rest = [one.id for one in claim_due(connection, NOON, NOON, until, 50)]
        assert len(rest) == 7
        assert not set(rest) & {*claimed, "later"}
    database.close()


def test_tasks_are_counted_without_the_messages(tmp_path: Path) -> None:
    """Of a journey of years those are many times as many."""
    database = sqlite_at(tmp_path)
    with database.read() as connection:
        plans = plans_of(database, connection, lambda at: count_tasks(at, ("j", None)))
    assert [line for line in plans if "ix_journey_tasks_state (journey_id=?)" in line]
    assert not [line for line in plans if "send_intents" in line]
    database.close()

"""Limits that customers share count what went before them, whenever an offer came by its limit."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from service.decisions import ledger_store
from service.decisions.ledger_lines_store import add_foreign
from service.decisions.ledger_store import count_by_offer, counted_of, lock, reserve
from service.decisions.schemas import DecisionIn
from service.offers.offers_store import delete_offer
from service.storage.database import Database, driver_of
from tests.fakes.decisions import NOON, Desk, NextOffer, settings

FIVE = {"caps": [{"max": 5, "per_days": 7, "per": "everyone"}]}
SMS = {"channels": ["sms"]}


@pytest.fixture
def desk(database: Database) -> Desk:
    desk = Desk(database, settings(caps=[]))
    desk.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.9})
    return desk


def sent(decider: Any, customers: str, times: int, offer: str = "a") -> int:
    asked = [DecisionIn(customer_id=f"{customers}{n}", offers=[offer]) for n in range(times)]
    return sum(bool(answer["actions"]) for answer in decider.decide_many(asked))


def test_a_limit_counts_what_went_before_it(desk: Desk) -> None:
    desk.put(a=SMS, b=SMS)
    here, elsewhere = desk.decider, desk.decider
    assert sent(here, "x", 3) == 3
    assert sent(here, "x", 3, "b") == 3
    desk.put(a=SMS | FIVE)
    assert sent(elsewhere, "y", 9) == 2
    assert sent(here, "z", 9) == 0
    assert sent(here, "z", 9, "b") == 9
    desk.put(a=SMS)  # without the limit for a while
    assert sent(here, "v", 4) == 4
    desk.put(a=SMS | {"caps": [{"max": 11, "per_days": 7, "per": "everyone"}]})
    assert sent(here, "w", 9) == 2


def test_a_budget_counts_what_was_spent_before_it(desk: Desk) -> None:
    desk.put(a=SMS | {"cost": 0.5})
    decider = desk.decider
    assert sent(decider, "x", 3) == 3
    desk.put(a=SMS | {"cost": 0.5, "budget": {"amount": 2.0, "per_days": 1}})
    assert sent(decider, "y", 9) == 1
    desk.clock.forward(hours=49)  # nothing was delivered: every place is free again
    assert sent(decider, "z", 9) == 4


def test_an_offer_that_was_taken_out_and_comes_back_with_a_limit(desk: Desk, database: Database) -> None:
    desk.put(a=SMS)
    decider = desk.decider
    assert sent(decider, "x", 3) == 3
    with database.write() as connection:
        assert delete_offer(connection, "a", NOON)
    desk.put(b=SMS)
    assert sent(decider, "y", 1, "b") == 1
    desk.put(a=SMS | FIVE)
    assert sent(decider, "y", 9) == 2


def test_messages_of_other_senders_count(desk: Desk, database: Database) -> None:
    with database.write() as connection:  # before the catalogue knew the offer
        for number in range(3):
            add_foreign(connection, f"m{number}", f"x{number}", "a", "sms", NOON - timedelta(hours=1))
        add_foreign(connection, "m9", "x9", None, "sms", NOON - timedelta(hours=1))
    desk.put(a=SMS | FIVE)
    assert sent(desk.decider, "y", 9) == 2


def test_a_decision_from_before_the_limit_that_is_written_after_it(desk: Desk, database: Database) -> None:
    """It was weighed without the limit, and counts in it nevertheless."""
    desk.put(a=SMS)
    late, other = desk.decider, desk.decider
    drafts = late.draft([DecisionIn(customer_id="late", offers=["a"])], NOON)
    desk.put(a=SMS | FIVE)
    assert sent(other, "x", 2) == 2
    assert late._writer.write(drafts, NOON) == set()
    assert sent(other, "y", 9) == 2


def test_the_limit_waits_for_those_who_are_reserving(desk: Desk, database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has one writer")
    desk.put(a=SMS)
    decider = desk.decider
    draft = decider.draft([DecisionIn(customer_id="late", offers=["a"])], NOON)[0]
    found: list[int] = []
    with database.write() as connection:
        lock(connection, ["late"], ())
        desk.put(a=SMS | FIVE)
        counting = threading.Thread(target=lambda: found.append(sent(decider, "y", 9)))
        counting.start()
        counting.join(0.3)
        assert counting.is_alive()  # it cannot have seen the line that comes now
        reserve(connection, list(decider._writer.lines(draft)))
    counting.join(60)
    assert found == [4]


def test_of_many_who_come_at_once_the_first_looks_through_the_ledger(desk: Desk, database: Database) -> None:
    desk.put(a=SMS)
    assert sent(desk.decider, "x", 2) == 2
    marked = text("SELECT count(*) FROM ledger WHERE shared")
    with database.write() as connection:
        count_by_offer(connection, ["a"], ["a"])
        assert connection.execute(marked).scalar_one() == 2
        connection.execute(text("UPDATE ledger SET shared = false"))
        count_by_offer(connection, ["a"], ["a"])
        assert connection.execute(marked).scalar_one() == 0  # looked at by nobody


def test_only_counted_offers_are_in_the_index(desk: Desk, database: Database) -> None:
    desk.put(a=SMS, b=SMS | FIVE)
    decider = desk.decider
    assert (sent(decider, "x", 3), sent(decider, "x", 3, "b")) == (3, 3)
    with database.read() as connection:
        marked = "SELECT DISTINCT offer_id FROM ledger WHERE shared"
        assert connection.execute(text(marked)).scalars().all() == ["b"]
        assert counted_of(connection, ["a", "b"]) == {"b"}
        if database.is_sqlite:
            told = {"offer": "b", "since": 0, "until": 1, "planned": 1, "now": 0, "ahead": 1, "step": 1}
            shared = ledger_store._SHARED._made(connection.dialect)
            for query, values in (
                (shared.sql, [0 if name != "offer" else "b" for name in shared.names]),
                (str(ledger_store._BY_AGE), told),
            ):
                plan = driver_of(connection).execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
                assert "USING INDEX ix_ledger_shared (offer_id=? AND at>? AND at<?)" in plan[0][3], plan

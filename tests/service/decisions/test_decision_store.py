"""Whose decisions are: told by the ledger's lines, and by an index where there are none."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from sqlalchemy import text

from service.decisions.decision_store import held_of, latest_decisions, move_decisions
from service.decisions.ledger_lines_store import lines_of, move_ledger, release, release_all, release_decisions
from service.decisions.ledger_store import reserve
from service.decisions.line import Line
from service.decisions.read_decision import erase_of
from service.decisions.schemas import DecisionIn
from service.storage.database import Connection, Database
from tests.fakes.decisions import Desk, NextOffer, settings


def made(database: Database, **decisions: Any) -> list[str]:
    """Three decisions for anna with two lines each, and one for bob, a minute apart."""
    desk = Desk(database, settings(explore_by="epsilon_greedy", epsilon=0, floor=0, caps=[], **decisions))
    desk.put(a={}, b={})
    desk.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.8})
    ids = []
    for name in ("anna", "anna", "anna", "bob"):
        desk.clock.forward(minutes=1)
        ids.append(str(desk.decider.decide(DecisionIn(customer_id=name, top_k=2))["decision_id"]))
    return ids


def found(connection: Connection, customer: str = "anna") -> list[str]:
    """Oldest first; both ways of reading agree."""
    newest = latest_decisions(connection, customer, 100)
    assert [row.decision_id for row in held_of(connection, customer)[0]] == newest[::-1]
    return newest[::-1]


def lineless(connection: Connection) -> set[str]:
    return set(connection.execute(text("SELECT decision_id FROM decisions WHERE NOT in_ledger")).scalars())


def test_a_customer_has_their_own_decisions_newest_first(database: Database) -> None:
    ids = made(database)
    with database.read() as connection:
        assert lineless(connection) == set()
        assert found(connection) == ids[:3]
        assert found(connection, "bob") == ids[3:]
        assert found(connection, "nobody") == []
        assert latest_decisions(connection, "anna", 2) == [ids[2], ids[1]]


def test_decisions_that_send_nothing_are_found(database: Database) -> None:
    ids = made(database, arms={"model": 0, "random": 0, "business_as_usual": 0, "holdout": 1})
    with database.read() as connection:
        assert lineless(connection) == set(ids)
        assert found(connection) == ids[:3]


@pytest.mark.parametrize("by", ["one", "many", "lines", "one line after the other"])
def test_decisions_whose_lines_were_given_back_are_found(database: Database, by: str) -> None:
    ids = made(database)
    with database.write() as connection:
        if by == "one":
            assert release(connection, ids[0]) == 2
        elif by == "many":
            release_decisions(connection, [ids[0], "nosuch"])
        elif by == "lines":
            release_all(connection, [(ids[0], 1), (ids[0], 2), ("nosuch", 1)])
        else:
            release_all(connection, [(ids[0], 1)])
            assert lineless(connection) == set()
            release_all(connection, [(ids[0], 2)])
    with database.read() as connection:
        assert lines_of(connection, ids[:1]) == {}
        assert lineless(connection) == {ids[0]}
        assert found(connection) == ids[:3]


def test_somebody_elses_line_does_not_tell_of_a_decision(database: Database) -> None:
    """Nor does it show anna's decision to its customer."""
    ids = made(database)
    with database.write() as connection:
        reserve(connection, [Line(ids[0], 3, "carl", "a", "email", True, True, 0.0, 1, 2, "default", None, 1)])
        release_all(connection, [(ids[0], 1), (ids[0], 2)])
        assert lineless(connection) == {ids[0]}
        assert found(connection) == ids[:3]
        assert found(connection, "carl") == []


def test_joined_ids_have_one_list_with_lines_and_without(database: Database) -> None:
    ids = made(database)
    with database.write() as connection:
        release(connection, ids[1])
        move_decisions(connection, "anna", "bob")
        move_ledger(connection, "anna", "bob")
        assert found(connection, "bob") == ids
        assert found(connection) == []
        release_decisions(connection, ids)
        assert found(connection, "bob") == ids


def test_erasing_takes_decisions_with_lines_and_without(database: Database) -> None:
    ids = made(database)
    with database.write() as connection:
        release(connection, ids[1])
        assert erase_of(connection, ["anna"]) == 3 + 4  # decisions, lines without a name
        left = connection.execute(text("SELECT decision_id FROM decisions")).scalars().all()
        assert list(left) == ids[3:]
        assert found(connection, "bob") == ids[3:]


def test_two_who_give_back_lines_of_one_decision_at_once_lose_it_for_nobody(database: Database) -> None:
    """On Postgres the second waits for the first; SQLite has one writer."""
    ids = made(database)
    begun = threading.Event()

    def second() -> None:
        with database.write() as connection:
            begun.set()
            release_all(connection, [(ids[0], 2)])

    other = threading.Thread(target=second)
    with database.write() as connection:
        release_all(connection, [(ids[0], 1)])
        other.start()
        begun.wait(0.5)
        other.join(0.5)
    other.join()
    with database.read() as connection:
        assert lineless(connection) == {ids[0]}


def test_whoever_gives_back_and_whoever_joins_customers_at_once_both_come_through(database: Database) -> None:
    """Both take the decisions before the lines, so neither waits for the other for ever."""
    ids = made(database)
    released: list[int] = []

    def second() -> None:
        with database.write() as connection:
            released.append(release(connection, ids[0]))

    other = threading.Thread(target=second)
    with database.write() as connection:
        move_decisions(connection, "anna", "bob")
        other.start()
        other.join(0.5)
        move_ledger(connection, "anna", "bob")
    other.join()
    with database.read() as connection:
        assert released == [2]
        assert found(connection, "bob") == ids

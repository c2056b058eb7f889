from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decisions.case import DAY_US, microseconds
from service.decisions.folded import rows_of, unfolded
from service.decisions.ledger_lines_store import (
    erase_ledger,
    lines_of,
    move_ledger,
    offered_to,
    release,
    release_all,
    settle,
    use,
)
from service.decisions.ledger_store import count_by_offer, counted_of, ledger, reserve
from service.decisions.line import Line
from service.storage.database import Database
from tests.fakes.decisions import NOON
from tests.fakes.ledger import read_entries

NOW = microseconds(NOON)
OFFERS = ["a", "b", 'c"%_\\', "d"]


def line(decision: str, rank: int, offer: str, channel: str = "email", at: int = NOW) -> Line:
    return Line(decision, rank, "c1", offer, channel, rank == 1, rank != 2, rank / 4, at, at + DAY_US, "home", "g", NOW)


def decided(decision: str = "d1") -> list[Line]:
    """A message and three more of its list, one planned for later."""
    return [line(decision, rank, offer, at=NOW + (rank == 3) * DAY_US) for rank, offer in enumerate(OFFERS, 1)]


LINES = st.lists(
    st.tuples(st.sampled_from("xyz"), st.lists(st.sampled_from(OFFERS), min_size=1, max_size=4, unique=True)),
    max_size=4,
)


@given(LINES, st.sets(st.sampled_from(OFFERS)))
def test_what_is_folded_unfolds_to_the_same_lines(decisions: list[tuple[str, list[str]]], counted: set[str]) -> None:
    lines = [
        line(f"{name}{n}", rank, offer)
        for n, (name, offers) in enumerate(decisions)
        for rank, offer in enumerate(offers, 1)
    ]
    names = [column.name for column in ledger.c]
    rows = [SimpleStored(dict(zip(names, row, strict=True))) for row in rows_of(lines, counted)]
    assert sorted(map(tuple, unfolded(rows))) == sorted(map(tuple, lines))
    assert {row.offer_id for row in rows if row.shared} == {one.offer_id for one in lines} & counted
    assert len(rows) == sum(one.message or one.offer_id in counted for one in lines)


class SimpleStored(SimpleNamespace):
    """A row as the database gives it: by name, and as a sequence."""

    def __init__(self, named: dict[str, Any]) -> None:
        super().__init__(**named)
        self._values = tuple(named.values())

    def __getitem__(self, place: slice) -> Any:
        return self._values[place]


@pytest.fixture
def stored(database: Database) -> Database:
    with database.write() as connection:
        reserve(connection, decided())
        assert len(connection.execute(ledger.select()).all()) == 1
    return database


def held(database: Database) -> list[Line]:
    with database.read() as connection:
        return sorted(lines_of(connection, ["d1"]).values(), key=lambda one: one.rank)


def test_lines_are_told_as_they_were_reserved(stored: Database) -> None:
    assert [tuple(one) for one in held(stored)] == [tuple(one) for one in decided()]
    with stored.read() as connection:
        assert read_entries(connection, ["c1"], NOW - 1)["c1"] == tuple(
            one.entry() for one in sorted(decided(), key=lambda one: one.at)
        )
        # the message lies before the time asked for, what is folded into it behind
        assert read_entries(connection, ["c1"], NOW)["c1"] == (decided()[2].entry(),)


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_any_of_the_lines_can_be_delivered(stored: Database, rank: int) -> None:
    with stored.write() as connection:
        told = use(connection, "d1", OFFERS[rank - 1], None, NOW + 7)
        assert told is not None
        assert (told.rank, told.first) == (rank, True)
    assert [(one.rank, one.message, one.expires is None) for one in held(stored)] == [
        (n, n == rank, n == rank) for n in (1, 2, 3, 4)
    ]
    with stored.write() as connection:
        assert release(connection, "d1") == 3
    assert [one.rank for one in held(stored)] == [rank]


@pytest.mark.parametrize("rank", [1, 3])
def test_one_line_is_given_back_or_settled_alone(stored: Database, rank: int) -> None:
    with stored.write() as connection:
        settle(connection, [("d1", 2)])
        release_all(connection, [("d1", rank), ("d1", 2)])
    assert [one.rank for one in held(stored)] == [n for n in (1, 2, 3, 4) if n != rank]


def test_a_limit_that_comes_later_counts_what_was_folded(stored: Database) -> None:
    with stored.write() as connection:
        reserve(connection, decided("d2"))
        count_by_offer(connection, [OFFERS[2]], [OFFERS[2]])
        assert counted_of(connection, OFFERS) == {OFFERS[2]}
        marked = connection.execute(ledger.select().where(ledger.c.shared)).all()
        assert [(row.decision_id, row.offer_id) for row in marked] == [("d1", OFFERS[2]), ("d2", OFFERS[2])]
        reserve(connection, decided("d3"))
        rows = connection.execute(ledger.select().where(ledger.c.decision_id == "d3")).all()
        assert [(row.rank, row.shared) for row in sorted(rows, key=lambda row: row.rank)] == [(1, False), (3, True)]
    assert [tuple(one) for one in held(stored)] == [tuple(one) for one in decided()]


def test_folded_lines_go_with_their_customer_and_are_found_by_offer(stored: Database) -> None:
    with stored.write() as connection:
        move_ledger(connection, "c1", "c2")
        found = offered_to(connection, "c2", OFFERS[2], NOW + 1, NOW)
        assert [(one.rank, one.customer_id) for one in found] == [(3, "c2")]
        assert offered_to(connection, "c2", OFFERS[2], NOW, NOW - 1) == []  # not reserved by then
        assert erase_ledger(connection, "c2") == 4
        assert read_entries(connection, ["c2"], 0) == {}
    assert {one.customer_id for one in held(stored)} == {""}

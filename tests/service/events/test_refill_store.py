"""An online store that has lost its rows is filled anew, before anybody is served as a newcomer for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from features import row_stores
from features.row_stores import RowStore, open_store
from service.events import refill_store
from service.events.rebuild_store import customer_histories, feature_layouts, how_many_wait
from service.events.refill_store import is_lost
from tests.fakes.house import House

MARK = "\x1fw"


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(refill_store, "_EVERY_S", 0.0)
    monkeypatch.setattr(row_stores, "_LOOK_S", 0.0)
    made = House(tmp_path / "home")
    made.send(1, "c1")
    made.send(2, "c1")
    made.send(3, "c2")
    return made


def rows_of(house: House) -> RowStore:
    return open_store(house.settings.online_url, "customers")


def empty(store: RowStore) -> None:
    store.change(list(store.keys()), lambda rows: [None] * len(rows))


def orders(house: House) -> list[float | None]:
    rows = house.parts.online.read(["c1", "c2"], house.now)
    return [None if row is None else row.values["orders_total"] for row in rows]


def test_a_store_that_was_emptied_is_filled_anew(house: House) -> None:
    house.settle()
    assert orders(house) == [2, 1]
    empty(rows_of(house))
    house.send(4, "c1")  # makes a row of one order, before anybody has looked
    house.settle()
    assert orders(house) == [3, 1]
    with house.parts.database.read() as connection:
        assert how_many_wait(connection) == (0, 0)


def test_a_file_that_is_deleted_under_the_process_is_made_and_filled_anew(house: House) -> None:
    house.settle()
    path = Path(house.settings.online_url.removeprefix("sqlite:///"))
    path.unlink()
    house.send(4, "c1")
    house.settle()
    assert orders(house) == [3, 1]
    assert path.exists()
    assert [row for row in rows_of(house).read(["c1", "c2"]) if row is None] == []


def test_another_store_is_filled_and_one_from_before_the_mark_stays(house: House) -> None:
    house.settle()
    with house.parts.database.write() as connection:
        connection.execute(feature_layouts.delete())
    empty(rows_of(house))
    house.settle()
    assert orders(house) == [2, 1]  # as a store is that the state has never seen
    with house.parts.database.write() as connection:
        connection.execute(feature_layouts.delete())
    store = rows_of(house)
    store.change([MARK, "c2", "\x1fsc2"], lambda rows: [None] * len(rows))
    house.settle()
    assert orders(house) == [2, None]  # nobody was asked for
    assert store.read([MARK]) != [None]


def test_a_store_that_came_back_as_it_was_before_is_filled_anew(house: House) -> None:
    """As Redis does from its last snapshot, or when a replica that was behind takes over: an hour was lost."""
    house.settle()
    store = rows_of(house)
    snapshot = {key: store.read([key])[0] for key in store.keys()}  # noqa: SIM118
    house.send(4, "c1")
    house.settle()
    house.settle()
    assert orders(house) == [3, 1]
    store.change(list(snapshot), lambda _: list(snapshot.values()))
    house.send(5, "c1")
    house.settle()
    assert orders(house) == [4, 1]


def test_who_was_erased_does_not_come_back_with_a_store_as_it_was_before(house: House) -> None:
    house.settle()
    store = rows_of(house)
    snapshot = {key: store.read([key])[0] for key in store.keys()}  # noqa: SIM118
    house.parts.eraser.erase("c2", house.parts.events.exclusively)
    house.settle()
    assert orders(house) == [2, None]
    store.change(list(snapshot), lambda _: list(snapshot.values()))
    assert orders(house) == [2, 1]
    house.settle()
    assert orders(house) == [2, None]
    assert "c2" not in set(store.keys())


def test_a_state_that_came_back_as_it_was_before_has_the_store_filled_anew(house: House) -> None:
    house.settle()
    with house.parts.database.read() as connection:
        before = connection.execute(feature_layouts.select()).mappings().all()
    for number in range(4, 7):
        house.send(number, "c1")
        house.settle()
    store = rows_of(house)
    store.change(["c2", "\x1fsc2"], lambda _: [None, None])
    house.settle()
    assert orders(house) == [5, None]  # which rows are lost is not seen as long as the number is
    with house.parts.database.write() as connection:
        connection.execute(feature_layouts.delete())
        connection.execute(feature_layouts.insert(), [dict(row) for row in before])
    house.settle()
    assert orders(house) == [5, 1]


def test_the_number_stands_still_while_nothing_is_written(house: House) -> None:
    house.settle()
    stands = house.parts.online.marked()
    house.settle()
    assert house.parts.online.marked() == stands


@pytest.mark.parametrize(
    ("stands", "known", "lost"),
    [
        (7, 7, False),
        (8, 7, False),
        (6, 7, True),
        (9, 7, True),
        (None, 7, True),
        (7, None, False),
        (None, None, False),
    ],
)
def test_what_the_numbers_say(stands: int | None, known: int | None, lost: bool) -> None:
    assert is_lost(stands, known) is lost


def test_a_customer_whose_row_a_full_cache_dropped_is_no_newcomer(house: House) -> None:
    """Redis with `allkeys-lru` keeps the mark, which is read often, and drops who did not come for long."""
    house.settle()
    rows_of(house).change(["c1", "\x1fsc1"], lambda _: [None, None])
    house.send(4, "c1")
    house.settle()
    assert orders(house) == [3, 1]


def test_newcomers_are_not_made_anew(house: House) -> None:
    house.settle()
    house.send(4, "c3")
    house.parts.events.run_pass()
    with house.parts.database.read() as connection:
        assert connection.execute(customer_histories.select()).all() == []
        assert how_many_wait(connection) == (0, 0)

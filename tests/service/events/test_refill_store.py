"""An online store that has lost its rows is filled anew, before anybody is served as a newcomer for good."""

from __future__ import annotations

from pathlib import Path

import pytest

from features import row_stores
from features.row_stores import RowStore, open_store
from service.events import refill_store
from service.events.rebuild_store import feature_layouts, how_many_wait
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

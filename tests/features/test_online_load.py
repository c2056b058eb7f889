"""The online store is filled with what is new; one that has lost its rows is filled anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.event_log import EventLog
from features.online_load import OnlineLoad
from tests.fakes.daily_orders import order
from tests.fakes.event_streams import START, frame

NOW = START + timedelta(days=30)


@dataclass
class Store:
    """Remembers who was loaded, and with how many events."""

    signature: str = "1"
    rows: dict[str, int] = field(default_factory=dict)
    loads: list[list[str]] = field(default_factory=list)

    def read(self, customer_ids: Sequence[str], as_of: datetime) -> list[Any]:
        return [self.rows.get(customer) for customer in customer_ids]

    def load(self, events: pl.DataFrame) -> int:
        counts = dict(events["customer_id"].value_counts().iter_rows())
        self.rows |= counts
        self.loads.append(sorted(counts))
        return len(counts)

    def erase(self, customer_id: str) -> None:
        self.rows.pop(customer_id, None)


def event(customer: str, number: int) -> dict[str, Any]:
    return order(number, customer, START + timedelta(hours=number))


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "events", 3)
    log.append(frame([event(f"c{c}", n) for c in range(9) for n in range(4)]), "a")
    return log


def test_only_customers_with_something_new_are_loaded_again(log: EventLog, tmp_path: Path) -> None:
    store = Store()
    load = OnlineLoad(log, store, tmp_path / "note.json", "here")
    assert load.run(NOW) == 9
    log.append(frame([event("c1", 10), event("new", 1)]), "b")
    store.loads.clear()
    steps: list[tuple[int, int]] = []
    assert load.run(NOW, lambda done, of: steps.append((done, of))) == 2
    assert sorted(c for some in store.loads for c in some) == ["c1", "new"]
    assert (store.rows["c1"], store.rows["new"]) == (5, 1)
    assert steps == [(1, 3), (2, 3), (3, 3)]
    assert load.run(NOW) == 0


def test_who_is_erased_while_the_store_is_filled_does_not_come_back(log: EventLog, tmp_path: Path) -> None:
    class Late(Store):
        def load(self, events: pl.DataFrame) -> int:
            if "c1" in events["customer_id"]:
                log.erase(["c1"])
                self.erase("c1")
            return super().load(events)

    store = Late()
    OnlineLoad(log, store, tmp_path / "note.json", "here").run(NOW)
    assert sorted(store.rows) == [f"c{number}" for number in range(9) if number != 1]


def test_a_killed_load_goes_on(log: EventLog, tmp_path: Path) -> None:
    store = Store()

    def stop(done: int, of: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        OnlineLoad(log, store, tmp_path / "note.json", "here").run(NOW, stop)
    first = len(store.rows)
    assert OnlineLoad(log, store, tmp_path / "note.json", "here").run(NOW) == 9 - first
    assert len(store.rows) == 9


@pytest.mark.parametrize("name", ["lost rows", "other store", "other features"])
def test_a_store_without_the_rows_is_filled_anew(log: EventLog, tmp_path: Path, name: str) -> None:
    store = Store()
    OnlineLoad(log, store, tmp_path / "note.json", "here").run(NOW)
    other = Store("2" if name == "other features" else "1")
    place = "there" if name == "other store" else "here"
    assert OnlineLoad(log, other, tmp_path / "note.json", place).run(NOW) == 9
    assert other.rows == store.rows

"""One packed row a customer: written one event at a time, read as features as of any later time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features.catalogue import CATALOGUE
from features.entries import OneEvent, entries_of
from features.facts import gather_facts, microseconds
from features.feature_set import FeatureSet
from features.finalize import NEVER, Finalizer
from features.packing import pack, signature_of, unpack
from features.plan import plan_of
from features.row_stores import RowStore, open_store
from features.state import CATEGORIES, SEEN, YOUNG, Entries, State, empty_state, fold
from features.tiles import Reading

_T = TypeVar("_T")
_TOGETHER = 200
"""Rows written in one transaction."""


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """What is known of a customer as of a time.

    `values` has every feature (NaN: unknown). `affinity` maps a product category to orders in 90 and in 365 days
    and days since the last. `order_hours` counts orders by local hour of the week (168; Monday 00 is 0);
    `response_hours` maps a channel to messages delivered and human opens and clicks, each by its own local hour.
    """

    customer_id: str
    as_of: datetime
    values: Mapping[str, float]
    affinity: Mapping[str, tuple[float, float, float]]
    order_hours: NDArray[np.int64]
    response_hours: Mapping[str, tuple[NDArray[np.int64], NDArray[np.int64]]]


class OnlineFeatures:
    """Features of customers, an event behind at most. Safe to use from several threads and processes.

    Every event changes its customer's row once: the row remembers the ids of the last events that it took, so
    handing the same events in again after a crash changes nothing. Hand events in in the order of their receipt.
    """

    def __init__(self, store: RowStore, features: FeatureSet = CATALOGUE) -> None:
        self._store = store
        self._plan = plan_of(features)
        self._finalize = Finalizer(self._plan)
        self._one = OneEvent(self._plan)
        self._names = features.names

    def read(self, customer_ids: Sequence[str], as_of: datetime) -> list[CustomerRow | None]:
        """Each customer's row as of a time, exactly as `build.compute` gives it; None for one never heard of.

        Exact for `as_of` from one hour before the last event was received. A row that an older version of the
        features packed reads as None until `load` or `rebuild` has made it anew (see `outdated`).
        """
        packed = self._store.read(customer_ids)
        places = [i for i, row in enumerate(packed) if row and self._current(row)]
        states = [self._unpack(packed[i] or b"") for i in places]
        rows: list[CustomerRow | None] = [None] * len(packed)
        if states:
            told = self._finalized([customer_ids[i] for i in places], states, as_of)
            for i, row in zip(places, told, strict=True):
                rows[i] = row
        return rows

    def _finalized(self, ids: list[str], states: list[State], as_of: datetime) -> Iterator[CustomerRow]:
        reading = Reading(self._plan, states, microseconds(as_of))
        values = self._finalize(reading.partials()).tolist()
        for row, customer_id in enumerate(ids):
            orders, answers = reading.grids(row)
            told = dict(zip(self._names, values[row], strict=True))
            yield CustomerRow(customer_id, as_of, told, reading.affinity(row), orders, answers)

    def apply(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Adds EVENTS-shaped events, any order within the call; repeats change nothing. Durable when it returns."""
        mine: dict[str, list[Mapping[str, Any]]] = {}
        for event in events:
            mine.setdefault(event["customer_id"], []).append(event)
        for some in _batches(list(mine)):
            self._store.change(some, partial(self._with_all, [mine[customer] for customer in some]))

    def _with_all(self, events: list[list[Mapping[str, Any]]], rows: list[bytes | None]) -> list[bytes | None]:
        return [self._with(row, mine) for mine, row in zip(events, rows, strict=True)]

    def _with(self, row: bytes | None, events: list[Mapping[str, Any]]) -> bytes | None:
        if row and not self._current(row):
            return row  # waits to be rebuilt from the log, which has these events too
        state = self._unpack(row) if row else empty_state(self._plan)
        if not self._one.add(state, events):
            return row
        if len(state.young) > YOUNG:
            fold(state, self._plan)
        return pack(state, self._plan)

    def load(self, events: pl.DataFrame) -> int:
        """Makes the rows of all customers in `events` (their whole history) anew; returns how many it wrote.

        A row that has taken an event received later than any in `events` is newer and stays as it is.
        """
        written = 0
        for some in _batches(list(self._states(events))):
            rows = [(pack(state, self._plan), state.watermark) for _, state in some]
            kept: list[int] = []
            self._store.change([customer for customer, _ in some], partial(self._newest, rows, kept))
            written += len(rows) - kept[-1]
        return written

    def _newest(self, rows: list[tuple[bytes, int]], kept: list[int], held: list[bytes | None]) -> list[bytes | None]:
        newer = [bool(old) and self._watermark(old) > mark for old, (_, mark) in zip(held, rows, strict=True)]
        kept.append(sum(newer))
        return [old if stays else row for old, (row, _), stays in zip(held, rows, newer, strict=True)]

    def _watermark(self, row: bytes | None) -> int:
        return self._unpack(row).watermark if row and self._current(row) else NEVER

    def rebuild(self, customer_id: str, events: pl.DataFrame) -> None:
        """Makes one customer's row anew from all their events, whatever it held; for corrections."""
        mine = events.with_columns(customer_id=pl.lit(customer_id))
        rows = [pack(state, self._plan) for _, state in self._states(mine)]
        self._store.change([customer_id], lambda _: [rows[0] if rows else None])

    def rebuild_all(self, customer_ids: Sequence[str], events: pl.DataFrame) -> None:
        """`rebuild` of many: `events` are all events of these customers; who has none is forgotten."""
        made = {customer: pack(state, self._plan) for customer, state in self._states(events)}
        for some in _batches(list(customer_ids)):
            new = [made.get(customer) for customer in some]
            self._store.change(some, lambda _, new=new: new)  # type: ignore[misc]

    @property
    def signature(self) -> str:
        """Names the layout of the rows that this set of features packs."""
        return f"{self._plan.signature:016x}"

    def merge(self, anonymous_id: str, customer_id: str, events: pl.DataFrame) -> None:
        """Joins an anonymous history to a customer: `events` are all events of both; the anonymous row goes."""
        mine = events.with_columns(customer_id=pl.lit(customer_id))
        rows = [pack(state, self._plan) for _, state in self._states(mine)]
        self._store.change([anonymous_id, customer_id], lambda _: [None, rows[0] if rows else None])

    def erase(self, customer_id: str) -> None:
        """Forgets a customer."""
        self._store.change([customer_id], lambda _: [None])

    def outdated(self) -> Iterator[str]:
        """Customers whose rows an older version of the features packed; give each to `rebuild`."""
        for some in _batches(list(self._store.keys())):
            rows = self._store.read(some)
            yield from (key for key, row in zip(some, rows, strict=True) if row and not self._current(row))

    def close(self) -> None:
        self._store.close()

    def _current(self, row: bytes) -> bool:
        return signature_of(row) == self._plan.signature

    def _unpack(self, row: bytes) -> State:
        return unpack(row, self._plan)

    def _states(self, events: pl.DataFrame) -> Iterator[tuple[str, State]]:
        """The state of each customer in these events, folded."""
        customers = events["customer_id"].unique().sort()
        gathered = gather_facts(events, customers, self._plan)
        facts = gathered.facts
        owner, entries, category = entries_of(facts, self._plan)
        starts = np.searchsorted(owner, np.arange(len(customers) + 1)).tolist()
        rows = np.searchsorted(facts.customer, np.arange(len(customers) + 1)).tolist()
        for place, customer_id in enumerate(customers):
            mine = slice(rows[place], rows[place + 1])
            if mine.start == mine.stop:
                continue
            here = slice(starts[place], starts[place + 1])
            state = empty_state(self._plan)
            state.applied, state.zone = mine.stop - mine.start, gathered.zones[place]
            state.watermark = int(facts.known[mine].max())
            state.young = self._named(state, entries.at(here), category[here], gathered.categories)
            latest = facts.message[facts.arrival[mine][-SEEN:]]
            state.seen = [xxh3_64_intdigest(message.encode()) for message in latest]
            fold(state, self._plan)
            yield customer_id, state

    def _named(self, state: State, entries: Entries, category: NDArray[np.int64], names: pl.Series) -> Entries:
        bought = np.flatnonzero(category >= 0)
        own, place = np.unique(category[bought], return_inverse=True)
        state.categories = names[own].to_list()
        state.category_last = np.full(len(own), NEVER)
        entries.key[bought] = self._plan.category_base + place
        kept = np.ones(len(entries), dtype=np.bool_)
        kept[bought[place >= CATEGORIES]] = False
        state.categories = state.categories[:CATEGORIES]
        state.category_last = state.category_last[:CATEGORIES]
        return entries.at(kept)


def _batches(items: list[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), _TOGETHER):
        yield items[start : start + _TOGETHER]


def open_online(url_or_path: str, features: FeatureSet = CATALOGUE) -> OnlineFeatures:
    """Online features in a SQLite file (a path), Postgres (`postgresql://…`) or Redis (`redis://…`)."""
    return OnlineFeatures(open_store(url_or_path, "customers"), features)

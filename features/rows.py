"""Packed rows of customers: written one event at a time, read as features as of any later time.

A customer has two rows: the state, from which the features as of any time are made, and beside it the serving row
(serving.py), made anew whenever the state changes, which answers most reads. Both are always written together.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features.catalogue import CATALOGUE
from features.customer_row import CustomerRow, StoredRow, feature_matrix
from features.entries import OneEvent, entries_of
from features.facts import gather_facts, microseconds
from features.feature_set import FeatureSet
from features.finalize import NEVER, Floats
from features.packing import pack, signature_of, unpack, watermark_of
from features.plan import plan_of
from features.products import bought_in
from features.row_stores import RowStore, open_store
from features.serving import Serving
from features.state import SEEN, YOUNG, Entries, State, empty_state, fold
from features.tiles import Reading

__all__ = ["CustomerRow", "OnlineFeatures", "feature_matrix", "open_online"]

Row = bytes | None
Pair = tuple[Row, Row]
"""A customer's state and serving row."""
_T = TypeVar("_T")
_TOGETHER = 200
"""Customers written in one transaction."""
_MARK = "\x1f"
"""Begins the key of a serving row; the state's key is the customer's id, with this doubled where the id has it."""
_SERVING = f"{_MARK}s"
_WHOLE = f"{_MARK}w"
"""A key of its own with a number that says what was not lost since it was written."""


class OnlineFeatures:
    """Features of customers, an event behind at most. Safe to use from several threads and processes.

    Every event changes its customer's rows once: the state remembers the ids of the last events that it took, so
    handing the same events in again after a crash changes nothing. Hand events in in the order of their receipt.
    """

    def __init__(self, store: RowStore, features: FeatureSet = CATALOGUE) -> None:
        self._store = store
        self._plan = plan_of(features)
        self._serving = Serving(self._plan)
        self._one = OneEvent(self._plan)
        self.changes = 0
        """How often rows were written; of several threads, about."""

    def read(self, customer_ids: Sequence[str], as_of: datetime) -> list[CustomerRow | None]:
        """Each customer's row as of a time, exactly as `build.compute` gives it; None for one never heard of.

        Exact for `as_of` from one hour before the last event was received. A row that an older version of the
        features packed reads as None until `load` or `rebuild_all` has made it anew (see `outdated`). Fields of a row
        are decoded when they are first asked for; `feature_matrix` gives the values of many rows at once.
        """
        packed, values, known = self._read(customer_ids, microseconds(as_of))
        told = zip(customer_ids, values, packed, known.tolist(), strict=True)
        by = self._serving
        return [StoredRow.of(name, as_of, vector, row or b"", by) if here else None for name, vector, row, here in told]

    def _read(self, ids: Sequence[str], as_of: int) -> tuple[list[Row], Floats, NDArray[np.bool_]]:
        """Serving rows as of a time, their values, and whether there is one."""
        packed = self._store.read([_serving_key(name) for name in ids])
        values, known = self._serving.read(packed, as_of)
        if not known.all():
            missing = np.flatnonzero(~known).tolist()
            states = self._store.read([_state_key(ids[place]) for place in missing])
            told = [(place, row) for place, row in zip(missing, states, strict=True) if row and self._current(row)]
            if told:
                places = [place for place, _ in told]
                made = self._serve([self._unpack(row) for _, row in told], as_of)
                values[places], known[places] = self._serving.read(made, as_of)
                for place, row in zip(places, made, strict=True):
                    packed[place] = row
        return packed, values, known

    def _serve(self, states: Sequence[State], as_of: int | None = None) -> list[bytes]:
        """The serving rows of states as of a time; without one, as of just after their last event was received."""
        if not states:
            return []
        last = max(state.watermark for state in states) + 1
        return self._serving.pack(Reading(self._plan, states, last if as_of is None else as_of))

    def apply(self, events: Sequence[Mapping[str, Any]]) -> list[str]:
        """Adds EVENTS-shaped events, any order within the call; repeats change nothing. Durable when it returns.

        Returns the customers who had no row before: newcomers, unless the store drops rows by itself.
        """
        mine: dict[str, list[Mapping[str, Any]]] = {}
        for event in events:
            mine.setdefault(event["customer_id"], []).append(event)
        begun: set[str] = set()
        for some in _batches(list(mine)):
            self._change(some, partial(self._with_all, some, [mine[customer] for customer in some], begun))
        return sorted(begun)

    def _with_all(
        self, ids: list[str], events: list[list[Mapping[str, Any]]], begun: set[str], pairs: list[Pair]
    ) -> list[Pair]:
        begun.update(name for name, (state, _) in zip(ids, pairs, strict=True) if state is None)
        changed = {
            place: self._with(pair[0], mine) for place, (pair, mine) in enumerate(zip(pairs, events, strict=True))
        }
        states = {place: state for place, state in changed.items() if state is not None}
        made = dict(zip(states, self._packed(list(states.values())), strict=True))
        return [made.get(place, pair) for place, pair in enumerate(pairs)]

    def _with(self, row: Row, events: list[Mapping[str, Any]]) -> State | None:
        """The state with these events; None if it stays as it is."""
        if row and not self._current(row):
            return None  # waits to be rebuilt from the log, which has these events too
        state = self._unpack(row) if row else empty_state(self._plan)
        if not self._one.add(state, events):
            return None
        if len(state.young) > YOUNG or len(state.bought) > YOUNG:
            fold(state, self._plan)
        return state

    def _packed(self, states: Sequence[State], as_of: int | None = None) -> list[Pair]:
        serving = self._serve(states, as_of)
        return [(pack(state, self._plan), row) for state, row in zip(states, serving, strict=True)]

    def _change(self, ids: Sequence[str], edit: Callable[[list[Pair]], list[Pair]]) -> None:
        """Lets `edit` make the new rows of these customers from the old, in one transaction."""

        def edit_rows(rows: list[Row]) -> list[Row]:
            after = edit(list(zip(rows[: len(ids)], rows[len(ids) :], strict=True)))
            return [state for state, _ in after] + [serving for _, serving in after]

        self._store.change([*map(_state_key, ids), *map(_serving_key, ids)], edit_rows)
        self.changes += 1

    def load(self, events: pl.DataFrame, as_of: datetime | None = None) -> int:
        """Makes the rows of all customers in `events` (their whole history) anew; returns how many it wrote.

        A row that has taken an event received later than any in `events` is newer and stays as it is. The rows
        answer quickly from `as_of` on (default: the last receipt).
        """
        written = 0
        loaded = list(self._states(events))
        last = max((state.watermark for _, state in loaded), default=NEVER) + 1
        since = last if as_of is None else max(microseconds(as_of), last)
        for some in _batches(loaded):
            pairs = self._packed([state for _, state in some], since)
            marks = [state.watermark for _, state in some]
            kept: list[int] = []
            self._change([customer for customer, _ in some], partial(self._newest, pairs, marks, kept))
            written += len(pairs) - kept[-1]
        return written

    def _newest(self, new: list[Pair], marks: list[int], kept: list[int], held: list[Pair]) -> list[Pair]:
        newer = [self._watermark(old) > mark for (old, _), mark in zip(held, marks, strict=True)]
        kept.append(sum(newer))
        return [old if stays else pair for old, pair, stays in zip(held, new, newer, strict=True)]

    def _watermark(self, row: Row) -> int:
        return watermark_of(row) if row and self._current(row) else NEVER

    def refresh(self, customer_ids: Sequence[str], as_of: datetime) -> int:
        """Makes those serving rows anew that do not answer as of a time; returns how many it wrote.

        Changes no feature as of any time, only how fast it is read. A row is never made older than its last event.
        """
        now, written = microseconds(as_of), 0
        for some in _batches(list(customer_ids)):
            counts: list[int] = []
            self._change(some, partial(self._refreshed, now, counts))
            written += counts[-1]
        return written

    def _refreshed(self, now: int, counts: list[int], pairs: list[Pair]) -> list[Pair]:
        holds = self._serving.holds([serving for _, serving in pairs], now).tolist()
        stale = {
            place: self._unpack(state)
            for place, ((state, _), good) in enumerate(zip(pairs, holds, strict=True))
            if state and not good and self._current(state) and watermark_of(state) < now
        }
        made = dict(zip(stale, self._serve(list(stale.values()), now), strict=True))
        counts.append(len(made))
        return [(state, made.get(place, serving)) for place, (state, serving) in enumerate(pairs)]

    def stale(self, as_of: datetime) -> Iterator[str]:
        """Customers whose serving rows do not answer as of a time: windows have moved on. Give them to `refresh`."""
        now = microseconds(as_of)
        for some in self._batches_of_ids():
            holds = self._serving.holds(self._store.read([_serving_key(name) for name in some]), now).tolist()
            yield from (name for name, good in zip(some, holds, strict=True) if not good)

    def rebuild_all(self, customer_ids: Sequence[str], events: pl.DataFrame) -> None:
        """Makes these customers' rows anew from all their events, whatever they held; who has none is forgotten."""
        made = self._made(events)
        for some in _batches(list(customer_ids)):
            new = [made.get(customer, (None, None)) for customer in some]
            self._change(some, lambda _, new=new: new)  # type: ignore[misc]

    def _made(self, events: pl.DataFrame) -> dict[str, Pair]:
        states = dict(self._states(events))
        return dict(zip(states, self._packed(list(states.values())), strict=True))

    @property
    def signature(self) -> str:
        """Names the layout of the rows that this set of features packs."""
        return f"{self._plan.signature:016x}"

    def erase(self, customer_id: str) -> None:
        """Forgets a customer."""
        self._change([customer_id], lambda _: [(None, None)])

    def outdated(self) -> Iterator[str]:
        """Customers whose rows an older version of the features packed; give them to `rebuild_all`."""
        for some in self._batches_of_ids():
            rows = self._store.read([_state_key(name) for name in some])
            yield from (name for name, row in zip(some, rows, strict=True) if row and not self._current(row))

    def marked(self) -> int | None:
        """The number that `mark` left: a store that was emptied has lost it, one that went back has an older one."""
        found = self._store.read([_WHOLE])[0]
        return None if found is None else int(found)

    def mark(self, number: int) -> None:
        """Notes that the store holds what it should, under a number that goes up."""
        self._store.change([_WHOLE], lambda _: [b"%d" % number])

    def is_empty(self) -> bool:
        """Whether there is no row at all."""
        return next(iter(self._store.keys()), None) is None

    def customers(self) -> Iterator[str]:
        """All who have a row."""
        for some in self._batches_of_ids():
            yield from some

    def _batches_of_ids(self) -> Iterator[list[str]]:
        keys = (key for key in self._store.keys() if key != _WHOLE)  # noqa: SIM118
        ids = (_id_of(key) for key in keys if not key.startswith(_SERVING))
        while some := list(islice(ids, _TOGETHER)):
            yield some

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
        names = gathered.categories.to_list()
        buyer, bought = bought_in(events, customers)
        lines = np.searchsorted(buyer, np.arange(len(customers) + 1)).tolist()
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
            state.young = self._named(state, entries.at(here), category[here], names)
            state.bought = bought.at(slice(lines[place], lines[place + 1]))
            latest = facts.message[facts.arrival[mine][-SEEN:]]
            state.seen = np.array([xxh3_64_intdigest(message.encode()) for message in latest], dtype=np.uint64)
            fold(state, self._plan)
            yield customer_id, state

    def _named(self, state: State, entries: Entries, category: NDArray[np.int64], names: list[str]) -> Entries:
        bought = np.flatnonzero(category >= 0)
        own, place = np.unique(category[bought], return_inverse=True)
        state.categories = [names[place] for place in own.tolist()]
        state.category_last = np.full(len(own), NEVER)
        entries.key[bought] = self._plan.category_base + place
        kept = np.ones(len(entries), dtype=np.bool_)
        most = self._plan.categories
        kept[bought[place >= most]] = False
        state.categories, state.category_last = state.categories[:most], state.category_last[:most]
        return entries.at(kept)


def _state_key(customer_id: str) -> str:
    return _MARK + customer_id if customer_id.startswith(_MARK) else customer_id


def _serving_key(customer_id: str) -> str:
    return _SERVING + customer_id


def _id_of(state_key: str) -> str:
    return state_key.removeprefix(_MARK)


def _batches(items: list[_T]) -> Iterator[list[_T]]:
    for start in range(0, len(items), _TOGETHER):
        yield items[start : start + _TOGETHER]


def open_online(url_or_path: str) -> OnlineFeatures:
    """Online features in a SQLite file (a path), Postgres (`postgresql://…`) or Redis (`redis://…`)."""
    return OnlineFeatures(open_store(url_or_path, "customers"), CATALOGUE)

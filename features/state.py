"""What one customer's features are made of, small enough for one row: tiles, and recent events exactly.

Young entries keep the exact time of their event and when it was received. Once they are older than HOLD they
are folded into tiles, as fine as the windows that still reach them need (see declare.py), then into sums for
all time. Folding never changes what any later as_of reads; `tests/features/test_no_skew.py` holds that.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from features.declare import DAY, HOPS, HOUR
from features.finalize import FAR, NEVER, Floats, Ints
from features.plan import CATEGORY_DAYS, ORDERS, Plan
from features.products import NO_PRODUCTS, Bought, ProductOrders, fold_products

HOLD = HOUR
"""Rows answer exactly as of times up to this much before the last event was received."""
YOUNG = 96
"""Young entries are folded when there are more than this."""
CROWD = 512
"""With more young entries than this, only those of the future (after the last receipt) stay."""
SEEN = 512
"""Message ids remembered, as hashes, against repeats."""
_FEW = 6


def _ints() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(slots=True)
class Entries:
    """Contributions of events to partial sums: key (see Plan), time, time of receipt, value; equal lengths."""

    key: Ints = field(default_factory=_ints)
    time: Ints = field(default_factory=_ints)
    known: Ints = field(default_factory=_ints)
    value: Ints = field(default_factory=_ints)

    def __len__(self) -> int:
        return len(self.key)

    def at(self, rows: Ints | NDArray[np.bool_] | slice) -> Entries:
        return Entries(self.key[rows], self.time[rows], self.known[rows], self.value[rows])

    def and_(self, other: Entries) -> Entries:
        return Entries(
            np.concatenate([self.key, other.key]),
            np.concatenate([self.time, other.time]),
            np.concatenate([self.known, other.known]),
            np.concatenate([self.value, other.value]),
        )


@dataclass(slots=True)
class State:
    """One customer. Times in microseconds; keys as in Plan; all integers but the trait values."""

    first: Ints  # (tracked,), FAR where none
    last: Ints  # (tracked,), NEVER where none
    trait_time: Ints  # (traits,), NEVER where none
    trait_value: Floats
    watermark: int = NEVER  # latest receipt
    applied: int = 0  # events, repeats left out
    zone: str | None = None
    categories: list[str] = field(default_factory=list)
    category_last: Ints = field(default_factory=_ints)
    archive_key: Ints = field(default_factory=_ints)
    archive_value: Ints = field(default_factory=_ints)
    tile_key: Ints = field(default_factory=_ints)
    tile_time: Ints = field(default_factory=_ints)
    tile_value: Ints = field(default_factory=_ints)
    young: Entries = field(default_factory=Entries)
    products: ProductOrders = NO_PRODUCTS
    bought: Bought = field(default_factory=Bought)
    seen: NDArray[np.uint64] = field(default_factory=lambda: np.empty(0, dtype=np.uint64))


def empty_state(plan: Plan) -> State:
    tracked, traits = len(plan.tracked), len(plan.traits)
    return State(np.full(tracked, FAR), np.full(tracked, NEVER), np.full(traits, NEVER), np.full(traits, np.nan))


def fold(state: State, plan: Plan) -> None:
    """Moves what is old enough from `young` into tiles, and tiles into longer ones or all-time sums."""
    state.products, state.bought = fold_products(state.products, state.bought, state.watermark, HOLD, CROWD)
    horizon = state.watermark - (HOLD if len(state.young) <= CROWD else 0)
    old = (state.young.time < horizon) & (state.young.known <= horizon)
    if not old.any():
        return
    ready = state.young.at(old)
    state.young = state.young.at(~old)
    note_times(ready, plan, state.first, state.last, state.category_last)
    note_traits(ready, plan, state.trait_time, state.trait_value)
    summed = (ready.key < plan.trait_base) | (ready.key >= plan.hour_base)
    _retile(state, plan, ready.at(summed), horizon)
    _forget_categories(state, plan, horizon)


def note_times(entries: Entries, plan: Plan, first: Ints, last: Ints, category_last: Ints) -> None:
    """Brings first and last times up to date with these entries, in place."""
    place = plan.tracked_place[np.minimum(entries.key, plan.category_base)]
    told = place >= 0
    np.minimum.at(first, place[told], entries.time[told])
    np.maximum.at(last, place[told], entries.time[told])
    bought = (entries.key >= plan.category_base) & (entries.value & ORDERS > 0)
    np.maximum.at(category_last, entries.key[bought] - plan.category_base, entries.time[bought])


def note_traits(entries: Entries, plan: Plan, time: Ints, value: Floats) -> None:
    """Brings the latest trait values up to date, in place; of several at one time the largest counts."""
    rows = np.flatnonzero((entries.key >= plan.trait_base) & (entries.key < plan.hour_base))
    if len(rows) > _FEW:  # the latest of each trait is enough, of several at one time the largest
        rows = rows[np.lexsort((entries.value[rows].view(np.float64), entries.time[rows], entries.key[rows]))]
        rows = rows[np.append(np.diff(entries.key[rows]) > 0, True)]
    for row in rows.tolist():
        place = int(entries.key[row]) - plan.trait_base
        told = float(entries.value[row : row + 1].view(np.float64)[0])
        if entries.time[row] > time[place] or (entries.time[row] == time[place] and told > value[place]):
            time[place], value[place] = entries.time[row], told


def _retile(state: State, plan: Plan, ready: Entries, horizon: int) -> None:
    key = np.concatenate([state.tile_key, ready.key])
    time = np.concatenate([state.tile_time, ready.time])
    value = np.concatenate([state.tile_value, ready.value])
    policy = np.minimum(key, plan.category_base)
    tile, inside = time.copy(), np.zeros(len(key), dtype=np.bool_)
    for h, hop in reversed(tuple(enumerate(HOPS))):  # the finest that applies is written last
        reach = plan.reach[policy, h]
        here = (reach > 0) & (time >= (horizon - reach) // hop * hop)
        tile[here] = time[here] // hop * hop
        inside |= here
    kept = ~inside & plan.kept[policy]
    state.archive_key, _, state.archive_value = _merge(
        np.concatenate([state.archive_key, key[kept]]), None, np.concatenate([state.archive_value, value[kept]]), plan
    )
    state.tile_key, state.tile_time, state.tile_value = _merge(key[inside], tile[inside], value[inside], plan)


def _merge(key: Ints, time: Ints | None, value: Ints, plan: Plan) -> tuple[Ints, Ints, Ints]:
    """Adds up (for maxima: takes the largest of) values of the same key and time; sorted by both."""
    if not len(key):
        return key, key, value
    order = np.argsort(key, kind="stable") if time is None else np.lexsort((time, key))
    key, value = key[order], value[order]
    new = np.ones(len(key), dtype=np.bool_)
    new[1:] = key[1:] != key[:-1]
    if time is not None:
        time = time[order]
        new[1:] |= time[1:] != time[:-1]
    start = np.flatnonzero(new)
    total = np.add.reduceat(value, start)
    largest = (key[start] >= plan.maximum_base) & (key[start] < plan.trait_base)
    if largest.any():
        total[largest] = np.maximum.reduceat(value, start)[largest]
    return key[start], key[start] if time is None else time[start], total


def _forget_categories(state: State, plan: Plan, horizon: int) -> None:
    """Drops categories last ordered (or viewed) too long ago to matter, unless a tile or young entry names them."""
    base = plan.category_base
    old = state.category_last < horizon - CATEGORY_DAYS * DAY
    for named in (state.young.key, state.tile_key):
        old[named[named >= base] - base] = False
    if not old.any():
        return
    moved = np.cumsum(~old) - 1
    state.categories = [name for name, gone in zip(state.categories, old, strict=True) if not gone]
    state.category_last = state.category_last[~old]
    for keys in (state.tile_key, state.young.key):
        bought = keys >= base
        keys[bought] = base + moved[keys[bought] - base]

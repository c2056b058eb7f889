"""Partial sums of customers' states as of a time: the online twin of prefix.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from features.declare import DAY, tail_of
from features.finalize import FAR, NEVER, Ints, Partials
from features.histogram import BINS
from features.plan import KEYS, ORDERS, VIEW, Plan
from features.products import distinct
from features.state import State

_T = TypeVar("_T", np.int64, np.float64)
_DAY_BITS = 22
_SUMS, _HISTOGRAMS, _MAXIMA, _TRAITS, _WEEK_HOURS, _DAY_HOURS, _CATEGORIES = range(7)


@dataclass(frozen=True, slots=True)
class Table:
    """Entries of n states in one: row (which state), key, time, value."""

    row: Ints
    key: Ints
    time: Ints
    value: Ints

    def at(self, rows: Ints | NDArray[np.bool_] | slice) -> Table:
        return Table(self.row[rows], self.key[rows], self.time[rows], self.value[rows])

    def since(self, key: int, time: int) -> Ints:
        """The places of the entries of one key from a time on."""
        found: Ints = ((self.key == key) & (self.time >= time)).nonzero()[0]
        return found


class Reading:
    """n (at least one) states as of one time (microseconds).

    `table` has all sums for all time (their time is NEVER: in no window), tiles and visible young entries, sorted by
    key. `hidden` says when an entry that is not visible yet will be: (row, moment).
    """

    def __init__(self, plan: Plan, states: Sequence[State], as_of: int) -> None:
        self.plan, self.states, self.as_of = plan, states, as_of
        self.tails = [tail_of(as_of, window) for window in plan.windows]
        self._tails_up = np.array(self.tails[::-1], dtype=np.int64)
        self.category_start = np.cumsum([0, *(len(s.categories) for s in states)])
        self.first = _stacked([s.first for s in states])  # its own: young entries go in
        self.last = _stacked([s.last for s in states])
        self.trait_value = _stacked([s.trait_value for s in states])
        self.category_last = np.concatenate([s.category_last for s in states])
        young, self.hidden = self._young()
        self._note_times(young)
        self._note_traits(young)
        self.table = self._gather(young)
        bases = (plan.histogram_base, plan.maximum_base, plan.trait_base, plan.hour_base, plan.day_hour_base)
        self._bounds = self.table.key.searchsorted((0, *bases, plan.category_base, KEYS)).tolist()

    def _gather(self, young: Table) -> Table:
        states = self.states
        ever, tiles = [s.archive_key for s in states], [s.tile_key for s in states]
        values = (*(s.archive_value for s in states), *(s.tile_value for s in states), young.value)
        times = (np.full(sum(map(len, ever)), NEVER), *(s.tile_time for s in states), young.time)
        key = np.concatenate([*ever, *tiles, young.key])
        row = np.concatenate([_owners(ever), _owners(tiles), young.row])
        order = np.argsort(key.astype(np.uint16), kind="stable")
        return Table(row, key, np.concatenate(times), np.concatenate(values)).at(order)

    def _part(self, place: int) -> Table:
        """The entries of one kind of key (`_SUMS` …)."""
        return self.table.at(slice(self._bounds[place], self._bounds[place + 1]))

    def _young(self) -> tuple[Table, tuple[Ints, Ints]]:
        parts = [s.young for s in self.states]
        young = Table(
            _owners([part.key for part in parts]),
            np.concatenate([part.key for part in parts]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.value for part in parts]),
        )
        known = np.concatenate([part.known for part in parts])
        seen = (young.time < self.as_of) & (known <= self.as_of)
        if seen.all():
            return young, (young.row[:0], young.row[:0])
        later = ~seen
        return young.at(seen), (young.row[later], np.maximum(young.time[later] + 1, known[later]))

    def _note_times(self, young: Table) -> None:
        base = self.plan.category_base
        place = self.plan.tracked_place[np.minimum(young.key, base)]
        told = (place >= 0).nonzero()[0]
        np.minimum.at(self.first, (young.row[told], place[told]), young.time[told])
        np.maximum.at(self.last, (young.row[told], place[told]), young.time[told])
        bought = ((young.key >= base) & (young.value & ORDERS > 0)).nonzero()[0]
        category = self.category_start[young.row[bought]] + young.key[bought] - base
        np.maximum.at(self.category_last, category, young.time[bought])

    def _note_traits(self, young: Table) -> None:
        """The latest value counts; of several at one time the largest (as `state.note_traits`)."""
        said = ((young.key >= self.plan.trait_base) & (young.key < self.plan.hour_base)).nonzero()[0]
        if not len(said):
            return
        told = young.at(said)
        number, key = told.value.view(np.float64), told.key - self.plan.trait_base
        order = np.lexsort((number, told.time, key, told.row))
        place = told.row[order] * len(self.plan.traits) + key[order]
        order = order[np.append(place[1:] > place[:-1], True)]
        row, trait, time, number = told.row[order], key[order], told.time[order], number[order]
        held = _stacked([s.trait_time for s in self.states])[row, trait]
        newer = (time > held) | ((time == held) & (number > self.trait_value[row, trait]))
        self.trait_value[row[newer], trait[newer]] = number[newer]

    def partials(self) -> Partials:
        return Partials(
            np.full(len(self.states), self.as_of),
            self._sums()[:, self.plan.cell_windows, self.plan.cell_keys],
            np.where(self.first == FAR, NEVER, self.first),
            self.last,
            self._histograms(),
            self._maxima(),
            self._days(),
            self._hours(),
            self._categories(),
            self.trait_value,
        )

    def _window(self, time: Ints) -> Ints:
        """The place of the shortest window that holds each time; one past the last if none does."""
        return len(self.tails) - self._tails_up.searchsorted(time, side="right")

    def _sums(self) -> Ints:
        """(n, windows + 1, sums): what each window holds, last for all time."""
        width, keys = len(self.tails), self.plan.histogram_base
        told = self._part(_SUMS)
        out = np.zeros((len(self.states), width + 1, keys), dtype=np.int64)
        np.add.at(out, (told.row, self._window(told.time), told.key), told.value)
        return out.cumsum(axis=1)

    def _histograms(self) -> Ints:
        out = np.zeros((len(self.states), len(self.plan.histogram_cells), BINS), dtype=np.int64)
        told = self._part(_HISTOGRAMS)
        bins = told.key - self.plan.histogram_base
        for cell, (source, window) in enumerate(self.plan.histogram_cells):
            here = ((bins // BINS == source) & (told.time >= self._tail(window))).nonzero()[0]
            np.add.at(out[:, cell], (told.row[here], bins[here] % BINS), told.value[here])
        return out

    def _maxima(self) -> Ints:
        out = np.full((len(self.states), len(self.plan.maximum_cells)), NEVER)
        told = self._part(_MAXIMA)
        if len(told.row):
            tails = self._tails_up[::-1][self.plan.maximum_windows]
            inside = (told.key[:, None] == self.plan.maximum_keys) & (told.time[:, None] >= tails)
            np.maximum.at(out, told.row, np.where(inside, told.value[:, None], NEVER))
        return out

    def _days(self) -> Ints:
        n = len(self.states)
        out = np.zeros((n, len(self.plan.days), 3), dtype=np.int64)
        sums = self._part(_SUMS)
        for place, (key, window) in enumerate(self.plan.days):
            here = sums.since(key, self._tail(window))
            day = sums.time[here] // DAY + (1 << (_DAY_BITS - 1))
            days = distinct((sums.row[here] << _DAY_BITS) + day)
            row = days >> _DAY_BITS
            gap = (days[1:] - days[:-1]) * (row[1:] == row[:-1])  # none from one state to the next
            told = np.ones((len(days), 3), dtype=np.int64)
            told[:1, 1:] = 0
            told[1:, 1], told[1:, 2] = gap, gap * gap
            np.add.at(out[:, place], row, told)
        return out

    def _hours(self) -> Ints:
        low, high = self.plan.day_hour_base, self.plan.category_base
        out = np.zeros((len(self.states), high - low), dtype=np.int64)
        told = self._part(_DAY_HOURS)
        np.add.at(out, (told.row, told.key - low), told.value)
        return out.reshape(len(self.states), (high - low) // 24, 24)

    def _categories(self) -> Ints:
        """(n, category windows, 3): distinct, largest, sum. Leaves each category's counts in `orders` and `views`."""
        out = np.zeros((len(self.states), len(self.plan.category_windows), 3), dtype=np.int64)
        if not self.category_start[-1]:
            self.orders, self.views = np.empty((0, len(self.plan.category_windows)), dtype=np.int64), self.first[:0, 0]
            return out
        bought = self._part(_CATEGORIES)
        category = self.category_start[bought.row] + bought.key - self.plan.category_base
        sums = np.zeros((int(self.category_start[-1]), len(self.tails) + 1), dtype=np.int64)
        np.add.at(sums, (category, self._window(bought.time)), bought.value)
        both = sums.cumsum(axis=1)[:, self.plan.category_tails]
        self.orders, self.views = both & ORDERS, both[:, 1] // VIEW
        some = (self.category_start[1:] > self.category_start[:-1]).nonzero()[0]
        start = self.category_start[some]
        out[some, :, 0] = np.add.reduceat((self.orders > 0).astype(np.int64), start)
        out[some, :, 1] = np.maximum.reduceat(self.orders, start)
        out[some, :, 2] = np.add.reduceat(self.orders, start)
        return out

    def weeks(self) -> Table:
        """Counts by local hour of the week, sorted by row; `key` is the group * 168 + the hour, in plan.hours' order.

        A cell may come twice; times mean nothing.
        """
        told = self._part(_WEEK_HOURS)
        if len(self.states) > 1:
            told = told.at(np.argsort(told.row, kind="stable"))
        return Table(told.row, told.key - self.plan.hour_base, told.time, told.value)

    def _tail(self, window: int) -> int:
        return self.tails[self.plan.window_index[window]]


def _stacked(parts: Sequence[NDArray[_T]]) -> NDArray[_T]:
    """The parts as rows of an array of its own."""
    return parts[0][None].copy() if len(parts) == 1 else np.array(parts)


def _owners(parts: Sequence[Ints]) -> Ints:
    """The place of each part, as often as the part is long."""
    if len(parts) == 1:
        return np.zeros(len(parts[0]), dtype=np.int64)
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])

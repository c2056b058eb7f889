"""Partial sums as of many times at once: prefix sums over sorted events, and places found by binary search."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from features.declare import DAY, hop_of
from features.facts import Facts
from features.finalize import FAR, NEVER, Floats, Ints, Partials
from features.forgetting import weights
from features.histogram import BINS, bins_of
from features.plan import CATEGORY_DAYS, ORDERED, ORDERS, VIEW, VIEWED, Hours, Plan

PAIRS = 2_000_000
"""How many (cut, category) pairs are held at a time."""
SQUARE_LIMIT = 10**9
"""Values beyond this (in minor units) count as this in a standard deviation: squares must fit 64 bits."""


@dataclass(frozen=True, slots=True)
class Cuts:
    """Where to look: customer (a place in the caller's list) and as_of (microseconds), any order."""

    customer: Ints
    as_of: Ints


@dataclass(frozen=True, slots=True)
class Affinity:
    """Long: a row for each cut and category ordered within CATEGORY_DAYS or viewed within 365."""

    cut: Ints
    category: Ints
    orders: Ints  # (rows, 2): 90 and 365 days
    views: Ints  # (rows,): 365 days
    days_since_last: Floats  # since the last order; NaN where it was longer ago than CATEGORY_DAYS, or never


class Places:
    """Finds, for sorted (group, time) pairs, how many come before (group, t).

    Group and time make one 64-bit key. Times are counted from the first; where that does not fit (centuries, many
    groups), their ranks are.
    """

    def __init__(self, group: Ints, time: Ints) -> None:
        self._times: Ints | None = None
        self._first = int(time.min()) if len(time) else 0
        self._base = int(time.max()) - self._first + 2 if len(time) else 2
        if self._base * (int(group.max(initial=0)) + 2) >= 1 << 63:
            self._times = np.unique(time)
            self._base = len(self._times) + 1
        self._keys = group * self._base + self.rank(time)

    def rank(self, time: Ints) -> Ints:
        if self._times is not None:
            return np.searchsorted(self._times, time)
        return np.clip(time - self._first, 0, self._base - 1)

    def before(self, group: Ints, rank: Ints) -> Ints:
        return np.searchsorted(self._keys, group * self._base + rank)


class Sweep:
    """Facts of one set of customers, and the places of the cuts among them."""

    def __init__(self, plan: Plan, facts: Facts, cuts: Cuts) -> None:
        self.plan, self.facts, self.cuts = plan, facts, cuts
        self.places = Places(facts.customer, facts.time)
        self.start = np.searchsorted(facts.customer, cuts.customer)
        self.head = self._before(cuts.as_of)
        self.tails = [self._before(tails(cuts.as_of, window)) for window in plan.windows]

    def _before(self, time: Ints) -> Ints:
        return self.places.before(self.cuts.customer, self.places.rank(time))

    def partials(self) -> tuple[Partials, Iterator[Affinity]]:
        """Partials of the cuts in their order. Drain the affinities before using `categories`: they fill it."""
        first, last = self._tracked()
        categories = np.zeros((len(self.cuts.as_of), len(self.plan.category_windows), 3), dtype=np.int64)
        partials = Partials(
            self.cuts.as_of,
            self._cells(),
            first,
            last,
            self._histograms(),
            self._maxima(),
            self._days(),
            self._hours(),
            categories,
            self._traits(),
        )
        return partials, Categories(self).fill(categories)

    def affinities(self) -> Iterator[Affinity]:
        """What `partials` gives beside the partial sums, without making those."""
        return Categories(self).fill(
            np.zeros((len(self.cuts.as_of), len(self.plan.category_windows), 3), dtype=np.int64)
        )

    def _cells(self) -> Ints:
        out = np.empty((len(self.cuts.as_of), len(self.plan.cells)), dtype=np.int64)
        sums = dict.fromkeys(key for key, _ in self.plan.cells)
        for key in sums:
            upto = _upto(self._values(key))
            at_head = upto[self.head]
            for cell, (source, window) in enumerate(self.plan.cells):
                if source == key:
                    tail = self.start if window is None else self.tails[self.plan.window_index[window]]
                    out[:, cell] = at_head - upto[tail]
        return out

    def _values(self, key: int) -> Ints | NDArray[np.bool_]:
        wanted = self.plan.sums[key]
        matched = self.plan.matches(wanted.events)[self.facts.code]
        if wanted.column is None:
            return matched
        column = self.facts.columns[wanted.column]
        return np.where(matched, squared(column) if wanted.square else column, 0)

    def _matching(self, matched: NDArray[np.bool_]) -> tuple[Ints, Ints]:
        """Rows that match, and for each row how many matched before it (one entry more than rows)."""
        return np.flatnonzero(matched), _upto(matched)

    def _tracked(self) -> tuple[Ints, Ints]:
        shape = (len(self.cuts.as_of), len(self.plan.tracked))
        first, last = np.full(shape, NEVER), np.full(shape, NEVER)
        for place, key in enumerate(self.plan.tracked):
            rows, upto = self._matching(self.plan.matches(self.plan.sums[key].events)[self.facts.code])
            low, high = upto[self.start], upto[self.head]
            some = high > low
            first[some, place] = self.facts.time[rows[low[some]]]
            last[some, place] = self.facts.time[rows[high[some] - 1]]
        return first, last

    def _maxima(self) -> Ints:
        out = np.full((len(self.cuts.as_of), len(self.plan.maximum_cells)), NEVER)
        for cell, (source, window) in enumerate(self.plan.maximum_cells):
            wanted = self.plan.maxima[source]
            rows, upto = self._matching(self.plan.matches(wanted.events)[self.facts.code])
            values = self.facts.columns[wanted.column][rows] * (-1 if wanted.negative else 1)
            low, high = upto[self.tails[self.plan.window_index[window]]], upto[self.head]
            some = np.flatnonzero(high > low)
            if len(some):
                ends = np.stack([low[some], high[some]], axis=1).ravel()
                out[some, cell] = np.maximum.reduceat(np.append(values, NEVER), ends)[::2]
        return out

    def _histograms(self) -> Ints:
        out = np.zeros((len(self.cuts.as_of), len(self.plan.histogram_cells), BINS), dtype=np.int64)
        for cell, (source, window) in enumerate(self.plan.histogram_cells):
            wanted = self.plan.histograms[source]
            rows, upto = self._matching(self.plan.matches(wanted.events)[self.facts.code])
            bins = bins_of(self.facts.columns[wanted.column][rows])
            low, high = upto[self.tails[self.plan.window_index[window]]], upto[self.head]
            for bin_ in np.unique(bins).tolist():
                counted = _upto(bins == bin_)
                out[:, cell, bin_] = counted[high] - counted[low]
        return out

    def _days(self) -> Ints:
        out = np.zeros((len(self.cuts.as_of), len(self.plan.days), 3), dtype=np.int64)
        for place, (key, window) in enumerate(self.plan.days):
            rows, upto = self._matching(self.plan.matches(self.plan.sums[key].events)[self.facts.code])
            low, high = upto[self.tails[self.plan.window_index[window]]], upto[self.head]
            day, customer = self.facts.time[rows] // DAY, self.facts.customer[rows]
            new = np.ones(len(rows), dtype=np.bool_)
            new[1:] = (day[1:] != day[:-1]) | (customer[1:] != customer[:-1])
            begun = _upto(new)
            gap = np.diff(day[new], prepend=0)
            gaps, squares = _upto(gap), _upto(gap * gap)
            one, end = begun[low], begun[high]
            after = np.minimum(one + 1, end)
            out[:, place] = np.stack([end - one, gaps[end] - gaps[after], squares[end] - squares[after]], axis=1)
        return out

    def _hours(self) -> Ints:
        groups = [group for group in self.plan.hours if group.cells == 24]
        out = np.zeros((len(self.cuts.as_of), len(groups), 24), dtype=np.int64)
        for place, group in enumerate(groups):
            out[:, place] = self._hour_counts(group, None)
        return out

    def week_counts(self, group: Hours) -> Floats:
        """(cuts, 168): matching events before each cut by local hour of the week; old ones count less."""
        return self._hour_counts(group, weights(self.facts.time)) / weights(self.cuts.as_of)[:, None]

    def _hour_counts(self, group: Hours, counts: Ints | None) -> Ints:
        """(cuts, cells): over all time. `counts`: what each fact counts; None: 1."""
        rows, upto = self._matching(self.plan.matches(group.events, group.channel)[self.facts.code])
        low, high = upto[self.start], upto[self.head]
        hour = group.cell(self.facts.hour[rows])
        out = np.zeros((len(low), group.cells), dtype=np.int64)
        for cell in np.unique(hour).tolist():
            here = hour == cell
            counted = _upto(here if counts is None else np.where(here, counts[rows], 0))
            out[:, cell] = counted[high] - counted[low]
        return out

    def _traits(self) -> Floats:
        out = np.full((len(self.cuts.as_of), len(self.plan.traits)), np.nan)
        owner = self.facts.traits.rows()
        for place in range(len(self.plan.traits)):
            said = np.flatnonzero(self.facts.traits.key == place)
            value, row = self.facts.traits.value[said], owner[said]
            order = np.lexsort((value, self.facts.time[row], self.facts.customer[row]))
            row, value = row[order], value[order]
            before = Places(self.facts.customer[row], self.facts.time[row])
            low = np.searchsorted(self.facts.customer[row], self.cuts.customer)
            high = before.before(self.cuts.customer, before.rank(self.cuts.as_of))
            some = high > low
            out[some, place] = value[high[some] - 1]
        return out


class Categories:
    """Orders and views by product category, as of the cuts of a sweep."""

    def __init__(self, sweep: Sweep) -> None:
        self.sweep, plan, facts = sweep, sweep.plan, sweep.facts
        row = facts.categories.rows()
        ordered, viewed = (plan.matches(events)[facts.code][row] for events in (ORDERED, VIEWED))
        told = np.flatnonzero(ordered | viewed)
        order = told[np.lexsort((facts.time[row[told]], facts.categories.key[told], facts.customer[row[told]]))]
        row, key, ordered = row[order], facts.categories.key[order], ordered[order]
        self.upto = _upto(np.where(ordered, 1, VIEW))
        self.last_order = np.maximum.accumulate(np.where(ordered, np.arange(len(row)), -1))
        self.time, customer = facts.time[row], facts.customer[row]
        new = np.ones(len(row), dtype=np.bool_)
        new[1:] = (key[1:] != key[:-1]) | (customer[1:] != customer[:-1])
        self.group = np.cumsum(new) - 1
        self.group_key, self.group_customer = key[new], customer[new]
        self.group_start = np.append(np.flatnonzero(new), len(row))
        self.places = Places(self.group, self.time)

    def fill(self, out: Ints) -> Iterator[Affinity]:
        """Writes distinct, largest and sum of each window into `out` (cuts, windows, 3), piece by piece."""
        cuts = self.sweep.cuts
        low = np.searchsorted(self.group_customer, cuts.customer)
        lengths = np.searchsorted(self.group_customer, cuts.customer, side="right") - low
        bounds = _pieces(lengths)
        for begin, end in pairwise(bounds):
            yield self._piece(begin, end, low[begin:end], lengths[begin:end], out)

    def _piece(self, begin: int, end: int, low: Ints, lengths: Ints, out: Ints) -> Affinity:
        cut = np.repeat(np.arange(end - begin), lengths)
        group = np.arange(len(cut)) - np.repeat(np.cumsum(lengths) - lengths - low, lengths)
        as_of = self.sweep.cuts.as_of[begin:end]
        head = self.places.before(group, self.places.rank(as_of)[cut])
        some = head > self.group_start[group]
        cut, group, head = cut[some], group[some], head[some]
        recent, views = np.empty((len(cut), 2), dtype=np.int64), np.empty(len(cut), dtype=np.int64)
        for place, window in enumerate(self.sweep.plan.category_windows):
            tail = self.places.before(group, self.places.rank(tails(as_of, window))[cut])
            both = self.upto[head] - self.upto[tail]
            orders = both & ORDERS
            if place < 2:
                recent[:, place], views = orders, both // VIEW
            summary = out[begin:end, place]
            np.add.at(summary[:, 0], cut, orders > 0)
            np.maximum.at(summary[:, 1], cut, orders)
            np.add.at(summary[:, 2], cut, orders)
        last = self.last_order[head - 1]
        age = np.where(last >= self.group_start[group], as_of[cut] - self.time[last], FAR)
        days = np.where(age <= CATEGORY_DAYS * DAY, age / DAY, np.nan)
        near = np.flatnonzero((days == days) | (views > 0))
        return Affinity(begin + cut[near], self.group_key[group[near]], recent[near], views[near], days[near])


def tails(as_of: Ints, window: int) -> Ints:
    """`declare.tail_of` of many times."""
    hop = hop_of(window)
    return (as_of - window) // hop * hop


def squared(column: Ints) -> Ints:
    """Squares that fit 64 bits."""
    small = np.clip(column, -SQUARE_LIMIT, SQUARE_LIMIT)
    return small * small


def _upto(values: Ints | NDArray[np.bool_]) -> Ints:
    out = np.zeros(len(values) + 1, dtype=np.int64)
    np.cumsum(values, out=out[1:])
    return out


def _pieces(lengths: Ints) -> list[int]:
    """Bounds of runs of cuts with about PAIRS pairs each."""
    total = np.cumsum(lengths)
    if not len(total):
        return [0]
    steps = np.arange(PAIRS, total[-1] + 1, PAIRS)
    bounds: list[int] = np.unique(np.concatenate([[0], np.searchsorted(total, steps), [len(lengths)]])).tolist()
    return bounds

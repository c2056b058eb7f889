"""Partial sums of customers' states as of a time: the online twin of prefix.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from features.declare import DAY, tail_of
from features.finalize import NEVER, Floats, Ints, Partials
from features.histogram import BINS
from features.plan import CATEGORY_DAYS, GRID_CHANNELS, Plan
from features.state import FAR, Entries, State, note_times, note_traits

_DAY_BITS = 22


@dataclass(frozen=True, slots=True)
class Table:
    """All tiles and visible young entries of n states in one: row (which state), key, time, value."""

    row: Ints
    key: Ints
    time: Ints
    value: Ints

    def of_keys(self, low: int, high: int) -> Table:
        here = np.flatnonzero((self.key >= low) & (self.key < high))
        return Table(self.row[here], self.key[here] - low, self.time[here], self.value[here])


class Reading:
    """n states as of one time (microseconds)."""

    def __init__(self, plan: Plan, states: Sequence[State], as_of: int) -> None:
        self.plan, self.states, self.as_of = plan, states, as_of
        self.tails = [tail_of(as_of, window) for window in plan.windows]
        self._tails_up = np.array(self.tails[::-1], dtype=np.int64)
        self.category_start = np.cumsum([0, *(len(s.categories) for s in states)])
        self.first = np.array([s.first for s in states]).reshape(len(states), -1)
        self.last = np.array([s.last for s in states]).reshape(len(states), -1)
        self.trait_value = np.array([s.trait_value for s in states]).reshape(len(states), -1)
        self.category_last = _joined([s.category_last for s in states])
        self._visible: dict[int, Entries] = {}
        self.table = self._gather()

    def _gather(self) -> Table:
        parts: list[tuple[int, Ints, Ints, Ints]] = []
        for row, state in enumerate(self.states):
            parts.append((row, state.tile_key, state.tile_time, state.tile_value))
            if len(state.young):
                seen = state.young.at((state.young.time < self.as_of) & (state.young.known <= self.as_of))
                here = slice(self.category_start[row], self.category_start[row + 1])
                note_times(seen, self.plan, self.first[row], self.last[row], self.category_last[here])
                note_traits(seen, self.plan, state.trait_time.copy(), self.trait_value[row])
                parts.append((row, seen.key, seen.time, seen.value))
                self._visible[row] = seen
        row_of = np.repeat([p[0] for p in parts], [len(p[1]) for p in parts])
        return Table(row_of, *(_joined([p[i] for p in parts]) for i in (1, 2, 3)))  # type: ignore[misc]

    def partials(self) -> Partials:
        n = len(self.states)
        sums = self._sums()
        return Partials(
            np.full(n, self.as_of),
            sums[:, self.plan.cell_windows, self.plan.cell_keys],
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
        return len(self.tails) - np.searchsorted(self._tails_up, time, side="right")

    def _sums(self) -> Ints:
        """(n, windows + 1, sums): what each window holds, last for all time."""
        width, keys = len(self.tails), self.plan.histogram_base
        told = self.table.of_keys(0, keys)
        out = np.zeros((len(self.states), width + 1, keys), dtype=np.int64)
        np.add.at(out, (told.row, self._window(told.time), told.key), told.value)
        for row, state in enumerate(self.states):
            end = int(np.searchsorted(state.archive_key, keys))
            out[row, width, state.archive_key[:end]] += state.archive_value[:end]
        return out.cumsum(axis=1)

    def _histograms(self) -> Ints:
        out = np.zeros((len(self.states), len(self.plan.histogram_cells), BINS), dtype=np.int64)
        told = self.table.of_keys(self.plan.histogram_base, self.plan.maximum_base)
        for cell, (source, window) in enumerate(self.plan.histogram_cells):
            here = (told.key // BINS == source) & (told.time >= self.tails[self.plan.window_index[window]])
            np.add.at(out, (told.row[here], cell, told.key[here] % BINS), told.value[here])
        return out

    def _maxima(self) -> Ints:
        out = np.full((len(self.states), len(self.plan.maximum_cells)), NEVER)
        told = self.table.of_keys(self.plan.maximum_base, self.plan.trait_base)
        for cell, (source, window) in enumerate(self.plan.maximum_cells):
            here = (told.key == source) & (told.time >= self.tails[self.plan.window_index[window]])
            np.maximum.at(out[:, cell], told.row[here], told.value[here])
        return out

    def _days(self) -> Ints:
        n = len(self.states)
        out = np.zeros((n, len(self.plan.days), 3), dtype=np.int64)
        for place, (key, window) in enumerate(self.plan.days):
            here = (self.table.key == key) & (self.table.time >= self.tails[self.plan.window_index[window]])
            day = self.table.time[here] // DAY + (1 << (_DAY_BITS - 1))
            days = np.unique((self.table.row[here] << _DAY_BITS) + day)
            row = days >> _DAY_BITS
            np.add.at(out[:, place, 0], row, 1)
            gap = np.diff(days)
            same = np.flatnonzero(row[1:] == row[:-1])
            np.add.at(out[:, place, 1], row[same], gap[same])
            np.add.at(out[:, place, 2], row[same], gap[same] * gap[same])
        return out

    def _hours(self) -> Ints:
        low, high = self.plan.day_hour_base, self.plan.category_base
        out = np.zeros((len(self.states), high - low), dtype=np.int64)
        told = self.table.of_keys(low, high)
        np.add.at(out, (told.row, told.key), told.value)
        for row, state in enumerate(self.states):
            start = int(np.searchsorted(state.archive_key, low))
            out[row, state.archive_key[start:] - low] += state.archive_value[start:]
        return out.reshape(len(self.states), (high - low) // 24, 24)

    def _categories(self) -> Ints:
        """(n, category windows, 3): distinct, largest, sum. Leaves orders of each category in `orders`."""
        bought = self.table.of_keys(self.plan.category_base, 1 << 16)
        sums = np.zeros((int(self.category_start[-1]), len(self.tails) + 1), dtype=np.int64)
        np.add.at(sums, (self.category_start[bought.row] + bought.key, self._window(bought.time)), bought.value)
        self.orders = sums.cumsum(axis=1)[:, self.plan.category_tails]
        out = np.zeros((len(self.states), self.orders.shape[1], 3), dtype=np.int64)
        some = np.flatnonzero(np.diff(self.category_start))
        if len(some):
            start = self.category_start[some]
            out[some, :, 0] = np.add.reduceat((self.orders > 0).astype(np.int64), start)
            out[some, :, 1] = np.maximum.reduceat(self.orders, start)
            out[some, :, 2] = np.add.reduceat(self.orders, start)
        return out

    def affinity(self, row: int) -> Mapping[str, tuple[float, float, float]]:
        """Category -> orders in 90 and 365 days, days since the last; after `partials`."""
        names = self.states[row].categories
        if not names:
            return {}
        here = slice(int(self.category_start[row]), int(self.category_start[row + 1]))
        last = self.category_last[here]
        near = np.flatnonzero((last > NEVER) & (self.as_of - last <= CATEGORY_DAYS * DAY)).tolist()
        days: Floats = (self.as_of - last) / DAY
        orders: list[list[float]] = self.orders[here, :2].astype(np.float64).tolist()
        since: list[float] = days.tolist()
        return {names[i]: (orders[i][0], orders[i][1], since[i]) for i in near}

    def grids(self, row: int) -> tuple[Ints, dict[str, tuple[Ints, Ints]]]:
        """Orders by local hour of the week; channel -> (messages, human answers) likewise."""
        low, high = self.plan.hour_base, self.plan.day_hour_base
        counts = np.zeros(high - low, dtype=np.int64)
        state = self.states[row]
        start, end = np.searchsorted(state.archive_key, (low, high)).tolist()
        told = state.archive_key[start:end] - low
        counts[told] = state.archive_value[start:end]
        if row in self._visible:
            young = self._visible[row]
            here = (young.key >= low) & (young.key < high)
            told = np.concatenate([told, young.key[here] - low])
            np.add.at(counts, young.key[here] - low, young.value[here])
        weeks = counts.reshape(-1, 168)
        busy = {(week - 1) // 2 for week in (told // 168).tolist() if week}
        answers = {GRID_CHANNELS[place]: (weeks[1 + 2 * place], weeks[2 + 2 * place]) for place in sorted(busy)}
        return weeks[0], answers


def _joined(parts: list[Ints]) -> Ints:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

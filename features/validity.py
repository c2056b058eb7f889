"""How long features stay as they are: until when nothing leaves a window, becomes visible, or passes a date."""

from __future__ import annotations

import numpy as np

from features.declare import hop_of
from features.finalize import FAR, Ints
from features.histogram import BINS
from features.plan import Plan
from features.tiles import Reading


class Validity:
    """Knows, for a plan, which windows count each key."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._hop = np.array([hop_of(window) for window in plan.windows], dtype=np.int64)[:, None]
        self._span = np.array([window + hop_of(window) for window in plan.windows], dtype=np.int64)[:, None]
        self._counts = np.zeros((len(plan.windows), plan.category_base + 1), dtype=np.bool_)
        for key, window in _counted(plan):
            self._counts[plan.window_index[window], key] = True

    def until(self, reading: Reading) -> Ints:
        """(n,) the first microsecond as of which any partial sum of a row may differ; FAR if it never will by itself.

        What is in a window of length w and hop h at time t leaves it as of floor(t, h) + h + w: the first as_of with
        floor(as_of - w, h) beyond floor(t, h). So what is oldest in a window leaves it first. Entries that are not
        visible yet become so at a known moment.
        """
        table, out = reading.table, np.full(len(reading.states), FAR)
        if len(table.row) and len(self._hop):
            counted = self._counts.take(np.minimum(table.key, self._plan.category_base), axis=1)
            counted &= table.time >= np.array(reading.tails)[:, None]
            oldest = _least(np.where(counted, table.time, FAR), table.row, len(out))
            out = np.minimum((oldest // self._hop * self._hop + self._span).min(axis=0), FAR)
        row, moment = reading.hidden
        np.minimum.at(out, row, moment)
        return out


def _least(times: Ints, row: Ints, count: int) -> Ints:
    """(windows, count): the smallest of each row's times (windows, entries), FAR where there is none."""
    if count == 1:
        least: Ints = times.min(axis=1, keepdims=True)
        return least
    least = np.full((len(times), count), FAR)
    for one, told in zip(least, times, strict=True):
        np.minimum.at(one, row, told)
    return least


def _counted(plan: Plan) -> list[tuple[int, int]]:
    """(key, window) of everything that is summed over a window."""
    found = [(key, window) for key, window in (*plan.cells, *plan.days) if window is not None]
    for source, window in plan.histogram_cells:
        found += [(plan.histogram_base + BINS * source + bin_, window) for bin_ in range(BINS)]
    found += [(plan.maximum_base + source, window) for source, window in plan.maximum_cells]
    return found + [(plan.category_base, window) for window in plan.category_windows]

"""Cut dates and honest folds: train on cuts whose outcomes were known before the test cut, never later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

EPOCH = datetime(2001, 1, 1, tzinfo=UTC)  # a Monday; cuts stand on a fixed grid, so that retrainings share them


@dataclass(frozen=True, slots=True)
class Fold:
    """Train on `train` cuts, test on the cut `test`. Labels of the train cuts end at or before the test cut."""

    train: tuple[datetime, ...]
    test: datetime


def grid(first: datetime, last: datetime, step: timedelta) -> list[datetime]:
    """The cuts of the fixed grid in [first, last], oldest first, at midnight UTC."""
    start = -((EPOCH - first) // step)
    cuts = (EPOCH + step * index for index in range(start, start + max(0, (last - first) // step) + 2))
    return [cut for cut in cuts if first <= cut <= last]


def matured(cuts: Sequence[datetime], horizon: timedelta, data_end: datetime) -> list[datetime]:
    """The cuts whose whole horizon lies before `data_end`."""
    return [cut for cut in cuts if cut + horizon <= data_end]


def folds(cuts: Sequence[datetime], horizon: timedelta, at_least: int = 1) -> list[Fold]:
    """Rolling-origin folds with an embargo of one horizon, oldest first.

    Every cut that has at least `at_least` training cuts with `cut + horizon <= test` is a test once.
    """
    result = []
    for test in sorted(cuts):
        train = tuple(cut for cut in sorted(cuts) if cut + horizon <= test)
        if len(train) >= at_least:
            result.append(Fold(train, test))
    return result


def spread(chosen: Sequence[Fold], n: int) -> list[Fold]:
    """At most `n` of the folds, evenly spread, always with the newest."""
    if len(chosen) <= n:
        return list(chosen)
    places = np.unique(np.linspace(0, len(chosen) - 1, n).round().astype(int))
    return [chosen[place] for place in places]


def mask(times: npt.NDArray[np.datetime64], cuts: Sequence[datetime]) -> npt.NDArray[np.bool_]:
    """Which rows, by their cut `times` (datetime64, UTC), belong to `cuts`."""
    return np.isin(times, np.array([cut.replace(tzinfo=None) for cut in cuts], dtype=times.dtype))

"""A histogram with four bins to each doubling, for quantiles that merge: at most 9.1% off (2^(1/8) - 1)."""

from __future__ import annotations

from bisect import bisect_right

import numpy as np
from numpy.typing import NDArray

EDGES: NDArray[np.int64] = np.unique(np.round(2.0 ** (np.arange(4 * 40) / 4)).astype(np.int64))
"""Lower edges of the bins, in minor units; a value below 1 falls into bin 0, with the value 0."""
BINS = len(EDGES) + 1
_EDGES_LIST: list[int] = EDGES.tolist()
MIDDLES: NDArray[np.float64] = np.concatenate(
    [[0.0], np.sqrt(EDGES[:-1].astype(np.float64) * (EDGES[1:] - 1)), [float(EDGES[-1])]]
)
"""What a value in each bin reads as: the geometric middle of its smallest and largest integer."""


def bin_of(value: int) -> int:
    return bisect_right(_EDGES_LIST, value)


def bins_of(values: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.searchsorted(EDGES, values, side="right")


def quantile(counts: NDArray[np.int64], share: float) -> NDArray[np.float64]:
    """The value below which `share` of the counted values lie (lower one of two middles); NaN without any.

    counts: (n, BINS).
    """
    upto = counts.cumsum(axis=1)
    total = upto[:, -1]
    rank = np.maximum(np.ceil(total * share), 1)
    place = (upto >= rank[:, None]).argmax(axis=1)
    return np.where(total > 0, MIDDLES[place], np.nan)

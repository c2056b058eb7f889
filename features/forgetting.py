"""Counts that forget: an event's weight halves every HALF_LIFE, in whole numbers, so that sums stay exact and equal.

Forward decay (Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay", ICDE 2009): an event has the weight of its own
time for ever, and only the reader divides by the weight of the time it reads as of.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from features.declare import DAY

HALF_LIFE = 180 * DAY
_STEPS = np.array([16, 19, 23, 27], dtype=np.int64)
"""A quarter of a half-life after another: 16 x 2^(n / 4), rounded."""
_FIRST = 18_262 * DAY
"""2020-01-01: what happened before weighs as if it were then."""
_MOST = 160
"""Quarters after which weights grow no more, in 2039: 300,000 events in one hour of the week still fit 64 bits."""

Ints = NDArray[np.int64]


def weights(time: Ints) -> Ints:
    """The weight of each time (microseconds since 1970)."""
    quarter = np.clip((time - _FIRST) // (HALF_LIFE // 4), 0, _MOST)
    return _STEPS[quarter % 4] << (quarter // 4)


def weight(time: int) -> int:
    """`weights` of one time."""
    quarter = min(max((time - _FIRST) // (HALF_LIFE // 4), 0), _MOST)
    return int(_STEPS[quarter % 4]) << (quarter // 4)

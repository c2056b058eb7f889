"""What happened on a channel, by local hour of the week."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HOURS = 168
NO_HOURS: NDArray[np.float64] = np.zeros(HOURS)
NO_HOURS.setflags(write=False)


def week_totals(weeks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sums of weeks (k, 168), in a written order: of the first 80 hours and of the others, each as eight sums side by
    side. (It is how numpy happens to add so many; here it is said, because compiled code must give the same bits.)
    """
    first, others = (_side_by_side(weeks[:, part]) for part in (slice(0, 80), slice(80, HOURS)))
    return first + others


def _side_by_side(hours: NDArray[np.float64]) -> NDArray[np.float64]:
    lanes = np.ascontiguousarray(hours.reshape(len(hours), -1, 8).transpose(1, 2, 0))
    total: NDArray[np.float64] = lanes[0]
    for some in lanes[1:]:
        total = total + some
    low: NDArray[np.float64] = (total[0] + total[1]) + (total[2] + total[3])
    high: NDArray[np.float64] = (total[4] + total[5]) + (total[6] + total[7])
    return low + high


class ChannelHours(NamedTuple):
    """Messages delivered, and human clicks and opens, each (168,) by its own local hour; Monday 00 is 0.

    Counts that forget (forgetting.py): what happened lately counts as 1.
    """

    sends: NDArray[np.float64]
    clicks: NDArray[np.float64] = NO_HOURS
    opens: NDArray[np.float64] = NO_HOURS

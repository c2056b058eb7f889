"""What happened on a channel, by local hour of the week."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

HOURS = 168
NO_HOURS: NDArray[np.float64] = np.zeros(HOURS)
NO_HOURS.setflags(write=False)


class ChannelHours(NamedTuple):
    """Messages delivered, and human clicks and opens, each (168,) by its own local hour; Monday 00 is 0.

    Counts that forget (forgetting.py): what happened lately counts as 1.
    """

    sends: NDArray[np.float64]
    clicks: NDArray[np.float64] = NO_HOURS
    opens: NDArray[np.float64] = NO_HOURS

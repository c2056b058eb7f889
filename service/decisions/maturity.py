"""When a delivery without an answer begins to tell that nothing will come of it. Pure."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import NamedTuple

STAGES = ((timedelta(hours=1), 0.25), (timedelta(days=1), 0.35), (timedelta(days=7), 0.40))
"""After so long without a conversion, this much of "did not" is sure: of those who convert, about a quarter do within
the hour, 60% within a day. Conversions count whole and at once, so shares that are a little off bias nothing but the
speed at which rates are learnt to be low."""
_FADES = tuple((share, after / timedelta(microseconds=2)) for after, share in STAGES)
"""Share and mean, in microseconds, of exponentials that together come near the stages: within an hour they have .24,
within a day .65, within a week .95."""


class Young(NamedTuple):
    """Of how many deliveries it cannot be told yet: a count for each of `STAGES`, each fading at its own pace, so that
    nobody has to look at the deliveries again. `at`, in microseconds, is when they stood like this.
    """

    counts: tuple[float, ...]
    at: int

    def with_delivery(self, at: int, by: int = 1) -> Young:
        """With one (or `by`) more, which may have come before the others."""
        newest = max(self.at, at)
        return Young(
            tuple(
                count * _left(mean, newest - self.at) + by * _left(mean, newest - at)
                for count, (_, mean) in zip(self.counts, _FADES, strict=True)
            ),
            newest,
        )

    def untold(self, now: int) -> float:
        """How many deliveries' worth of "did not" is still to come: 1 of one that came just now, .35 after a day."""
        age = max(now - self.at, 0)
        return sum(share * count * _left(mean, age) for count, (share, mean) in zip(self.counts, _FADES, strict=True))


NONE_YOUNG = Young((0.0,) * len(STAGES), 0)


def _left(mean: float, age: int) -> float:
    return math.exp(-age / mean)

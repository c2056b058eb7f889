"""When a delivery without an answer begins to tell that nothing will come of it. Pure."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import NamedTuple

STAGES = (
    (timedelta(hours=1), 0.20),
    (timedelta(days=1), 0.35),
    (timedelta(days=7), 0.40),
    (timedelta(minutes=1), 0.05),
)
"""After so long without a conversion, this much of "did not" is sure: of those who convert, a few do within a minute,
about a quarter within the hour, 60% within a day. Conversions count whole and at once, so shares that are a little off
bias nothing but the speed at which rates are learnt to be low. Lessons are numbered in this order."""
PROMPT = timedelta(minutes=1)
"""A conversion that comes within this, and the stage that tells all where (nearly) all do."""
PROMPT_AFTER = (timedelta(minutes=1), timedelta(minutes=2), timedelta(minutes=5), timedelta(seconds=30))
"""When each of `STAGES` is told there."""
_FADES = tuple((share, after / timedelta(microseconds=2)) for after, share in STAGES)
"""Share and mean, in microseconds, of exponentials that together come near the stages: within an hour they have .23,
within a day .65, within a week .95."""
_PROMPT_SHARES = tuple(1.0 if after == PROMPT else 0.0 for after, _ in STAGES)
_LONG_ENOUGH = timedelta(minutes=10) // timedelta(microseconds=1)
"""Deliveries that are younger have had no time for anything but prompt conversions."""
_PRIOR = math.log(0.05 / 0.95)
_WITHIN, _LATER = math.log(0.97 / 0.55), math.log(0.03 / 0.45)
"""What a conversion within a minute, and a later one, tells: where all are prompt 97% are, and elsewhere at most 55% of
those of the first minutes (`STAGES`, between which as many come in each equal step of the logarithm of time)."""


def promptness(delays: int, prompt: int, first_at: int | None, now: int) -> float:
    """How sure it is, in [0, 1), that conversions on a channel come within a minute or never.

    `delays`: conversions of which it is known how long after the delivery they came, `prompt` those within a minute;
    `first_at`: the first delivery on the channel, and `now`, in microseconds.
    """
    if first_at is None or now - first_at < _LONG_ENOUGH:
        return 0.0
    odds = _PRIOR + prompt * _WITHIN + (delays - prompt) * _LATER
    return 0.5 * (1.0 + math.tanh(0.5 * odds)) if delays else 0.0


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

    def untold(self, now: int, prompt: float = 0.0) -> float:
        """How many deliveries' worth of "did not" is still to come: 1 of one that came just now, .35 after a day.

        `prompt`: how sure it is that conversions come within a minute or never (`promptness`).
        """
        age = max(now - self.at, 0)
        return sum(
            ((1.0 - prompt) * share + prompt * all_at_once) * count * _left(mean, age)
            for count, (share, mean), all_at_once in zip(self.counts, _FADES, _PROMPT_SHARES, strict=True)
        )


NONE_YOUNG = Young((0.0,) * len(STAGES), 0)


def _left(mean: float, age: int) -> float:
    return math.exp(-age / mean)

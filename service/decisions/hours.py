"""Which allowed hour a message is planned for: the best, or now and then another, else nothing is ever learnt. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple

EVERY = 100_000
"""More hours than any window has."""
Rank = Callable[[int], Sequence[datetime]]
"""The best n allowed times, best first; fewer where there are not as many."""


class Planned(NamedTuple):
    """When to send, and the probability with which this hour was drawn among the allowed ones."""

    at: datetime
    probability: float


def plan_hour(rank: Rank, share: float, number: float) -> Planned | None:
    """The best time, or with the probability `share` one of all others, each as likely; None where none is allowed.

    `number` in [0, 1) decides, and names the other hour too: the same number gives the same time.
    """
    if number >= share:
        best = rank(2)
        return Planned(best[0], 1.0 - share if len(best) > 1 else 1.0) if best else None
    times = rank(EVERY)
    if len(times) < 2:
        return Planned(times[0], 1.0) if times else None
    others = len(times) - 1
    return Planned(times[1 + min(int(number / share * others), others - 1)], share / others)

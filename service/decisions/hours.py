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


def drawn(count: int, share: float, number: float) -> tuple[int, float]:
    """Which of `count` allowed hours, the best being 0, and its probability: the best, or with the probability `share`
    one of all others, each as likely.

    `number` in [0, 1) decides, and names the other hour too: the same number gives the same hour.
    """
    if count < 2:
        return 0, 1.0
    if number >= share:
        return 0, 1.0 - share
    others = count - 1
    return 1 + min(int(number / share * others), others - 1), share / others


def plan_hour(rank: Rank, share: float, number: float) -> Planned | None:
    """The time that is `drawn`; None where none is allowed."""
    times = rank(2 if number >= share else EVERY)
    if not times:
        return None
    place, probability = drawn(len(times), share, number)
    return Planned(times[place], probability)

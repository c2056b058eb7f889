"""An evenly paced budget is spent no faster than evenly over its period. Pure.

With `amount` for a period, the spending of its part w (in [0, 1]) may be

    amount x w + burst,    burst = max(amount / 24, one cost)

A calendar's period: w is the part that is over, so what was saved early on may be spent later. A sliding window: this
holds for its newest k 24ths, each k from 1 to 24 (a token bucket read from the ledger, which needs no state).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from itertools import accumulate

SLICES = 24
FINE = 4
"""Steps of a slice by which is told when there is a place again."""


def exceeds(spent: float, amount: float) -> bool:
    """Whether money spent is over a budget, beyond what adding many floats may err."""
    return spent > amount * (1 + 1e-9) + 1e-9


def ahead(amount: float, cost: float, used: float, slices: Sequence[float], share: float) -> float:
    """By how much one more `cost` would pass even spending; not above 0 while it may be spent.

    `slices`, of a sliding window: money by age, the newest first. Without them `used` is a calendar's, `share` over.
    """
    burst = max(amount / SLICES, cost)
    if not slices:
        return used + cost - amount * share - burst
    return max(spent + cost - amount * k / SLICES for k, spent in enumerate(accumulate(slices), 1)) - burst


def by_slice(ages: Mapping[int, float], later: int = 0) -> tuple[float, ...]:
    """Money by age in slices, of money by age in steps; as it will be so many steps `later`, if none is spent.

    What is planned for later (an age below 0) counts as new until then.
    """
    slices = [0.0] * SLICES
    for age, cost in ages.items():
        place = max(age + later, 0) // FINE
        if place < SLICES:
            slices[place] += cost
    return tuple(slices)


def free_after(amount: float, cost: float, ages: Mapping[int, float]) -> int:
    """After how many steps (at least 1) a sliding window lets `cost` be spent; `ages` as in `by_slice`.

    Money only grows older, so what is let go once is let go from then on.
    """
    last = SLICES * FINE - min(ages, default=0)

    def is_free(later: int) -> bool:
        return ahead(amount, cost, 0.0, by_slice(ages, later), 1.0) <= 1e-9 * (1 + amount)

    return 1 + bisect_left(range(1, last), True, key=is_free)


def wait(excess: float, amount: float, period: int) -> int:
    """How long until even spending has caught up, in the unit of `period`."""
    return round(excess / amount * period) if amount > 0 else period

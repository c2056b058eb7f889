"""An evenly paced budget is spent no faster than evenly over its period. Pure.

With `amount` for a period, the spending of its part w (in [0, 1]) may be

    amount x w + burst,    burst = max(amount / 24, one cost)

A calendar's period: w is the part that is over, so what was saved early on may be spent later. A sliding window: this
holds for its newest k 24ths, each k from 1 to 24 (a token bucket read from the ledger, which needs no state).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

SLICES = 24


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


def wait(excess: float, amount: float, period: int) -> int:
    """How long until even spending has caught up, in the unit of `period`."""
    return round(excess / amount * period) if amount > 0 else period

"""Which channels a customer answers: what is personal of a channel where no model is trained. Pure.

Clicks on a channel beside those that as many messages usually get there. Opens are left out: not every channel tells
of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from features.customer_row import CustomerRow

CLICKED = frozenset({"email", "sms", "push"})
"""Channels whose messages have something to click."""
GIVEN = 1.0
"""Clicks that every channel is given, and that are expected of it."""
USUAL, USUAL_WEIGHT = 0.05, 20.0
"""A customer's clicks for each message, and how many messages that counts for."""
POOL_WEIGHT = 50.0
"""Messages that a customer's own clicks on all channels count for beside those that all customers got on one."""


class Answers(NamedTuple):
    """What the odds of a channel are multiplied by, and the share of its messages that the customer clicked."""

    factor: float
    share: float

    def reason(self, channel: str) -> dict[str, Any] | None:
        """Why the odds of a channel are higher, in the customer's terms; None where they are not."""
        if self.factor <= 1.0:
            return None
        text = f"this customer clicked {self.share:.0%} of the messages by {channel}, more than is usual"
        return {"feature": "channel", "text": text, "effect": math.log(self.factor)}


def answers(row: CustomerRow | None, pooled: Callable[[str], tuple[int, int]]) -> dict[str, Answers]:
    """By channel, for those on which the customer got messages. `pooled`: deliveries of all and their clicks."""
    if row is None:
        return {}
    own = {
        channel: _clicked(float(hours.sends.sum()), float(hours.clicks.sum()))
        for channel, hours in row.response_hours.items()
        if channel in CLICKED
    }
    sends, clicks = (sum(counts) for counts in zip(*own.values(), strict=True)) if own else (0.0, 0.0)
    at_all = (clicks + USUAL * USUAL_WEIGHT) / (sends + USUAL_WEIGHT)
    found = {}
    for channel, (sent, clicked) in own.items():
        if sent > 0:
            shown, of_all = pooled(channel)
            usual = (of_all + POOL_WEIGHT * at_all) / (shown + POOL_WEIGHT)
            found[channel] = Answers((clicked + GIVEN) / (sent * usual + GIVEN), clicked / sent)
    return found


def _clicked(sends: float, clicks: float) -> tuple[float, float]:
    """Messages, and those clicked: of two clicks nobody knows here whether they are of one message, so all at most."""
    return sends, min(clicks, sends)

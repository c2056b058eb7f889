"""What an action is worth: one formula that can be read. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from service.decisions.caps import recent_messages
from service.decisions.case import PULLED, Case

FATIGUE_DAYS = 7.0


def expected_value(probability: float, value: float, cost: float, fatigue: float, priority: float) -> float:
    """(P(convert) x value - cost - fatigue) x priority, in the catalogue's currency. Sending nothing is worth 0."""
    return (probability * value - cost - fatigue) * priority


def fatigue(case: Case, channel: str) -> float:
    """What one more message costs in patience: the setting, and again for each message of the last 7 days.

    Channels that the customer comes to cost none.
    """
    if channel in PULLED:
        return 0.0
    return case.rules.fatigue_cost * (1 + recent_messages(case.usage.entries, FATIGUE_DAYS, case.now_us))


def expected_values(case: Case, eligible: Sequence[tuple[int, str]], probabilities: Sequence[float]) -> list[float]:
    """The expected value of each eligible candidate, then (last) of sending nothing: 0."""
    tiredness = {channel: fatigue(case, channel) for channel in case.channels}
    worth = [(offer.value, offer.cost, offer.priority) for offer in case.offers]
    values = []
    for (position, channel), probability in zip(eligible, probabilities, strict=True):
        value, cost, priority = worth[position]
        values.append(expected_value(probability, value, cost, tiredness[channel], priority))
    return [*values, 0.0]

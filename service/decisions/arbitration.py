"""What an action is worth: one formula that can be read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.decisions.caps import recent_messages
from service.decisions.case import PULLED, Case

FATIGUE_DAYS = 7.0


def expected_value(probability: float, value: float, cost: float, fatigue: float, priority: float) -> float:
    """(P(convert) x value - cost - fatigue) x priority, in the catalogue's currency."""
    return (probability * value - cost - fatigue) * priority


def fatigue(case: Case, channel: str) -> float:
    """What one more message costs in patience: the setting, and again for each message of the last 7 days.

    Channels that the customer comes to cost none.
    """
    if channel in PULLED:
        return 0.0
    return case.rules.fatigue_cost * (1 + recent_messages(case.usage.entries, FATIGUE_DAYS, case.now_us))


def expected_values(
    case: Case,
    eligible: Sequence[tuple[int, str]],
    probabilities: Sequence[float],
    goals: Mapping[str, Sequence[float]] | None = None,
    uplift: Sequence[float] | None = None,
) -> list[float]:
    """The expected value of each eligible candidate, then (last) that of sending nothing.

    With weights for several goals, what is earned is `goal_conversion` x P(convert) x value + `goal_click` x P(click)
    + `goal_redemption` x P(redeem); `goals` has P(click) and P(redeem) where their weights are not 0. Where `uplift`
    is given it stands for P(convert): by how much sending raises that probability.
    """
    rules = case.rules
    tiredness = {channel: fatigue(case, channel) for channel in case.channels}
    worth = [(rules.goal_conversion * offer.value, offer.cost, offer.priority) for offer in case.offers]
    values = []
    for (position, channel), probability in zip(eligible, probabilities if uplift is None else uplift, strict=True):
        value, cost, priority = worth[position]
        values.append(expected_value(probability, value, cost, tiredness[channel], priority))
    for weight, name in ((rules.goal_click, "click"), (rules.goal_redemption, "redemption")):
        if weight and goals:
            values = [
                value + weight * chance * worth[position][2]
                for value, chance, (position, _) in zip(values, goals[name], eligible, strict=True)
            ]
    return [*values, rules.nothing]

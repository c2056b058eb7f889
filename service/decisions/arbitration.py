"""What an action is worth: one formula that can be read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from service.decisions.caps import recent_messages
from service.decisions.case import PULLED, Case
from service.decisions.pairs import Floats, Pairs

T = TypeVar("T", float, Floats)
FATIGUE_DAYS = 7.0


def expected_value(probability: T, value: T, cost: T, fatigue: T, priority: T) -> T:
    """(P(convert) x value - cost - fatigue) x priority, in the catalogue's currency; of one or of many."""
    return (probability * value - cost - fatigue) * priority


def tiredness(case: Case, channels: Sequence[str]) -> list[float]:
    """What one more message costs in patience on each channel: the setting, and again for each of the last 7 days.

    Channels that the customer comes to cost none.
    """
    cost = case.rules.fatigue_cost * (1 + recent_messages(case.usage.entries, FATIGUE_DAYS, case.now_us))
    return [0.0 if channel in PULLED else cost for channel in channels]


def expected_values(
    case: Case,
    eligible: Pairs,
    probabilities: Sequence[float] | Floats,
    goals: Mapping[str, Sequence[float]] | None = None,
    uplift: Sequence[float] | Floats | None = None,
) -> Floats:
    """(n + 1,): the expected value of each of n eligible candidates, then that of sending nothing.

    With weights for several goals, what is earned is `goal_conversion` x P(convert) x value + `goal_click` x P(click)
    + `goal_redemption` x P(redeem); `goals` has P(click) and P(redeem) where their weights are not 0. Where `uplift`
    is given it stands for P(convert): by how much sending raises that probability.
    """
    rules, told = case.rules, eligible.terms(case.offers)
    tired = np.array(tiredness(case, eligible.distinct_channels), np.float64)
    chances = np.asarray(probabilities if uplift is None else uplift, np.float64)
    worth = rules.goal_conversion * told.value
    values = np.empty(len(eligible) + 1)
    values[:-1] = expected_value(chances, worth, told.cost, tired[eligible.channel_numbers], told.priority)
    for weight, name in ((rules.goal_click, "click"), (rules.goal_redemption, "redemption")):
        if weight and goals:
            values[:-1] += weight * np.asarray(goals[name], np.float64) * told.priority
    values[-1] = rules.nothing
    return values

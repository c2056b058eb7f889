"""From a case and its probabilities to a ranking: verdicts, worth, propensities, the draw. Pure.

The first place is drawn from the policy of the arm; `propensity` is that policy's probability of putting the
candidate first. The places behind it follow by expected value (in the random arm: by chance). The list ends where
sending nothing would come.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.decisions.arbitration import expected_values
from service.decisions.case import Case
from service.decisions.policy import (
    best_of_draws,
    certain,
    draw,
    epsilon_greedy,
    inverse_gap,
    sample,
    shuffled,
    thompson,
    uniform,
)


class Candidate(NamedTuple):
    """One eligible candidate, weighed. Without offer and channel it is "send nothing". `rank` counts from 1."""

    offer_id: str | None
    channel: str | None
    probability: float | None
    expected_value: float
    propensity: float
    rank: int | None


def choose(case: Case, eligible: Sequence[tuple[int, str]], probabilities: Sequence[float]) -> list[Candidate]:
    """Every eligible candidate and, last, sending nothing, with propensities that sum to 1 and their ranks.

    When nothing is sent, "send nothing" has rank 1.
    """
    values = expected_values(case, eligible, probabilities)
    weights = _weights(case, eligible, probabilities, values)
    order = _order(case, values, sample(weights, draw(case.seed, 0)))
    ranks = {position: rank for rank, position in enumerate(order, 1)}
    names = [offer.offer_id for offer in case.offers]
    chosen = [
        Candidate(names[position], channel, probability, value, weight, ranks.get(index))
        for index, ((position, channel), probability, value, weight) in enumerate(
            zip(eligible, probabilities, values, weights, strict=False)
        )
    ]
    nothing = len(eligible)
    return [*chosen, Candidate(None, None, None, 0.0, weights[nothing], ranks.get(nothing))]


def _weights(
    case: Case, eligible: Sequence[tuple[int, str]], probabilities: Sequence[float], values: Sequence[float]
) -> list[float]:
    nothing = len(eligible)
    match case.arm:
        case "holdout":
            return certain(nothing + 1, nothing)
        case "random":
            return uniform(nothing + 1)
        case "business_as_usual":
            return certain(nothing + 1, _usual(case, eligible))
        case _:
            return _explored(case, eligible, probabilities, values)


def _explored(
    case: Case, eligible: Sequence[tuple[int, str]], probabilities: Sequence[float], values: Sequence[float]
) -> list[float]:
    """The exploration that the settings name, on the values as the formula has them."""
    rules = case.rules
    if rules.explore_by == "epsilon_greedy":
        return epsilon_greedy(values, rules.epsilon, rules.floor)
    if rules.explore_by == "thompson" and eligible:
        lines = _lines(case, eligible, probabilities, values)
        return thompson(best_of_draws(probabilities, lines, rules.evidence, case.seed), rules.floor)
    return inverse_gap(values, rules.exploration, rules.floor)


def _lines(
    case: Case, eligible: Sequence[tuple[int, str]], probabilities: Sequence[float], values: Sequence[float]
) -> list[tuple[float, float]]:
    """Each candidate's value as a line over its probability: (slope, offset)."""
    slopes = [case.offers[position].value * case.offers[position].priority for position, _ in eligible]
    return [(s, value - s * p) for s, value, p in zip(slopes, values, probabilities, strict=False)]


def _usual(case: Case, eligible: Sequence[tuple[int, str]]) -> int:
    """What the old way would send: the placement's fixed offer on the first open channel asked for, or nothing.

    Where no offer is named: the eligible one of the highest priority, by the order of the catalogue.
    """
    usual = case.rules.business_as_usual
    fitting = [index for index, (position, _) in enumerate(eligible) if usual in {None, case.offers[position].offer_id}]
    return max(fitting, key=lambda i: (case.offers[eligible[i][0]].priority, -i)) if fitting else len(eligible)


def _order(case: Case, values: Sequence[float], first: int) -> list[int]:
    nothing = len(values) - 1
    if first == nothing or case.arm in {"holdout", "business_as_usual"}:
        return [first]
    rest = [position for position in range(len(values)) if position != first]
    if case.arm == "random":
        rest = shuffled(rest, case.seed, 1)
        rest = rest[: rest.index(nothing)]
    else:
        rest = sorted([p for p in rest if values[p] > 0.0], key=values.__getitem__, reverse=True)  # equal ones stay
    return [first, *rest[: case.top_k - 1]]

"""From a case and its probabilities to a ranking: verdicts, worth, propensities, the draw. Pure.

The first place is drawn from the policy of the arm; `propensity` is that policy's probability of putting the
candidate first. The places behind it follow by expected value (in the random arm: by chance). The list ends where
sending nothing would come. Business rules of the ranker and of the list: see `steering` and `listing`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import NamedTuple

import numpy as np

from service.decisions.arbitration import expected_values
from service.decisions.assortment import assortment
from service.decisions.case import Case
from service.decisions.listing import Beside, LeftOut, fill
from service.decisions.pairs import Floats, Pairs
from service.decisions.policy import (
    best_of_draws,
    calmed,
    certain,
    draw,
    epsilon_greedy,
    inverse_gap,
    sample,
    shuffled,
    thompson,
    uniform,
)
from service.decisions.steering import Cost, Steered, bars, costs, steer
from service.decisions.weigh_at_once import weigh_and_draw


class Candidate(NamedTuple):
    """One eligible candidate, weighed. Without offer and channel it is "send nothing". `rank` counts from 1."""

    offer_id: str | None
    channel: str | None
    probability: float | None
    expected_value: float
    propensity: float
    rank: int | None


@dataclass(frozen=True, slots=True)
class Candidates:
    """Weighed candidates as columns, "send nothing" last; `ranks` by place (from 0). One alone is made when asked for.

    `columns` (3, n + 1): probabilities (NaN of sending nothing), expected values and propensities. Of some hundred few
    are looked at one by one, and a record keeps columns. `names`: the columns of names as a record has them.
    """

    offers: Sequence[str | None] = ()
    channels: Sequence[str | None] = ()
    columns: Floats = field(default_factory=lambda: np.zeros((3, 0)))
    ranks: Mapping[int, int] = field(default_factory=dict)
    names: bytes = b""

    def __len__(self) -> int:
        return len(self.columns[0])

    def __iter__(self) -> Iterator[Candidate]:
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, place: int) -> Candidate:
        offer, (chance, value, weight) = self.offers[place], self.columns[:, place].tolist()
        return Candidate(
            offer, self.channels[place], None if offer is None else chance, value, weight, self.ranks.get(place)
        )


class Choice(NamedTuple):
    """Every candidate weighed, those that rules of the ranker or of the list kept out, and what those rules cost."""

    candidates: Candidates
    left_out: Sequence[LeftOut] = ()
    costs: Sequence[Cost] = ()


def choose(
    case: Case,
    asked: Sequence[tuple[int, str]],
    probabilities: Sequence[float] | Floats,
    goals: Mapping[str, Sequence[float]] | None = None,
    uplift: Sequence[float] | Floats | None = None,
) -> Choice:
    """Every eligible candidate (`asked`) and, last, sending nothing, with propensities that sum to 1 and their ranks.

    When nothing is sent, "send nothing" has rank 1. `goals` and `uplift`: see `arbitration.expected_values`.
    """
    eligible = asked if isinstance(asked, Pairs) else Pairs(asked)
    columns = np.empty((3, len(eligible) + 1))
    columns[0, :-1], columns[0, -1] = probabilities, np.nan
    chances, at = columns[0, :-1], draw(case.seed, 0)
    steered: Steered | None = None
    free = _free(case)
    most = case.top_k - 1 if free else len(eligible)
    worth = chances if uplift is None else uplift
    drawn = None if goals else weigh_and_draw(case, eligible, worth, at, most, columns[1:])
    if drawn is not None:
        order, left_out = (drawn, []) if free else _listed(case, eligible, drawn, {})
    else:
        columns[1] = values = expected_values(case, eligible, chances, goals, uplift)
        steered = _steered(case, eligible, values)
        columns[2] = weights = _weights(case, eligible, chances, values, steered, uplift)
        order, left_out = _order(case, eligible, values, sample(weights, at), steered)
    ranks = {position: rank for rank, position in enumerate(order, 1)}
    told = eligible.terms(case.offers)
    chosen = Candidates(told.names, eligible.channels, columns, ranks, told.as_json)
    if steered is None and case.rules.most_per_category is None and case.rules.most_per_tag is None:
        return Choice(chosen, left_out)
    barred = bars(case, steered) if steered is not None else []
    return Choice(chosen, [*barred, *left_out], costs(case, eligible, columns[1].tolist()))


def propensities(
    case: Case,
    eligible: Pairs,
    probabilities: Sequence[float] | Floats,
    values: Floats,
    uplift: Sequence[float] | Floats | None = None,
) -> Sequence[float]:
    """The probability of each candidate, and (last) of sending nothing, to be put first."""
    return _weights(case, eligible, probabilities, values, _steered(case, eligible, values), uplift)


def _steered(case: Case, eligible: Pairs, values: Floats) -> Steered | None:
    return steer(case, eligible, values.tolist()) if case.steered else None


def _weights(
    case: Case,
    eligible: Pairs,
    probabilities: Sequence[float] | Floats,
    values: Floats,
    steered: Steered | None,
    uplift: Sequence[float] | Floats | None,
) -> list[float]:
    """The propensity of each candidate, exactly 0 for those that the rules of the ranker take out of the draw."""
    nothing, caused = len(eligible), _caused(case, probabilities, uplift)
    if case.arm == "holdout":
        return certain(nothing + 1, nothing)
    if steered is None:
        return _of_arm(case, Drawn(eligible, probabilities, caused), values)
    among = steered.drawn_from()
    some = [index for index in among if index != nothing]
    told = [steered.values[index] for index in among]
    those = Drawn([eligible[i] for i in some], [probabilities[i] for i in some], [caused[i] for i in some])
    if nothing not in among:  # something is pinned to the first place: sending nothing is no choice
        weights = _of_arm(case, those, [*told, min(told)], True)
    else:
        buried = [place for place, index in enumerate(some) if index in steered.buried]
        weights = _of_arm(case, those, told, buried=buried)
    spread = [0.0] * (nothing + 1)
    for index, weight in zip(among, weights, strict=True):
        spread[index] = weight
    return spread


class Drawn(NamedTuple):
    """The candidates that are drawn from, and which share of the chance of each sending `caused`: 1 without uplift."""

    eligible: Sequence[tuple[int, str]]
    probabilities: Sequence[float] | Floats
    caused: Sequence[float]


def _caused(
    case: Case, probabilities: Sequence[float] | Floats, uplift: Sequence[float] | Floats | None
) -> Sequence[float]:
    if uplift is None or not case.rules.uplift_drawn:
        return [1.0] * len(probabilities)
    return [float(more / chance) if chance else 0.0 for more, chance in zip(uplift, probabilities, strict=True)]


def _of_arm(
    case: Case,
    drawn: Drawn,
    values: Sequence[float] | Floats,
    pinned: bool = False,
    buried: Collection[int] = (),
) -> list[float]:
    """The arm's probabilities over candidates and (last) sending nothing; `pinned`: over the candidates alone."""
    nothing, eligible = len(drawn.eligible), drawn.eligible
    match case.arm:
        case "random":
            return uniform(nothing + 1)
        case "business_as_usual":
            return certain(nothing + 1, _usual(case, eligible))
        case _ if pinned:
            return _explored_pins(case, drawn, values[:-1])
        case _:
            return _explored(case, drawn, values, buried)


def _explored_pins(case: Case, drawn: Drawn, values: Sequence[float] | Floats) -> list[float]:
    """The exploration that the settings name, where sending nothing is no choice."""
    rules = case.rules
    if rules.explore_by == "squarecb" or not rules.pins_explored_alike:
        return inverse_gap(values, _boldness(case), rules.floor)
    worth, chances = [float(value) for value in values], [float(chance) for chance in drawn.probabilities]
    if rules.explore_by == "epsilon_greedy":
        return epsilon_greedy(worth, rules.epsilon, rules.floor)
    lines = _lines(case, drawn, worth, ())
    return thompson(best_of_draws(chances, lines, rules.evidence, case.seed, -inf)[:-1], rules.floor)


def _explored(case: Case, drawn: Drawn, values: Sequence[float] | Floats, buried: Collection[int]) -> list[float]:
    """The exploration that the settings name, on the values as the formula has them."""
    rules = case.rules
    if rules.explore_by == "squarecb":
        return _by_gaps(case, values)
    values, probabilities = [float(value) for value in values], [float(chance) for chance in drawn.probabilities]
    if rules.explore_by == "epsilon_greedy":
        return epsilon_greedy(values, rules.epsilon, rules.floor, rules.nothing_wins)
    if rules.explore_by == "thompson" and drawn.eligible:
        lines = _lines(case, drawn, values, buried)
        frequencies = best_of_draws(probabilities, lines, rules.evidence, case.seed, rules.nothing, rules.nothing_wins)
        return thompson(frequencies, rules.floor)
    return _by_gaps(case, values)


def _by_gaps(case: Case, values: Sequence[float] | Floats) -> list[float]:
    rules = case.rules
    return inverse_gap(values, _boldness(case), rules.floor, rules.nothing_wins, rules.losers_alike)


def _boldness(case: Case) -> float:
    return calmed(case.rules.exploration, case.learnt, case.rules.calms_after)


def _lines(case: Case, drawn: Drawn, values: Sequence[float], buried: Collection[int]) -> list[tuple[float, float]]:
    """Each candidate's value as a line over its probability: (slope, offset). What is buried is never worth more."""
    weight = case.rules.goal_conversion
    slopes = [
        weight * case.offers[position].value * case.offers[position].priority * share
        for (position, _), share in zip(drawn.eligible, drawn.caused, strict=True)
    ]
    slopes = [0.0 if place in buried else slope for place, slope in enumerate(slopes)]
    return [(s, value - s * float(p)) for s, value, p in zip(slopes, values, drawn.probabilities, strict=False)]


def _usual(case: Case, eligible: Sequence[tuple[int, str]]) -> int:
    """What the old way would send: the placement's fixed offer on the first open channel asked for, or nothing.

    Where no offer is named: the eligible one of the highest priority, by the order of the catalogue.
    """
    usual, found, highest = case.rules.business_as_usual, len(eligible), -inf
    for index, (position, _) in enumerate(eligible):
        offer = case.offers[position]
        if offer.priority > highest and (usual is None or usual == offer.offer_id):
            found, highest = index, offer.priority
    return found


def _order(
    case: Case, eligible: Pairs, values: Floats, first: int, steered: Steered | None
) -> tuple[list[int], list[LeftOut]]:
    """The candidates of the list in its order, and those that may not stand beside them."""
    nothing = len(values) - 1
    if first == nothing or case.arm in {"holdout", "business_as_usual"}:
        return [first], []
    if case.arm == "random":
        rest = shuffled([position for position in range(len(values)) if position != first], case.seed, 1)
        rest = rest[: rest.index(nothing)]
        rest = rest if steered is None else [index for index in rest if index not in steered.barred]
    elif steered is not None:
        rest = [index for index in steered.ranked(float(values[nothing])) if index != first]
    else:
        worth = (values > values[nothing]).nonzero()[0]
        best = worth[(-values[worth]).argsort(kind="stable")]
        rest = best[best != first].tolist()
    return _listed(case, eligible, [first, *rest], steered.pins if steered is not None else {})


def _free(case: Case) -> bool:
    """Whether any candidates may stand beside each other."""
    rules = case.rules
    return rules.most_per_category is None and rules.most_per_tag is None and not assortment(case.offers).grouped


def _listed(case: Case, eligible: Pairs, ranked: list[int], pins: Mapping[int, int]) -> tuple[list[int], list[LeftOut]]:
    """The list that ranked candidates make, the drawn one first, and those that may not stand beside others."""
    if ranked[0] == len(eligible) or (not pins and _free(case)):
        return ranked[: case.top_k], []
    offers = [case.offers[position] for position, _ in eligible]
    return fill(ranked, offers, pins, case.top_k, Beside(case.rules))

"""What a decision weighed, and what its arm puts first most often: asked again when something is changed. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from service.decisions.arbitration import expected_values
from service.decisions.case import Case
from service.decisions.choose import propensities
from service.decisions.pairs import Floats, Pairs

Pair = tuple[int, str]
"""A candidate: position of its offer, channel."""
_SURE, _ALIKE = 0.9995, 1e-9


class First(NamedTuple):
    """What comes first most often (`pair` None: sending nothing), its expected value, and whether nothing else does.

    One of them, where one offer comes as often by several channels.
    """

    pair: Pair | None
    value: float
    sure: bool


@dataclass(frozen=True, slots=True)
class Weighed:
    """Candidates with their probabilities. `goals` and `uplift`: see `arbitration.expected_values`."""

    case: Case
    eligible: Pairs
    chances: Sequence[float]
    goals: Mapping[str, Sequence[float]] | None = None
    uplift: Sequence[float] | None = None

    def values(self) -> Floats:
        """What each is expected to earn, sending nothing last."""
        return expected_values(self.case, self.eligible, self.chances, self.goals, self.uplift)

    def first(self) -> First | None:
        """By the arm's policy, business rules included. None where chance alone decides between offers."""
        values = self.values()
        weights = propensities(self.case, self.eligible, self.chances, values, self.uplift)
        most = max(weights)
        likeliest = [place for place, weight in enumerate(weights) if most - weight < _ALIKE]
        pairs = [self.eligible[place] if place < len(self.eligible) else None for place in likeliest]
        if len({None if pair is None else pair[0] for pair in pairs}) > 1:
            return None
        place, pair = likeliest[0], pairs[0]
        return First(pair, float(values[place]), weights[place] > _SURE)

    def without(self, rules: Collection[str]) -> Weighed:
        """The same, were there not these business rules."""
        return replace(self, case=without(self.case, rules))


def without(case: Case, rules: Collection[str]) -> Case:
    """The case, were there not these business rules of the ranker."""
    told = zip(case.rules.steering, case.steered, strict=False)
    return replace(case, steered=tuple(() if rule.name in rules else about for rule, about in told)) if rules else case


def ranking_rules(weighed: Weighed) -> list[str]:
    """The names of the rules that pin, boost or bury some candidate."""
    present = {position for position, _ in weighed.eligible}
    told = zip(weighed.case.rules.steering, weighed.case.steered, strict=False)
    return list(dict.fromkeys(rule.name for rule, about in told if rule.do != "exclude" and present & set(about)))


def decisive(weighed: Weighed, pairs: Collection[Pair]) -> list[str]:
    """The business rules by which one of `pairs` comes first, or none does: without them it would be the other way."""

    def leads(rules: Collection[str]) -> bool:
        first = weighed.without(rules).first()
        return first is not None and first.pair in pairs

    names, now = ranking_rules(weighed), leads(())
    alone = [name for name in names if leads({name}) != now]
    return alone or (names if leads(names) != now else [])

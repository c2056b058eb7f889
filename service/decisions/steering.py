"""What business rules do to a ranking, and what each of them costs in expected value. Pure.

- exclude: its candidates are never chosen (in every arm; their propensity is exactly 0)
- pin: the first place is drawn among the candidates pinned to it; one pinned to another place stands there
- boost: values above "send nothing" count `factor` times as much; a loss stays a loss
- bury: behind all others in the list, and explored as seldom as "send nothing"

Pin, boost and bury belong to the model's policy: the random arm measures what would be without them.

The cost of a rule is the expected value of the best list (all rules but exploration) without it, less that with it.
A list is worth its first action, which is the one message that goes out; where the customer comes to it (`PULLED`), all
that is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from service.decisions.case import PULLED, Case
from service.decisions.listing import Beside, LeftOut, fill


@dataclass(frozen=True, slots=True)
class Steered:
    """`values` to rank by (sending nothing last), and the candidates that are barred, pinned (to a place), buried."""

    values: list[float]
    barred: dict[int, str]
    pins: dict[int, int]
    buried: frozenset[int]

    def drawn_from(self) -> list[int]:
        """The candidates that the first place is drawn from: those pinned there, else all that are not barred."""
        first = [index for index, place in self.pins.items() if place == 1]
        return sorted(first) or [index for index in range(len(self.values)) if index not in self.barred]

    def ranked(self, nothing: float) -> list[int]:
        """Candidates worth sending, the best first and the buried last; pinned ones have their own places."""
        last = len(self.values) - 1
        worth = [
            index
            for index in range(last)
            if index not in self.barred
            and index not in self.pins
            and (self.values[index] > nothing or index in self.buried)
        ]
        return sorted(worth, key=lambda index: (index in self.buried, -self.values[index]))


class Cost(NamedTuple):
    """A rule, the offers that it was about here, and its cost in expected value (see the module)."""

    name: str
    do: str
    offers: tuple[str, ...]
    cost: float


def steer(case: Case, eligible: Sequence[tuple[int, str]], values: Sequence[float], skip: int = -1) -> Steered:
    """The rules of the ranker on candidates worth `values` (sending nothing last); the rule at `skip` is left away."""
    told = list(values)
    barred: dict[int, str] = {}
    pins: dict[int, int] = {}
    buried: set[int] = set()
    nothing = values[-1]
    model = case.arm == "model"
    for number, (rule, positions) in enumerate(zip(case.rules.steering, case.steered, strict=False)):
        if number == skip or not (model or rule.do == "exclude"):
            continue
        about = set(positions)
        for index, (position, _) in enumerate(eligible):
            if position not in about:
                continue
            if rule.do == "exclude":
                barred.setdefault(index, rule.name)
            elif rule.do == "pin":
                pins[index] = min(rule.place, pins.get(index, rule.place))
            elif rule.do == "bury":
                buried.add(index)
            elif told[index] > nothing:
                told[index] = nothing + (told[index] - nothing) * rule.factor
    pins = {index: place for index, place in pins.items() if index not in barred}
    buried = {index for index in buried if index not in barred and index not in pins and values[index] > nothing}
    others = any(told[i] > nothing for i in range(len(eligible)) if i not in barred and i not in buried)
    for index in buried if others else ():
        told[index] = nothing
    return Steered(told, barred, pins, frozenset(buried) if others else frozenset())


def bars(case: Case, steered: Steered) -> list[LeftOut]:
    """The candidates that a rule excludes, as an answer names them."""
    return [LeftOut(index, "business_rule", f"excluded by the rule {name}") for index, name in steered.barred.items()]


def costs(case: Case, eligible: Sequence[tuple[int, str]], values: Sequence[float]) -> list[Cost]:
    """What each rule about some candidate here costs, and the list's diversity (named so)."""
    if case.arm != "model":
        return []
    names = [offer.offer_id for offer in case.offers]
    present = {position for position, _ in eligible}
    with_all = _worth(case, eligible, values, steer(case, eligible, values))
    found = [
        Cost(
            rule.name,
            rule.do,
            tuple(names[position] for position in positions if position in present),
            _worth(case, eligible, values, steer(case, eligible, values, number)) - with_all,
        )
        for number, (rule, positions) in enumerate(zip(case.rules.steering, case.steered, strict=False))
        if not present.isdisjoint(positions)
    ]
    if case.rules.most_per_category is not None or case.rules.most_per_tag is not None:
        free = replace(case, rules=replace(case.rules, most_per_category=None, most_per_tag=None))
        without = _worth(free, eligible, values, steer(case, eligible, values))
        found.append(Cost("diversity", "diversity", (), without - with_all))
    return found


def _worth(case: Case, eligible: Sequence[tuple[int, str]], values: Sequence[float], steered: Steered) -> float:
    """The expected value of the best list under these rules: without exploring, the first is the best."""
    nothing = len(eligible)
    first = max(steered.drawn_from(), key=steered.values.__getitem__)
    if first == nothing:
        return values[nothing]
    offers = [case.offers[position] for position, _ in eligible]
    ranked = [first, *(index for index in steered.ranked(values[nothing]) if index != first)]
    chosen, _ = fill(ranked, offers, steered.pins, case.top_k, Beside(case.rules))
    return sum(values[index] for index in chosen if index == chosen[0] or eligible[index][1] in PULLED)

"""How much more a weighed candidate would have to be worth, or how likely, to come first. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from service.decisions.case import Case
from service.decisions.first_place import First, Pair, Weighed
from service.decisions.steering import steer
from service.offers.offer import Offer

Priced = Callable[[tuple[Offer, ...]], Case]
"""The case with its offers changed."""
_NEXT_BEST = 3


class Enough(NamedTuple):
    """A number at which a candidate comes first, and whether nothing else does then."""

    number: float
    sure: bool


@dataclass(frozen=True, slots=True)
class Dearer:
    """A weighed candidate that would come first if an order were worth `value` more, or its chance were `chance`.

    Both are rounded up, so that they are enough. None: by that alone it never would.
    """

    pair: Pair
    value: Enough | None
    chance: Enough | None


def dearer(now: Weighed, first: First, drawn: Pair | None, priced: Priced) -> Iterator[Dearer]:
    """Of the offers that look best behind the first, each by the channel that lacks least: what it lacks.

    Each change is made and the ranker asked again: where a business rule holds an offer back, no worth helps it.
    `drawn`: what stands first, by the policy or by chance.
    """
    values = now.values().tolist()
    barred = steer(now.case, now.eligible, values).barred
    ahead = {pair[0] for pair in (drawn, first.pair) if pair is not None}
    behind: dict[int, list[int]] = {}
    for index in sorted(range(len(now.eligible)), key=lambda index: -values[index]):
        if now.eligible[index][0] not in ahead and index not in barred:
            behind.setdefault(now.eligible[index][0], []).append(index)
    for indices in list(behind.values())[:_NEXT_BEST]:
        lacks = [_lack(now, index, _target(now, values, first, index), priced) for index in indices]
        told = [lack for lack in lacks if lack.value or lack.chance]
        if told:
            yield min(told, key=lambda lack: lack.value.number if lack.value else math.inf)


def in_words(lack: Dearer, name: str, nothing: bool) -> str:
    """`nothing`: nothing is sent now."""
    ways = []
    if lack.value:
        ways.append(f"an order of it were worth {lack.value.number:.2f} more at the same chance")
    if lack.chance:
        ways.append(f"its chance were {lack.chance.number:.1%}")
    sure = all(way.sure for way in (lack.value, lack.chance) if way)
    would = "be worth sending" if nothing else "come first" if sure else "most likely come first"
    return f"{name} by {lack.pair[1]} would {would} if {', or if '.join(ways)}."


def _target(now: Weighed, values: Sequence[float], first: First, index: int) -> float:
    """The expected value that a candidate has to pass, given what boosts make of it and of the first."""
    nothing = values[-1]
    told = steer(now.case, now.eligible, values).values
    leads = len(now.eligible) if first.pair is None else now.eligible.index(first.pair)
    own = now.eligible[index][0]
    rules = list(zip(now.case.rules.steering, now.case.steered, strict=False))
    held = {place for rule, about in rules if rule.do == "bury" for place in about}
    if first.pair is not None and first.pair[0] in held and own not in held:
        return nothing  # the first is buried as soon as anything else is worth sending
    factor = math.prod(rule.factor for rule, about in rules if rule.do == "boost" and own in about)
    return told[leads] if told[leads] <= nothing else nothing + (told[leads] - nothing) / factor


def _lack(now: Weighed, index: int, target: float, priced: Priced) -> Dearer:
    offers, (position, _) = now.case.offers, now.eligible[index]

    def at_value(more: float) -> Weighed:
        offer = replace(offers[position], value=offers[position].value + more)
        return replace(now, case=priced((*offers[:position], offer, *offers[position + 1 :])))

    def at_chance(chance: float) -> Weighed:
        return replace(now, chances=[*now.chances[:index], chance, *now.chances[index + 1 :]])

    chance = None if now.uplift is not None else _enough(at_chance, index, target, float(now.chances[index]), 1_000)
    if chance is not None and chance.number > 1.0:
        chance = None
    return Dearer(now.eligible[index], _enough(at_value, index, target, 0.0, 100), chance)


def _enough(change: Callable[[float], Weighed], index: int, target: float, start: float, parts: int) -> Enough | None:
    """The number, in whole `parts` of 1, that is enough by the formula, which is linear in it; tried."""
    before, after = (float(change(number).values()[index]) for number in (start, start + 0.01))
    lack, steep = target - before, (after - before) / 0.01
    if lack < 0 or steep <= 1e-12:
        return None
    number = math.floor((start + lack / steep + 1e-9) * parts + 1) / parts
    changed = change(number)
    first = changed.first()
    return Enough(number, first.sure) if first is not None and first.pair == changed.eligible[index] else None

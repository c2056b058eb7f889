"""The list that an answer is: ranked candidates, less those that must not stand beside others in it. Pure.

A list keeps to `most_per_category` and `most_per_tag` different offers, and to one offer of an exclusion group. Pinned
candidates take their places; where one may not stand, it is left out like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.decisions.case import Rules
from service.offers.offer import Offer


class LeftOut(NamedTuple):
    """A candidate (its position) that a rule of the list, or of the ranker, keeps out: which rule, and why."""

    candidate: int
    rule: str
    detail: str


@dataclass(slots=True)
class Beside:
    """What stands in a list so far."""

    rules: Rules
    diverse: bool = True
    offers: set[str] = field(default_factory=set)
    categories: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def against(self, offer: Offer) -> tuple[str, str] | None:
        """The rule that keeps an offer out, and why; None when it may stand here."""
        if offer.offer_id in self.offers:
            return None  # on another channel: no other offer
        group = offer.exclusion_group
        if group is not None and group in self.groups:
            return "exclusion", f"{self.groups[group]} of the group {group} stands in the same answer"
        most = self.rules.most_per_category if self.diverse else None
        category = offer.info.category
        if most is not None and category is not None and self.categories.get(category, 0) >= most:
            return "diversity", f"{most} of {most} {category} offers in one answer"
        most = self.rules.most_per_tag if self.diverse else None
        for tag in offer.info.tags if most is not None else ():
            if most is not None and self.tags.get(tag, 0) >= most:
                return "diversity", f"{most} of {most} offers with the tag {tag} in one answer"
        return None

    def add(self, offer: Offer) -> None:
        if offer.offer_id in self.offers:
            return
        self.offers.add(offer.offer_id)
        if offer.exclusion_group is not None:
            self.groups[offer.exclusion_group] = offer.offer_id
        if offer.info.category is not None:
            self.categories[offer.info.category] = self.categories.get(offer.info.category, 0) + 1
        for tag in offer.info.tags:
            self.tags[tag] = self.tags.get(tag, 0) + 1


def fill(
    ranked: Iterable[int], offer_of: Sequence[Offer], pins: Mapping[int, int], most: int, beside: Beside
) -> tuple[list[int], list[LeftOut]]:
    """The first `most` candidates of `ranked` that may stand together, and those left out on the way.

    `offer_of` has the offer of each candidate; `pins` the place (from 1) of those that have one: it stands there, or
    as soon after as may be. The first of `ranked` is already drawn and comes first, wherever it is pinned to.
    """
    chosen: list[int] = []
    left: list[LeftOut] = []
    waiting = sorted(pins, key=lambda index: (pins[index], index))
    rest = iter(ranked)
    taken: set[int] = set()
    while len(chosen) < most:
        due = next((index for index in waiting if pins[index] <= len(chosen) + 1 and chosen), None)
        index = due if due is not None else next((one for one in rest if one not in taken), None)
        if index is None:
            index = next(iter(waiting), None)  # fewer candidates than the place that it was pinned to
        if index is None:
            break
        if index in waiting:
            waiting.remove(index)
        taken.add(index)
        against = beside.against(offer_of[index])
        if against is not None:
            left.append(LeftOut(index, *against))
            continue
        beside.add(offer_of[index])
        chosen.append(index)
    return chosen, left

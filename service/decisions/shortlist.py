"""The first stage of a decision on a large catalogue: rules that are cheap to ask, then models/candidates.py.

A catalogue of at most MOST offers goes to the ranker whole. Of a larger one those are looked for that run, go by a
channel that is open, and whose expression holds; caps, budgets and all else are judged on what is found.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from features.rows import CustomerRow
from features.texts import TextVectors
from models.candidates import MOST, CandidateIndex
from service.customers.consent import allowed
from service.decisions.case import Customer, Rules
from service.offers.catalogue import Catalogue, compiled
from service.offers.cel import Answer, Expression
from service.offers.offer import Offer

Ints = npt.NDArray[np.int64]
Ask = Callable[[Mapping[str, Expression]], Mapping[str, Answer]]
MOST_ASKED = 2_000
"""Different expressions that are asked for one customer before the search, at about 8 microseconds each."""


class Shortlist:
    """Finds the offers to weigh. One for each process; safe for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: tuple[Catalogue, Any, TextVectors, CandidateIndex] | None = None
        self._named: dict[tuple[Any, ...], Ints] = {}

    def offers(
        self,
        catalogue: Catalogue,
        model: Any | None,
        vectors: TextVectors,
        rules: Rules,
        channels: Collection[str],
        row: CustomerRow | None,
        at: datetime,
        ask: Ask,
    ) -> tuple[Offer, ...]:
        """At most MOST offers, in the order of their ids. `model`: the ranker that serves, if any; `ask` answers
        expressions for this customer; `channels`: those that are open to the customer."""
        if len(catalogue.offers) <= MOST:
            return catalogue.offers
        asked = {source: compiled(source) for source in catalogue.expressions[:MOST_ASKED]}
        answers = ask({source: told for source, told in asked.items() if not told.uses_scores})
        may_go = catalogue.may_go(at, channels, {source: answer.holds for source, answer in answers.items()})
        index = self._index(catalogue, getattr(model, "knowledge", None), vectors)
        places = index.pick(row, may_go, MOST, self._named_by(catalogue, rules))
        return tuple(catalogue.offers[place] for place in places.tolist())

    def _index(self, catalogue: Catalogue, knowledge: Any | None, vectors: TextVectors) -> CandidateIndex:
        with self._lock:
            held = self._held
            if held is None or held[0] is not catalogue or held[1] is not knowledge or held[2] is not vectors:
                infos = [offer.info for offer in catalogue.offers]
                made = CandidateIndex(infos, catalogue.worth(), knowledge, vectors)
                held = self._held = (catalogue, knowledge, vectors, made)
                self._named = {}
            return held[3]

    def _named_by(self, catalogue: Catalogue, rules: Rules) -> Ints:
        """What the placement names, remembered while the catalogue stays."""
        known, key = self._named, (id(catalogue), rules.business_as_usual, rules.steering)
        if key not in known:
            known[key] = _named(catalogue, rules)
        return known[key]


def open_channels(customer: Customer, rules: Rules, asked: Collection[str]) -> list[str]:
    """The channels asked for that the customer has not closed; all of them where none is open."""
    found = [channel for channel in asked if not _closed(customer, rules, channel)]
    return found or list(asked)


def _closed(customer: Customer, rules: Rules, channel: str) -> bool:
    suppressed = customer.suppressed.get(channel) or customer.suppressed.get("all")
    wanted = allowed(customer.consents, channel, rules.purpose, rules.consent_when_unknown)
    return not wanted or bool(suppressed) or channel not in rules.placement_channels


def _named(catalogue: Catalogue, rules: Rules) -> Ints:
    """The places of offers that the placement names: what it sends as usual, and what rules pin or boost; half of
    MOST at most."""
    favoured = [rule for rule in rules.steering if rule.do in {"pin", "boost"}]
    if not favoured and rules.business_as_usual is None:
        return np.empty(0, np.int64)
    names = {rules.business_as_usual, *(name for rule in favoured for name in rule.offers)}
    tags = {tag for rule in favoured for tag in rule.tags}
    categories = {category for rule in favoured for category in rule.categories}
    places = [
        place
        for place, offer in enumerate(catalogue.offers)
        if offer.offer_id in names or offer.info.category in categories or not tags.isdisjoint(offer.info.tags)
    ]
    return np.array(places[: MOST // 2], np.int64)

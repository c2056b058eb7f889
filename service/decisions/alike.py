"""Offers with alike texts: what is known of them stands in for an offer that was hardly shown yet. Pure.

Texts (name, description, category, tags) become vectors of words, each weighed by how rare it is among the
offers (term frequency - inverse document frequency; Salton and Buckley 1988); likeness is their cosine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from math import log, sqrt

from service.offers.offer import Offer

LEAST = 0.1
"""Likeness under which two offers have nothing in common."""
SAMPLE = 2_000
"""Offers from which the rarity of words is told: enough for any catalogue, and quick for a large one."""
_WORD = re.compile(r"[^\W\d_]{2,}")


class Alike:
    """The likeness of some offers to one another; vectors are made when they are asked for."""

    def __init__(self, offers: Mapping[str, Offer]) -> None:
        self._offers = offers
        self._vectors: dict[str, dict[str, float]] = {}
        self._rarity: dict[str, float] | None = None

    def to(self, offer_id: str, others: Iterable[str]) -> dict[str, float]:
        """Likeness in (0, 1] of an offer to each of the others that it has something in common with."""
        mine = self._vector(offer_id)
        found = {other: self._cosine(mine, self._vector(other)) for other in others if other != offer_id}
        return {other: likeness for other, likeness in found.items() if likeness >= LEAST}

    def _cosine(self, one: Mapping[str, float], two: Mapping[str, float]) -> float:
        if len(two) < len(one):
            one, two = two, one
        return sum(weight * two.get(word, 0.0) for word, weight in one.items())

    def _vector(self, offer_id: str) -> dict[str, float]:
        if offer_id not in self._vectors:
            offer = self._offers.get(offer_id)
            if self._rarity is None:
                self._rarity = _rarity(self._offers)
            weights = (
                {}
                if offer is None
                else {
                    word: (1 + log(count)) * self._rarity.get(word, log(1 + SAMPLE))
                    for word, count in Counter(_words(offer)).items()
                }
            )
            length = sqrt(sum(weight * weight for weight in weights.values()))
            self._vectors[offer_id] = {word: weight / length for word, weight in weights.items()} if length else {}
        return self._vectors[offer_id]


def _rarity(offers: Mapping[str, Offer]) -> dict[str, float]:
    some = list(islice(offers.values(), SAMPLE))
    seen = Counter(word for offer in some for word in set(_words(offer)))
    return {word: log(1 + len(some) / count) for word, count in seen.items()}


def _words(offer: Offer) -> list[str]:
    document = offer.document
    text = " ".join([document["name"], document["description"], document["category"] or "", *document["tags"]])
    return _WORD.findall(text.casefold())

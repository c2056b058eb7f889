"""Offers with alike texts: what is known of them stands in for an offer that was hardly shown yet; and what texts are
about. Pure.

Texts (name, description, category, tags) become vectors of words, each weighed by how rare it is among the
offers (term frequency - inverse document frequency; Salton and Buckley 1988); likeness is their cosine.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from math import log, sqrt

import numpy as np
import numpy.typing as npt

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
        self._near: tuple[tuple[Offer, ...], dict[str, npt.NDArray[np.float64]]] = ((), {})
        self._rarity: dict[str, float] | None = None

    def to(self, offer_id: str, others: Iterable[str]) -> dict[str, float]:
        """Likeness in (0, 1] of an offer to each of the others that it has something in common with."""
        mine = self._vector(offer_id)
        found = {other: self._cosine(mine, self._vector(other)) for other in others if other != offer_id}
        return {other: likeness for other, likeness in found.items() if likeness >= LEAST}

    def to_category(self, offers: tuple[Offer, ...], category: str) -> npt.NDArray[np.float64]:
        """How much each offer is about a category (n,): 1 if it is of it, else the likeness of its text to the name."""
        held, told = self._near
        if held is not offers:
            held, told = self._near = offers, {}
        if category not in told:
            words = self._weighed(_WORD.findall(category.casefold()))
            near = [
                1.0 if o.info.category == category else self._cosine(self._vector(o.offer_id), words) for o in offers
            ]
            told[category] = np.array([likeness if likeness >= LEAST else 0.0 for likeness in near])
        return told[category]

    def _cosine(self, one: Mapping[str, float], two: Mapping[str, float]) -> float:
        if len(two) < len(one):
            one, two = two, one
        return sum(weight * two.get(word, 0.0) for word, weight in one.items())

    def _vector(self, offer_id: str) -> dict[str, float]:
        if offer_id not in self._vectors:
            offer = self._offers.get(offer_id)
            self._vectors[offer_id] = {} if offer is None else self._weighed(_words(offer))
        return self._vectors[offer_id]

    def _weighed(self, words: Iterable[str]) -> dict[str, float]:
        """The vector of a text, of length 1."""
        if self._rarity is None:
            self._rarity = _rarity(self._offers)
        rarity, unseen = self._rarity, log(1 + SAMPLE)
        weights = {word: (1 + log(count)) * rarity.get(word, unseen) for word, count in Counter(words).items()}
        length = sqrt(sum(weight * weight for weight in weights.values()))
        return {word: weight / length for word, weight in weights.items()} if length else {}


def _rarity(offers: Mapping[str, Offer]) -> dict[str, float]:
    some = list(islice(offers.values(), SAMPLE))
    seen = Counter(word for offer in some for word in set(_words(offer)))
    return {word: log(1 + len(some) / count) for word, count in seen.items()}


def _words(offer: Offer) -> list[str]:
    document = offer.document
    text = " ".join([document["name"], document["description"], document["category"] or "", *document["tags"]])
    return _WORD.findall(text.casefold())

"""What the ranker saw of candidates, in words: features of customers, of offers and of both, and rates of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES
from models import offer_words
from models.offer_features import CUSTOMER, LIKED, PAIR, Customers
from models.reasons import Reason, named, sentence
from models.response import INPUTS

Floats = npt.NDArray[np.float64]
_CATALOGUE = {one.name: one.sentence for one in FEATURES}
_ALIKE: Mapping[str, str] = {**_CATALOGUE, **offer_words.SENTENCES}
"""Features with the same key tell the same sentence."""
_KEYS = list(dict.fromkeys(_ALIKE.get(name, name) for name in INPUTS))
GROUP = np.array([_KEYS.index(_ALIKE.get(name, name)) for name in INPUTS], np.int64)
GROUPS = len(_KEYS)
"""Features of the same group tell the same sentence: (INPUTS,) group of each, and how many there are."""
assert {part for name in CUSTOMER for part in named(_CATALOGUE[name])} <= set(CUSTOMER)
"""Sentences of CUSTOMER need nothing beside CUSTOMER."""
_LIKED = {name: number for number, name in enumerate(LIKED)}


class _Told(NamedTuple):
    """How the sentence of a pair's feature is told: the place of its number in INPUTS, whether it is a number of looks,
    and where it and the feature itself stand in LIKED (-1: nowhere).
    """

    saying: offer_words.Saying
    number: int
    looks: bool
    liked: int
    own_liked: int

    @classmethod
    def of(cls, name: str) -> Self:
        saying = offer_words.SAYINGS[name]
        told = saying.told or name
        return cls(
            saying, INPUTS.index(told), told == "category_views_365d", _LIKED.get(told, -1), _LIKED.get(name, -1)
        )


_OF_PAIR = {place: _Told.of(name) for place, name in enumerate(INPUTS) if name in offer_words.SAYINGS}


class Teller:
    """Puts strongest groups of effects into words, each customer's own sentences once."""

    def __init__(
        self,
        customers: Customers,
        categories: Sequence[str | None],
        numbers: Sequence[int],
        channels: Sequence[str],
    ) -> None:
        """`categories`: what each offer is mostly about, and their `numbers`."""
        self._customers, self._categories, self._numbers, self._channels = customers, categories, numbers, channels
        self._own: dict[int, dict[int, str | None]] = {}

    def reasons(
        self,
        asked: Sequence[tuple[int, int, int]],
        seen: Floats,
        effects: Floats,
        first: npt.NDArray[np.int64],
        sums: Floats,
        n: int,
    ) -> list[tuple[Reason, ...]]:
        """At most `n` reasons of each of k candidates (customer, offer, channel), one a sentence.

        `seen`, `effects` (k, INPUTS): what was seen, and its effects. `first`, `sums` (k, GROUPS): of each group,
        strongest first, the feature that speaks for it, -1 behind the last, and the sum of its effects.
        """
        speaking, strength = first.data, sums.round(4).data
        line, raises = np.ascontiguousarray(seen).data, (effects > 0).data
        groups, told = first.shape[1], []
        for row, (customer, offer, channel) in enumerate(asked):
            own = self._own.setdefault(customer, {})
            said: dict[str, Reason] = {}
            for group in range(groups):
                place: int = speaking[row, group]
                if place < 0 or len(said) == n:
                    break
                if place < len(CUSTOMER):
                    text = own[place] if place in own else own.setdefault(place, self._of_customer(customer, place))
                elif place < len(PAIR):
                    how = _OF_PAIR[place]
                    value, number = line[row, place], line[row, how.number]
                    text = self._of_pair(how, value, number, customer, offer)
                else:
                    text = _of_rates(INPUTS[place], self._channels[channel], raises[row, place])
                if text is not None and text not in said:
                    said[text] = Reason(INPUTS[place], text, strength[row, group])
            told.append(tuple(said.values()))
        return told

    def _of_customer(self, customer: int, place: int) -> str | None:
        if not self._customers.known[customer]:
            return None
        own = dict(zip(CUSTOMER, self._customers.values[customer].tolist(), strict=True))
        return sentence(CUSTOMER[place], own)

    def _of_pair(self, told: _Told, value: float, number: float, customer: int, offer: int) -> str | None:
        """Orders and looks are told of the whole category where there is one, not of the offer's part of it."""
        category, at = self._categories[offer], self._numbers[offer]
        if told.looks and category is not None and self._customers.known[customer]:
            number = self._customers.views[customer, at]
        elif told.liked >= 0 and category is not None and self._customers.known[customer]:
            liked = self._customers.affinity[customer, at].tolist()
            number, value = liked[told.liked], liked[told.own_liked] if told.own_liked >= 0 else value
        return told.saying.text(number, category) if isfinite(value) else None


@lru_cache(maxsize=1024)
def _of_rates(name: str, channel: str, raises: bool) -> str | None:
    more = "more" if raises else "less"
    if name == "channel_engagement":
        return f"answers {channel} {more} than others do"
    if name == "channel_rate" or name == f"channel_{channel}":
        return f"{channel} brings {more} conversions than other channels"
    return f"this offer converts {more} than others" if name == "offer_rate" else None

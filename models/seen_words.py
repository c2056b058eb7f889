"""What the ranker saw of candidates, in words: features of customers, of offers and of both, and rates of channels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES
from features.rows import CustomerRow
from models import offer_words
from models.offer_features import CUSTOMER, LIKED, PAIR
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
_BESIDE = {part for name in CUSTOMER for part in named(_CATALOGUE[name])} - set(CUSTOMER)
"""What sentences of CUSTOMER need of a customer beside CUSTOMER."""
_PLACE = {name: place for place, name in enumerate(INPUTS)}
_NUMBER = [_PLACE.get(offer_words.TOLD.get(name) or name, 0) for name in INPUTS]
"""The place of the number that the sentence of each feature tells."""
_LIKED = {_PLACE[name]: number for number, name in enumerate(LIKED)}
_VIEWS = _PLACE["category_views_365d"]
_NEVER = (0.0, 0.0, float("nan"))


class Teller:
    """Puts strongest groups of effects into words, each customer's own sentences once."""

    def __init__(
        self,
        rows: Sequence[CustomerRow | None],
        customers: Floats,
        categories: Sequence[str | None],
        channels: Sequence[str],
    ) -> None:
        """`customers` (rows, CUSTOMER); `categories`: what each offer is mostly about."""
        self._rows, self._customers, self._categories, self._channels = rows, customers, categories, channels
        self._said: dict[tuple[int, int], str | None] = {}

    def told(
        self,
        at: tuple[int, int, int],
        line: Sequence[float],
        effects: Floats,
        first: Sequence[int],
        sums: Sequence[float],
        n: int,
    ) -> tuple[Reason, ...]:
        """At most `n` reasons of the candidate `at` (customer, offer, channel), one a sentence.

        `line`, `effects` (INPUTS,): what was seen, and its effects. `first`, `sums`: of each group, strongest first,
        the feature that speaks for it, -1 behind the last, and the sum of its effects.
        """
        said: dict[str, Reason] = {}
        for place, effect in zip(first, sums, strict=True):
            if place < 0 or len(said) == n:
                break
            text = self._text(place, at, line, effects)
            if text is not None and text not in said:
                said[text] = Reason(INPUTS[place], text, round(effect, 4))
        return tuple(said.values())

    def _text(self, place: int, at: tuple[int, int, int], line: Sequence[float], effects: Floats) -> str | None:
        customer, offer, channel = at
        if place < len(CUSTOMER):
            return self._of_customer(customer, place)
        if place < len(PAIR):
            return self._of_pair(place, customer, self._categories[offer], line)
        return _of_rates(INPUTS[place], self._channels[channel], bool(effects[place] > 0))

    def _of_customer(self, customer: int, place: int) -> str | None:
        key = (customer, place)
        if key not in self._said:
            row = self._rows[customer]
            own: Mapping[str, float] = dict(zip(CUSTOMER, self._customers[customer].tolist(), strict=True))
            values = row.values if _BESIDE and row is not None else own
            self._said[key] = sentence(CUSTOMER[place], values) if row is not None else None
        return self._said[key]

    def _of_pair(self, place: int, customer: int, category: str | None, line: Sequence[float]) -> str | None:
        """Orders and looks are told of the whole category where there is one, not of the offer's part of it."""
        name, told = INPUTS[place], _NUMBER[place]
        row = self._rows[customer]
        if told == _VIEWS and row is not None and category is not None:
            return offer_words.said(name, row.views.get(category, 0), category) if isfinite(line[place]) else None
        if told in _LIKED and row is not None and category is not None:
            liked = row.affinity.get(category, _NEVER)
            own = liked[_LIKED[place]] if place in _LIKED else line[place]
            return offer_words.said(name, liked[_LIKED[told]], category) if isfinite(own) else None
        return offer_words.said(name, line[told], category) if isfinite(line[place]) else None


@lru_cache(maxsize=1024)
def _of_rates(name: str, channel: str, raises: bool) -> str | None:
    more = "more" if raises else "less"
    if name == "channel_engagement":
        return f"answers {channel} {more} than others do"
    if name == "channel_rate" or name == f"channel_{channel}":
        return f"{channel} brings {more} conversions than other channels"
    return f"this offer converts {more} than others" if name == "offer_rate" else None

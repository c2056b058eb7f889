"""What the ranker saw of candidates, in words: features of customers, of offers and of both, and rates of channels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from models import offer_words
from models.explaining import Explained
from models.offer_features import CUSTOMER, PAIR, Customers
from models.reasons import SENTENCES, named, sentence
from models.response import INPUTS

assert {part for name in CUSTOMER for part in named(SENTENCES[name])} <= set(CUSTOMER)
"""Sentences of CUSTOMER need nothing beside CUSTOMER."""
_OF_CUSTOMER, _OF_PAIR = len(CUSTOMER), len(PAIR)
_MORE = 3
"""Groups looked at first beside as many as are wanted: some cannot be said."""
_REMEMBERED = 50_000
_TEXTS: dict[tuple[int, float, str | None], str | None] = {}
"""Sentences by input, the number that it tells, and the offer's category (the channel)."""

Plain = tuple[str, str, float]
"""A reason: feature, text, effect."""


class Teller:
    """Puts what was found of candidates into words; the sentences of a customer's own features once."""

    def __init__(self, customers: Customers, categories: Sequence[str | None], channels: Sequence[str], n: int) -> None:
        """`categories`: what each offer is mostly about; at most `n` reasons a candidate."""
        self._customers, self._categories, self._channels, self._n = customers, categories, channels, n
        self._own: dict[tuple[int, int], str | None] = {}
        if len(_TEXTS) > _REMEMBERED:
            _TEXTS.clear()

    def tell(self, asked: npt.NDArray[np.int64], found: Explained) -> list[list[Plain]]:
        """The reasons for each candidate (customer, offer, channel), strongest first, one a sentence."""
        some = min(self._n + _MORE, found.first.shape[1])
        told = []
        parts = (found.first, found.sums.round(4), found.numbers)
        lines = zip(asked.tolist(), *(part[:, :some].tolist() for part in parts), strict=True)
        for row, (place, *line) in enumerate(lines):
            said = self._said(place, *line)
            if len(said) < self._n and line[0][-1] >= 0:  # rarely: so many could not be said
                said = self._said(place, *(part[row].tolist() for part in parts))
            told.append(said)
        return told

    def _said(self, at: list[int], inputs: list[int], strengths: list[float], numbers: list[float]) -> list[Plain]:
        customer, offer, channel = at
        said: list[Plain] = []
        texts: list[str] = []
        for place, strength, number in zip(inputs, strengths, numbers, strict=True):
            if place < 0 or len(said) == self._n:
                break
            if number != number:
                continue
            if place < _OF_CUSTOMER:
                text = self._of_customer(customer, place)
            else:
                memory = (place, number, self._categories[offer] if place < _OF_PAIR else self._channels[channel])
                text = _TEXTS[memory] if memory in _TEXTS else _TEXTS.setdefault(memory, _written(*memory))
            if text is not None and text not in texts:
                texts.append(text)
                said.append((INPUTS[place], text, strength))
        return said

    def _of_customer(self, customer: int, place: int) -> str | None:
        key = (customer, place)
        if key not in self._own:
            values = dict(zip(CUSTOMER, self._customers.values[customer].tolist(), strict=True))
            self._own[key] = sentence(CUSTOMER[place], values)
        return self._own[key]


def _written(place: int, number: float, about: str | None) -> str | None:
    if place < _OF_PAIR:
        return offer_words.SAYINGS[INPUTS[place]].text(number, about)
    return _of_rates(INPUTS[place], about or "", number > 0)


@lru_cache(maxsize=1024)
def _of_rates(name: str, channel: str, raises: bool) -> str | None:
    more = "more" if raises else "less"
    if name == "channel_engagement":
        return f"answers {channel} {more} than others do"
    if name == "channel_rate" or name == f"channel_{channel}":
        return f"{channel} brings {more} conversions than other channels"
    return f"this offer converts {more} than others" if name == "offer_rate" else None

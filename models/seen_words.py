"""What the ranker saw of candidates, in words: features of customers, of offers and of both, and rates of channels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from models import offer_words
from models.explaining import REASONS, Explained
from models.offer_features import CUSTOMER, PAIR, Customers
from models.reasons import SENTENCES, named, sentence
from models.response import INPUTS

Ints = npt.NDArray[np.int64]
_NEEDED = [[(part, CUSTOMER.index(part)) for part in {name, *named(SENTENCES[name])}] for name in CUSTOMER]
"""What the sentence of each of CUSTOMER needs, which is nothing beside CUSTOMER."""
_OF_CUSTOMER, _OF_PAIR = len(CUSTOMER), len(PAIR)
Texts = list[dict[float, str | None]]
"""Sentences about one category (one channel): of each of INPUTS, by the number that it tells."""
Plain = dict[str, Any]
"""A reason as answers have it: `feature`, `text`, `effect`."""


class Remembered:
    """Sentences about categories and channels; all together at most `most`, then they are forgotten."""

    def __init__(self, most: int) -> None:
        self._most, self._count = most, 0
        self._about: dict[str | None, Texts] = {}
        self._held: list[dict[float, str | None]] = []

    def about(self, what: str | None) -> Texts:
        """Those known so far of a category or a channel; new ones are put there."""
        found = self._about.get(what)
        if found is None:
            if len(self._about) * len(INPUTS) >= self._most:
                self._about.clear()
            found = self._about.setdefault(what, [{} for _ in INPUTS])
        return found

    def put(self, texts: dict[float, str | None], number: float, text: str | None) -> None:
        if self._count >= self._most:
            for one in self._held:
                one.clear()
            self._held, self._count = [], 0
        if not texts:
            self._held.append(texts)
        texts[number] = text
        self._count += 1


_REMEMBERED = Remembered(20_000)
texts_about = _REMEMBERED.about


class Teller:
    """Puts what was found of candidates into words; the sentences of a customer's own features once."""

    def __init__(
        self,
        customers: Customers,
        categories: Sequence[str | None],
        texts: list[Texts],
        channels: Sequence[str],
        n: int,
    ) -> None:
        """`categories`: what each offer is mostly about, `texts` about each; at most `n` reasons a candidate."""
        self._customers, self._categories, self._channels, self._n = customers, categories, channels, n
        self._texts, self._rates = texts, [texts_about(channel) for channel in channels]
        self._own: dict[tuple[int, int], str | None] = {}

    def tell(self, asked: Ints, found: Explained) -> list[list[Plain]]:
        """The reasons for each candidate (customer, offer, channel), strongest first, one a sentence."""
        if REASONS is not None:
            how = self._texts, self._rates, INPUTS, _OF_CUSTOMER, _OF_PAIR, self._n, self._write, self._of_customer
            told: list[list[Plain]] = REASONS.tell(asked, *found, *how)
            return told
        parts = (asked, found.first, found.sums.round(4), found.numbers)
        lines = zip(*(part.tolist() for part in parts), strict=True)
        return [self._said(*line) for line in lines]

    def _said(self, at: list[int], inputs: list[int], strengths: list[float], numbers: list[float]) -> list[Plain]:
        said: dict[str, Plain] = {}
        for place, strength, number in zip(inputs, strengths, numbers, strict=True):
            if place < 0 or len(said) == self._n:
                break
            text = None if number != number else self._text(at, place, number)
            if text is not None and text not in said:
                said[text] = {"feature": INPUTS[place], "text": text, "effect": strength}
        return list(said.values())

    def _text(self, at: list[int], place: int, number: float) -> str | None:
        customer, offer, channel = at
        if place < _OF_CUSTOMER:
            return self._of_customer(customer, place)
        texts, of = (self._texts[offer], offer) if place < _OF_PAIR else (self._rates[channel], channel)
        known = texts[place]
        return known[number] if number in known else self._write(known, of, place, number)

    def _write(self, texts: dict[float, str | None], of: int, place: int, number: float) -> str | None:
        """The sentence of an input of an offer (a channel) that tells this number; remembered."""
        told = _written(place, number, self._categories[of] if place < _OF_PAIR else self._channels[of])
        _REMEMBERED.put(texts, number, told)
        return told

    def _of_customer(self, customer: int, place: int) -> str | None:
        key = (customer, place)
        if key not in self._own:
            line = self._customers.values[customer]
            values = {name: float(line[at]) for name, at in _NEEDED[place]}
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

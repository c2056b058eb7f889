"""The first stage of the next best offer: of a large catalogue the few hundred offers that may suit a customer.

A quick score of every offer from what is cheap to know, and places kept for the best by each single source: products
bought before, products that go with them, categories bought, alike texts, and offers that came since the training. The
ranker (models/next_offer.py) weighs what is found. Everything is exact: at 100,000 offers it costs a few milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from features.offers import OfferInfo
from features.products import ProductOrders, product_key
from features.rows import CustomerRow
from features.texts import TextVectors, interest
from models.calibration import sigmoid

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

DIMENSIONS = 64
"""Of the offers' short text vectors; axes are found on at most AXES_OF texts."""
AXES_OF = 4_000
KEPT_FOR = 8
"""A source has one place in so many for its best offers, whatever their quick score."""
MOST = 300
"""Offers that are weighed for one customer; a catalogue of so many needs no first stage."""
OF_PRODUCTS, OF_TOGETHER, OF_CATEGORY, OF_TEXT = 1.0, 0.5, 0.4, 1.0
"""What a source adds to the log-odds: of the logarithm of orders, and of the cosine of texts."""
NOTHING_KNOWN = -4.6  # log-odds of 1%


@dataclass(frozen=True, slots=True)
class Together:
    """Products that the same customers buy: with product `key[i]` go `near[start[i]:start[i + 1]]`, each with its
    `likeness` (cosine of their buyers). `key` is ascending; keys are hashes (features/products.py)."""

    key: Ints
    start: Ints
    near: Ints
    likeness: Singles

    @classmethod
    def none(cls) -> Together:
        empty = np.empty(0, np.int64)
        return cls(empty, np.zeros(1, np.int64), empty, np.empty(0, np.float32))

    def of(self, bought: ProductOrders) -> tuple[Ints, Floats]:
        """Products that go with what was bought, ascending, and how much: likeness times the logarithm of orders."""
        if not len(self.key) or not len(bought.key):
            return np.empty(0, np.int64), np.empty(0)
        place = np.minimum(np.searchsorted(self.key, bought.key), len(self.key) - 1)
        known = self.key[place] == bought.key
        place, weight = place[known], np.log1p(bought.orders[known])
        length = self.start[place + 1] - self.start[place]
        entry = _ranges(self.start[place], length)
        near, inverse = np.unique(self.near[entry], return_inverse=True)
        amount = np.bincount(inverse, self.likeness[entry] * np.repeat(weight, length), len(near))
        return near, amount.astype(np.float64)


class Knowledge(Protocol):
    """What is read of `models.offer_features.OfferKnowledge`."""

    @property
    def popularity(self) -> Any: ...
    @property
    def together(self) -> Together: ...
    def popular(self, offer: OfferInfo) -> float: ...
    def main_category(self, offer: OfferInfo) -> str | None: ...


@dataclass(frozen=True, slots=True)
class Worth:
    """What each offer earns and costs (N,), in the catalogue's currency, and the marketer's priority."""

    value: Floats
    cost: Floats
    priority: Floats

    def expected(self, log_odds: Floats) -> Floats:
        """The expected value (N,) of each at these log-odds."""
        return np.asarray((sigmoid(log_odds) * self.value - self.cost) * self.priority, np.float64)


class CandidateIndex:
    """A catalogue, made ready to be searched. Never changed; another catalogue, model or text makes a new one."""

    def __init__(
        self, offers: Sequence[OfferInfo], worth: Worth, knowledge: Knowledge | None, vectors: TextVectors
    ) -> None:
        self._worth, self._vectors = worth, vectors
        self._popularity = np.full(len(offers), NOTHING_KNOWN)
        categories: list[str | None] = [offer.category for offer in offers]
        self._new = np.zeros(len(offers), np.bool_)
        self._together = Together.none()
        if knowledge is not None:
            self._popularity = np.array([knowledge.popular(offer) for offer in offers], np.float64)
            categories = [knowledge.main_category(offer) for offer in offers]
            self._new = np.array([offer.offer_id not in knowledge.popularity for offer in offers], np.bool_)
            self._together = knowledge.together
        self._names = {name: place for place, name in enumerate(dict.fromkeys(c for c in categories if c is not None))}
        self._category = np.array([self._names.get(name or "", len(self._names)) for name in categories], np.int64)
        self._product, self._of_offer = _products(offers)
        self._center, self._axes, self._units = _short(offers, vectors)

    def pick(self, row: CustomerRow | None, open_: Bools, most: int, wanted: Ints | None = None) -> Ints:
        """The places of at most `most` offers among those `open_` (N,), ascending; the `wanted` ones come first."""
        quick = self._popularity.copy()
        sources = list(self._sources(row, quick))
        expected = np.where(open_, self._worth.expected(quick), -np.inf)
        chosen = np.zeros(len(quick), np.bool_)
        if wanted is not None:
            chosen[wanted[open_[wanted]][:most]] = True
        share = (most - int(chosen.sum())) // KEPT_FOR
        for places, signal in sources:
            allowed = open_[places] & (signal > 0)
            chosen[_best(places[allowed], signal[allowed], share)] = True
        fresh = np.flatnonzero(self._new & open_)
        chosen[_best(fresh, expected[fresh], share)] = True
        left = np.flatnonzero(open_ & ~chosen)
        chosen[_best(left, expected[left], most - int(chosen.sum()))] = True
        return np.flatnonzero(chosen)

    def _sources(self, row: CustomerRow | None, quick: Floats) -> Iterator[tuple[Ints, Floats]]:
        """(places, how strongly) of the offers that each source finds; adds what it tells to `quick` (N,)."""
        if row is None:
            return
        everyone = np.arange(len(quick))
        for weight, told in ((OF_PRODUCTS, _bought(row)), (OF_TOGETHER, self._together.of(row.products))):
            places, amount = self._offers_of(*told)
            signal = np.log1p(amount)
            quick[places] += weight * signal
            yield places, signal + 1e-3 * self._popularity[places]
        liked = np.zeros(len(self._names) + 1)
        for name, counts in row.affinity.items():
            if name in self._names:
                liked[self._names[name]] = np.log1p(counts[1])
        of_category = liked[self._category]
        quick += OF_CATEGORY * of_category
        yield everyone, np.where(of_category > 0, of_category + 0.1 * (self._popularity - self._popularity.min()), 0.0)
        wanted = interest(row.affinity, self._vectors)
        if wanted is not None and len(self._units):
            toward = ((wanted - self._center) @ self._axes).astype(np.float32)
            likeness = (self._units @ (toward / max(float(np.linalg.norm(toward)), 1e-9))).astype(np.float64)
            quick += OF_TEXT * likeness
            yield everyone, likeness

    def _offers_of(self, key: Ints, amount: Floats) -> tuple[Ints, Floats]:
        """The offers of these products, ascending, each with the sum of its products' amounts."""
        first = np.searchsorted(self._product, key)
        length = np.searchsorted(self._product, key, side="right") - first
        places, inverse = np.unique(self._of_offer[_ranges(first, length)], return_inverse=True)
        return places, np.bincount(inverse, np.repeat(amount, length), len(places)).astype(np.float64)


def _bought(row: CustomerRow) -> tuple[Ints, Floats]:
    return row.products.key, row.products.orders.astype(np.float64)


def _ranges(start: Ints, length: Ints) -> Ints:
    """start[0], start[0] + 1, … up to its length, then those of the next."""
    ends = np.cumsum(length)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) + np.repeat(start - (ends - length), length), np.int64)


def _best(places: Ints, signal: Floats, most: int) -> Ints:
    """Those `places` with the highest `signal`; of equal ones the first."""
    if most <= 0:
        return places[:0]
    if len(places) > 4 * most:
        least = np.partition(signal, len(signal) - most)[len(signal) - most]
        places, signal = places[signal >= least], signal[signal >= least]
    return places[np.argsort(-signal, kind="stable")[:most]]


def _products(offers: Sequence[OfferInfo]) -> tuple[Ints, Ints]:
    """Products' hashes, ascending, and the offer that each belongs to."""
    keys = {name: product_key(name) for offer in offers for name in offer.product_ids}
    of_offer = np.repeat(np.arange(len(offers)), [len(offer.product_ids) for offer in offers])
    product = np.array([keys[name] for offer in offers for name in offer.product_ids], np.int64)
    order = np.argsort(product, kind="stable")
    return product[order], of_offer[order]


def _short(offers: Sequence[OfferInfo], vectors: TextVectors) -> tuple[Floats, Floats, Singles]:
    """The mean and the axes of the offers' texts (width, DIMENSIONS), and unit vectors along them; zeros without."""
    keys = np.array([offer.text if offer.text is not None else -1 for offer in offers], np.int64)
    places = vectors.places(keys)
    known = np.flatnonzero(places >= 0)
    if not len(known):
        return np.zeros(0), np.zeros((0, 0)), np.zeros((0, 0), np.float32)
    some = vectors.vectors[places[known[:: max(len(known) // AXES_OF, 1)]]].astype(np.float64)
    center = some.mean(axis=0)
    _, axes = np.linalg.eigh((some - center).T @ (some - center))
    kept = axes[:, ::-1][:, :DIMENSIONS]
    units = np.zeros((len(offers), kept.shape[1]), np.float32)
    units[known] = (vectors.vectors[places[known]] - center.astype(np.float32)) @ kept.astype(np.float32)
    return center, kept, units / np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-9)

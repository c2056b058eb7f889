"""The served next-offer model with what recent outcomes taught on top: the online layer on features of decisions.

The layer's inputs fall into what hangs on the customer, on customer and offer, and on the channel, so its part of the
log-odds is a sum of three small products.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from features.offers import OfferInfo
from features.rows import CustomerRow
from models.calibration import logit, sigmoid
from models.offer_features import CUSTOMER, PAIR
from models.online_layer import Lessons, OnlineLayer, Priors, Weights
from models.reasons import NEGLIGIBLE, Reason
from models.response import CHANNEL
from models.seen_words import Plain

Floats = npt.NDArray[np.float64]
PLAIN = frozenset({"top_category_share_365d", "discount_share_365d", "current_gap_ratio"})
"""Customer's numbers that are taken as they are; the others are counts, days or cents, and are taken as logarithms."""
OWN = ("orders_90d", "discount_share_365d", "redeemed_365d", "clicks_human_90d", "days_since_last_order")
"""What offers may differ in, customer by customer, beside their level."""
PAIRS = ("offer_popularity", "offer_discount_percent", "offer_price_cents", "text_similarity", "category_orders_90d",
         "category_orders_365d", "category_days_since_last", "product_orders", "category_views_365d",
         "category_interest")  # fmt: skip
CROSSED = (
    ("offer_discount_percent", "discount_share_365d"),
    ("offer_discount_percent", "redeemed_365d"),
    ("offer_price_cents", "average_order_cents_365d"),
    ("offer_popularity", "orders_90d"),
)
"""An offer's number times a customer's."""
_SCALE = {
    "offer_discount_percent": 25.0, "offer_popularity": 3.0, "text_similarity": 1.0, "category_interest": 1.0,
}  # fmt: skip
_FURTHEST = 4.0
_REMEMBERED = 256
_CUSTOMER_WIDTH, _PAIR_WIDTH = 1 + len(CUSTOMER), len(PAIRS) + len(CROSSED)
SHARED_WIDTH = _CUSTOMER_WIDTH + _PAIR_WIDTH + len(CHANNEL) + 1
_OF_PAIR = slice(_CUSTOMER_WIDTH, _CUSTOMER_WIDTH + _PAIR_WIDTH)
_OF_CHANNEL = slice(_CUSTOMER_WIDTH + _PAIR_WIDTH, SHARED_WIDTH)
SURE = 1e-6
"""Probabilities are kept this far from 0 and 1 when taken as log-odds."""


def first_priors() -> Priors:
    """Levels may move freely, what depends on the customer or the pair little, an offer least; then it is learnt.

    Learnt together: the customer's numbers; the pair's; the channels; for offers their levels, and each of OWN.
    """
    parts = ((1.0, 1), (10.0, len(CUSTOMER)), (10.0, _PAIR_WIDTH), (3.0, len(CHANNEL) + 1))
    shared = np.concatenate([np.full(width, precision) for precision, width in parts])
    groups = np.concatenate([np.full(width, group) for group, (_, width) in enumerate(parts, -1)])
    own = np.concatenate([[1.0], np.full(len(OWN), 30.0)])
    return Priors(shared, own, groups, np.arange(len(own)))


def new_layer() -> OnlineLayer:
    """Nothing learnt yet."""
    priors = first_priors()
    return OnlineLayer.new(priors.shared, priors.own)


@dataclass(frozen=True, slots=True)
class Bend:
    """How numbers become inputs: `places` of them in the features; which as logarithms; what all are divided by."""

    places: npt.NDArray[np.int64]
    logs: npt.NDArray[np.int64]
    scale: Floats

    @classmethod
    def of(cls, names: Sequence[str], features: Sequence[str]) -> Bend:
        logs = [place for place, name in enumerate(names) if name not in PLAIN and name not in _SCALE]
        return cls(
            np.array([features.index(name) for name in names], np.int64),
            np.array(logs, np.int64),
            np.array([_scale(name) for name in names]),
        )

    def __call__(self, values: Floats) -> Floats:
        """(..., names) of features (..., all of them); unknown is 0."""
        known = np.nan_to_num(values[..., self.places])
        known[..., self.logs] = np.log1p(np.maximum(known[..., self.logs], 0.0))
        return np.clip(known / self.scale, -_FURTHEST, _FURTHEST)


def _scale(name: str) -> float:
    if name in _SCALE or name in PLAIN:
        return _SCALE.get(name, 1.0)
    return 6.0 if "_cents" in name else 3.0


_OF_THEM = tuple(dict.fromkeys((*PAIRS, *(customers for _, customers in CROSSED))))
_BEND_CUSTOMERS, _BEND_PAIRS = Bend.of(CUSTOMER, CUSTOMER), Bend.of(_OF_THEM, PAIR)
_OWN = np.array([CUSTOMER.index(name) for name in OWN])
_LEFT, _RIGHT = (np.array([_OF_THEM.index(pair[side]) for pair in CROSSED]) for side in (0, 1))


def customer_inputs(values: Floats) -> tuple[Floats, Floats]:
    """Shared (n, 1 + CUSTOMER) and own (n, 1 + OWN) inputs of customers' numbers (n, CUSTOMER); unknown is 0."""
    bent = _BEND_CUSTOMERS(values)
    one = np.ones((len(values), 1))
    return np.concatenate([one, bent], axis=1), np.concatenate([one, bent[:, _OWN]], axis=1)


def pair_inputs(pairs: Floats) -> Floats:
    """(..., PAIRS + CROSSED) of pair features (..., PAIR)."""
    found = _BEND_PAIRS(pairs)
    return np.concatenate([found[..., : len(PAIRS)], found[..., _LEFT] * found[..., _RIGHT]], axis=-1)


def channel_inputs(channels: Floats) -> Floats:
    """(..., CHANNEL + 1): which channel, and how the customer answers on it; of (..., CHANNEL + RATES)."""
    engagement = np.clip(np.nan_to_num(channels[..., len(CHANNEL) + 1 : len(CHANNEL) + 2]), -2.0, 2.0)
    return np.concatenate([channels[..., : len(CHANNEL)], engagement], axis=-1)


class Weighed(Protocol):
    """What the layer reads of a `models.weighing.Weighing`."""

    @property
    def probabilities(self) -> Floats: ...
    @property
    def pairs(self) -> Floats: ...
    @property
    def of_channels(self) -> Floats: ...
    def told_of(self, asked: Sequence[tuple[int, int, int]], n: int = 3) -> list[list[Plain]]: ...


class NextOffer(Protocol):
    """What the layer reads of a `models.next_offer.NextOfferModel`."""

    @property
    def version(self) -> str: ...
    def weigh(
        self, rows: Sequence[CustomerRow | None], offers: Sequence[OfferInfo], channels: Sequence[str]
    ) -> Weighed: ...


@dataclass(frozen=True, slots=True)
class LayeredModel:
    """`model` with the layer's posterior mean; `number` names the state of the layer, `version` both.

    `learnt`: how many outcomes the layer has learnt from.
    """

    model: NextOffer
    weights: Weights
    number: int
    learnt: float = 0.0
    _known: dict[tuple[str, ...], Floats] = field(init=False, repr=False, compare=False, default_factory=dict)

    @property
    def name(self) -> str:
        return "next-offer"

    @property
    def version(self) -> str:
        return f"{self.model.version}+{self.number}"

    def weigh(
        self, rows: Sequence[CustomerRow | None], offers: Sequence[OfferInfo], channels: Sequence[str]
    ) -> LayeredWeighing:
        """As `NextOfferModel.weigh`."""
        below = self.model.weigh(rows, offers, channels)
        names = tuple(offer.offer_id for offer in offers)
        if names not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[names] = self.weights.own_of(names)
        return LayeredWeighing(below, residuals(below, self.weights, self._known[names]))

    def score(
        self, row: CustomerRow | None, offers: Sequence[OfferInfo], channels: Sequence[str], at: datetime
    ) -> Floats:
        """As `NextOfferModel.score`: P(conversion), (offers, channels)."""
        if not offers or not channels:
            return np.zeros((len(offers), len(channels)))
        return np.asarray(self.weigh([row], offers, channels).probabilities[0], np.float64)

    def reasons(
        self, row: CustomerRow | None, offer: OfferInfo, channel: str, at: datetime, n: int = 3
    ) -> tuple[Reason, ...]:
        """As `NextOfferModel.reasons`."""
        return self.weigh([row], [offer], [channel]).reasons(0, 0, 0, n)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the model's own."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.model, name)


class LayeredWeighing:
    """`probabilities` (customers, offers, channels) with the layer's part, which is one more reason where it counts."""

    def __init__(self, below: Weighed, residual: Floats) -> None:
        self._below, self._residual = below, residual
        self.probabilities: Floats = sigmoid(logit(np.clip(below.probabilities, SURE, 1 - SURE)) + residual)

    def reasons(self, customer: int, offer: int, channel: int, n: int = 3) -> tuple[Reason, ...]:
        """As `Weighing.reasons`."""
        return self.reasons_of([(customer, offer, channel)], n)[0]

    def reasons_of(self, asked: Sequence[tuple[int, int, int]], n: int = 3) -> list[tuple[Reason, ...]]:
        """As `Weighing.reasons_of`."""
        return [tuple(Reason(**one) for one in some) for some in self.told_of(asked, n)]

    def told_of(self, asked: Sequence[tuple[int, int, int]], n: int = 3) -> list[list[Plain]]:
        """As `Weighing.told_of`."""
        told = self._below.told_of(asked, n)
        return [
            _with_outcomes(reasons, float(self._residual[place]), n) for reasons, place in zip(told, asked, strict=True)
        ]


def residuals(below: Weighed, weights: Weights, of_offers: Floats) -> Floats:
    """The layer's part of the log-odds, (customers, offers, channels); `of_offers`: their own weights, (offers, k)."""
    shared, own = customer_inputs(below.pairs[:, 0, : len(CUSTOMER)])
    of_customer = _summed(shared * weights.shared[:_CUSTOMER_WIDTH])
    of_pair = _summed(pair_inputs(below.pairs) * weights.shared[_OF_PAIR])
    of_pair += (own[:, None] * of_offers[None]).sum(axis=-1)
    of_channel = (channel_inputs(below.of_channels) * weights.shared[_OF_CHANNEL]).sum(axis=-1)
    return np.asarray(of_customer[:, None, None] + of_pair[:, :, None] + of_channel[:, None, :], np.float64)


def _summed(numbers: Floats) -> Floats:
    """(...) of (..., k): added one after another, so that nobody's numbers depend on who else is asked about.

    numpy adds those that lie side by side in memory by eights; which do hangs on the shape. Fewer than eight need none
    of this.
    """
    first = np.ascontiguousarray(np.moveaxis(numbers, -1, 0))
    return np.asarray(first.cumsum(axis=0)[-1] if first[0].size == 1 else first.sum(axis=0), np.float64)


def lesson_inputs(below: Weighed) -> tuple[Floats, Floats, Floats]:
    """(shared, own, score) of the first candidate of each customer: what `online_layer.Lessons` needs, (n, ...)."""
    shared, own = row_inputs(below.pairs[:, 0], below.of_channels[:, 0])
    return shared, own, logit(np.clip(below.probabilities[:, 0, 0], SURE, 1 - SURE))


def row_inputs(pairs: Floats, channels: Floats) -> tuple[Floats, Floats]:
    """Shared (n, SHARED_WIDTH) and own inputs (n, 1 + OWN) of PAIR (n, ...) and CHANNEL + RATES (n, ...)."""
    shared, own = customer_inputs(pairs[:, : len(CUSTOMER)])
    return np.concatenate([shared, pair_inputs(pairs), channel_inputs(channels)], axis=1), own


def beginning(
    pairs: Floats, channels: Floats, offers: Sequence[str], probabilities: Floats, certainty: float
) -> OnlineLayer:
    """The layer over a model that was fitted on these rows (as `row_inputs`) and gives them these probabilities (n,).

    Its weights are 0, and as sure as the rows make them (the Fisher information: as if every outcome had been what
    the model promises), each counting as `certainty` outcomes. Without it a handful of outcomes would outweigh the
    thousands that the model has learnt from.
    """
    shared, own = row_inputs(pairs, channels)
    chance = np.clip(probabilities, SURE, 1 - SURE)
    return new_layer().sure_of(Lessons(shared, own, offers, logit(chance), chance, np.full(len(chance), certainty)))


def begun(layer: bytes) -> OnlineLayer:
    """What a model's `layer` says that learning begins with; nothing learnt where it says nothing, or of other
    inputs.
    """
    fresh = new_layer()
    held = OnlineLayer.from_bytes(layer) if layer else fresh
    return held if held.alike(fresh) else fresh


def _with_outcomes(reasons: list[Plain], residual: float, n: int) -> list[Plain]:
    if abs(residual) <= NEGLIGIBLE:
        return reasons
    text = f"lately brings {'more' if residual > 0 else 'fewer'} orders than expected from people like this"
    found: list[Plain] = [*reasons, {"feature": "recent_outcomes", "text": text, "effect": round(residual, 4)}]
    return sorted(found, key=lambda one: -abs(one["effect"]))[:n]

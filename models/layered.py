"""The served next-offer model with what recent outcomes taught on top: the online layer on features of decisions.

The layer's inputs fall into what hangs on the customer, on customer and offer, and on the channel, so its part of the
log-odds is a sum of three small products and costs next to nothing beside the trees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from features.offers import OfferInfo
from features.rows import CustomerRow
from models.calibration import logit, sigmoid
from models.offer_features import CUSTOMER, PAIR
from models.online_layer import OnlineLayer, Weights
from models.reasons import NEGLIGIBLE, Reason
from models.response import CHANNEL

Floats = npt.NDArray[np.float64]
PLAIN = frozenset({"top_category_share_365d", "discount_share_365d", "current_gap_ratio"})
"""Customer's numbers that are taken as they are; the others are counts, days or cents, and are taken as logarithms."""
OWN = ("orders_90d", "discount_share_365d", "redeemed_365d", "clicks_human_90d", "days_since_last_order")
"""What offers may differ in, customer by customer, beside their level."""
PAIRS = ("offer_popularity", "offer_discount_percent", "offer_price_cents", "text_similarity", "category_orders_90d",
         "category_orders_365d", "category_days_since_last", "product_orders")  # fmt: skip
CROSSED = (
    ("offer_discount_percent", "discount_share_365d"),
    ("offer_discount_percent", "redeemed_365d"),
    ("offer_price_cents", "average_order_cents_365d"),
    ("offer_popularity", "orders_90d"),
)
"""An offer's number times a customer's."""
_SCALE = {"offer_discount_percent": 25.0, "offer_popularity": 3.0, "text_similarity": 1.0}
_FURTHEST = 4.0
_CUSTOMER_WIDTH, _PAIR_WIDTH = 1 + len(CUSTOMER), len(PAIRS) + len(CROSSED)
SHARED_WIDTH = _CUSTOMER_WIDTH + _PAIR_WIDTH + len(CHANNEL) + 1
_OF_PAIR = slice(_CUSTOMER_WIDTH, _CUSTOMER_WIDTH + _PAIR_WIDTH)
_OF_CHANNEL = slice(_CUSTOMER_WIDTH + _PAIR_WIDTH, SHARED_WIDTH)
SURE = 1e-6
"""Probabilities are kept this far from 0 and 1 when taken as log-odds."""


def new_layer() -> OnlineLayer:
    """Nothing learnt yet: levels may move freely, what depends on the customer or the pair little, an offer least."""
    shared = np.concatenate([[1.0], np.full(len(CUSTOMER), 10.0), np.full(_PAIR_WIDTH, 10.0)])
    shared = np.concatenate([shared, np.full(len(CHANNEL) + 1, 3.0)])
    return OnlineLayer.new(shared, np.concatenate([[1.0], np.full(len(OWN), 30.0)]))


def customer_inputs(values: Floats) -> tuple[Floats, Floats]:
    """Shared (n, 1 + CUSTOMER) and own (n, 1 + OWN) inputs of customers' numbers (n, CUSTOMER); unknown is 0."""
    bent = [_bent(name, values[..., place]) for place, name in enumerate(CUSTOMER)]
    one = np.ones(values.shape[:-1])
    own = [bent[CUSTOMER.index(name)] for name in OWN]
    return np.stack([one, *bent], axis=-1), np.stack([one, *own], axis=-1)


def pair_inputs(pairs: Floats) -> Floats:
    """(..., PAIRS + CROSSED) of pair features (..., PAIR)."""
    found = {name: _bent(name, pairs[..., PAIR.index(name)]) for name in {*PAIRS, *(b for _, b in CROSSED)}}
    return np.stack([*(found[name] for name in PAIRS), *(found[a] * found[b] for a, b in CROSSED)], axis=-1)


def channel_inputs(channels: Floats) -> Floats:
    """(..., CHANNEL + 1): which channel, and how the customer answers on it; of (..., CHANNEL + RATES)."""
    engagement = np.clip(np.nan_to_num(channels[..., len(CHANNEL) + 1 : len(CHANNEL) + 2]), -2.0, 2.0)
    return np.concatenate([channels[..., : len(CHANNEL)], engagement], axis=-1)


def _bent(name: str, value: Floats) -> Floats:
    known = np.nan_to_num(value, nan=0.0)
    if name in _SCALE:
        known = known / _SCALE[name]
    elif name not in PLAIN:
        known = np.log1p(np.maximum(known, 0.0)) / (6.0 if name.endswith("_cents") or "_cents_" in name else 3.0)
    return np.asarray(np.clip(known, -_FURTHEST, _FURTHEST), np.float64)


class Weighed(Protocol):
    """What the layer reads of a `models.weighing.Weighing`."""

    @property
    def probabilities(self) -> Floats: ...
    @property
    def pairs(self) -> Floats: ...
    @property
    def of_channels(self) -> Floats: ...
    def many_reasons(
        self, customer: int, places: Sequence[tuple[int, int]], n: int = 3
    ) -> list[tuple[Reason, ...]]: ...


class NextOffer(Protocol):
    """What the layer reads of a `models.next_offer.NextOfferModel`."""

    @property
    def version(self) -> str: ...
    def weigh(
        self, rows: Sequence[CustomerRow | None], offers: Sequence[OfferInfo], channels: Sequence[str]
    ) -> Weighed: ...


@dataclass(frozen=True, slots=True)
class LayeredModel:
    """`model` with the layer's posterior mean; `number` names the state of the layer, `version` both."""

    model: NextOffer
    weights: Weights
    number: int

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
        return LayeredWeighing(below, residuals(below, self.weights, [offer.offer_id for offer in offers]))

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
        return self.weigh([row], [offer], [channel]).many_reasons(0, [(0, 0)], n)[0]

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
        return self.many_reasons(customer, [(offer, channel)], n)[0]

    def many_reasons(self, customer: int, places: Sequence[tuple[int, int]], n: int = 3) -> list[tuple[Reason, ...]]:
        """As `Weighing.many_reasons`."""
        told = self._below.many_reasons(customer, places, n)
        return [
            _with_outcomes(reasons, float(self._residual[customer, offer, channel]), n)
            for reasons, (offer, channel) in zip(told, places, strict=True)
        ]


def residuals(below: Weighed, weights: Weights, offers: Sequence[str]) -> Floats:
    """The layer's part of the log-odds, (customers, offers, channels)."""
    shared, own = customer_inputs(below.pairs[:, 0, : len(CUSTOMER)])
    of_customer = shared @ weights.shared[:_CUSTOMER_WIDTH]
    of_pair = pair_inputs(below.pairs) @ weights.shared[_OF_PAIR] + own @ weights.own_of(offers).T
    of_channel = channel_inputs(below.of_channels) @ weights.shared[_OF_CHANNEL]
    return np.asarray(of_customer[:, None, None] + of_pair[:, :, None] + of_channel[:, None, :], np.float64)


def lesson_inputs(below: Weighed) -> tuple[Floats, Floats, Floats]:
    """(shared, own, score) of the first candidate of each customer: what `online_layer.Lessons` needs, (n, ...)."""
    pairs = below.pairs[:, 0]
    shared, own = customer_inputs(pairs[:, : len(CUSTOMER)])
    shared = np.concatenate([shared, pair_inputs(pairs), channel_inputs(below.of_channels[:, 0])], axis=1)
    return shared, own, logit(np.clip(below.probabilities[:, 0, 0], SURE, 1 - SURE))


def _with_outcomes(reasons: tuple[Reason, ...], residual: float, n: int) -> tuple[Reason, ...]:
    if abs(residual) <= NEGLIGIBLE:
        return reasons
    text = f"lately brings {'more' if residual > 0 else 'fewer'} orders than expected from people like this"
    found = [*reasons, Reason("recent_outcomes", text, round(residual, 4))]
    return tuple(sorted(found, key=lambda one: -abs(one.effect))[:n])

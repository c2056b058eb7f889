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
from models.situations import Situations, Told, inputs
from models.sums import summed

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
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
_OWN_WIDTH = 1 + len(OWN)
_CUSTOMER_WIDTH, _PAIR_WIDTH = 1 + len(CUSTOMER), len(PAIRS) + len(CROSSED)
SHARED_WIDTH = _CUSTOMER_WIDTH + _PAIR_WIDTH + len(CHANNEL) + 1
_OF_PAIR = slice(_CUSTOMER_WIDTH, _CUSTOMER_WIDTH + _PAIR_WIDTH)
_OF_CHANNEL = slice(_CUSTOMER_WIDTH + _PAIR_WIDTH, SHARED_WIDTH)
SURE = 1e-6
"""Probabilities are kept this far from 0 and 1 when taken as log-odds."""


def first_priors(situations: int = 0) -> Priors:
    """Levels may move freely, what depends on the customer or the pair little, an offer least; then it is learnt.

    Learnt together: the customer's numbers; the pair's; the channels; so many situations; for offers their levels,
    each of OWN, and the situations.
    """
    parts = ((1.0, 1), (10.0, len(CUSTOMER)), (10.0, _PAIR_WIDTH), (3.0, len(CHANNEL) + 1), (1.0, situations))
    shared = np.concatenate([np.full(width, precision) for precision, width in parts])
    groups = np.concatenate([np.full(width, group) for group, (_, width) in enumerate(parts, -1)])
    own = np.concatenate([[1.0], np.full(len(OWN), 30.0), np.full(situations, 8.0)])
    own_groups = np.minimum(np.arange(len(own)), _OWN_WIDTH)
    return Priors(shared, own, groups, own_groups)


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

    @property
    def situations(self) -> tuple[str, ...]:
        """What it tells apart of what `told` says; where there are none, `told` need not be given."""
        return self.weights.situations

    def weigh(
        self,
        rows: Sequence[CustomerRow | None],
        offers: Sequence[OfferInfo],
        channels: Sequence[str],
        told: Sequence[Told] | None = None,
    ) -> LayeredWeighing:
        """As `NextOfferModel.weigh`; `told`: what each customer's request says of its situation (None: nothing)."""
        below = self.model.weigh(rows, offers, channels)
        names = tuple(offer.offer_id for offer in offers)
        if names not in self._known:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            self._known[names] = self.weights.own_of(names)
        own, situated = self._known[names], None
        if told is not None and self.situations:
            effects = self.weights.shared[SHARED_WIDTH:] + own[:, _OWN_WIDTH:]
            situated = Situations(self.situations, inputs(self.situations, told), effects)
        return LayeredWeighing(below, residuals(below, self.weights, own), situated)

    def score(
        self,
        row: CustomerRow | None,
        offers: Sequence[OfferInfo],
        channels: Sequence[str],
        at: datetime,
        told: Sequence[Told] | None = None,
    ) -> Floats:
        """As `NextOfferModel.score`: P(conversion), (offers, channels); `told` as in `weigh`, of the one."""
        if not offers or not channels:
            return np.zeros((len(offers), len(channels)))
        return np.asarray(self.weigh([row], offers, channels, told).probabilities[0], np.float64)

    def reasons(
        self,
        row: CustomerRow | None,
        offer: OfferInfo,
        channel: str,
        at: datetime,
        n: int = 3,
        told: Sequence[Told] | None = None,
    ) -> tuple[Reason, ...]:
        """As `NextOfferModel.reasons`; `told` as in `weigh`, of the one."""
        return self.weigh([row], [offer], [channel], told).reasons(0, 0, 0, n)

    def __getattr__(self, name: str) -> Any:
        """Everything else is the model's own."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.model, name)


class LayeredWeighing:
    """`probabilities` (customers, offers, channels) with the layer's part, which is one more reason where it counts;
    with those of the `situated`, which are reasons of their own.
    """

    def __init__(self, below: Weighed, residual: Floats, situated: Situations | None = None) -> None:
        self._below, self._residual, self._situated = below, residual, situated
        moved = residual if situated is None else residual + situated.residual()[:, :, None]
        self.probabilities: Floats = sigmoid(logit(np.clip(below.probabilities, SURE, 1 - SURE)) + moved)

    def reasons(self, customer: int, offer: int, channel: int, n: int = 3) -> tuple[Reason, ...]:
        """As `Weighing.reasons`."""
        return self.reasons_of([(customer, offer, channel)], n)[0]

    def reasons_of(self, asked: Sequence[tuple[int, int, int]], n: int = 3) -> list[tuple[Reason, ...]]:
        """As `Weighing.reasons_of`."""
        return [tuple(Reason(**one) for one in some) for some in self.told_of(asked, n)]

    def told_of(self, asked: Sequence[tuple[int, int, int]], n: int = 3) -> list[list[Plain]]:
        """As `Weighing.told_of`."""
        told = self._below.told_of(asked, n)
        return [self._with_own(reasons, place, n) for reasons, place in zip(told, asked, strict=True)]

    def _with_own(self, reasons: list[Plain], place: tuple[int, int, int], n: int) -> list[Plain]:
        own = _of_outcomes(float(self._residual[place]))
        if self._situated is not None:
            own += self._situated.reasons(place[0], place[1])
        return sorted([*reasons, *own], key=lambda one: -abs(one["effect"]))[:n] if own else reasons


def residuals(below: Weighed, weights: Weights, of_offers: Floats) -> Floats:
    """The layer's part of the log-odds, (customers, offers, channels); `of_offers`: their own weights, (offers, k)."""
    shared, own = customer_inputs(below.pairs[:, 0, : len(CUSTOMER)])
    of_customer = summed(shared * weights.shared[:_CUSTOMER_WIDTH])
    of_pair = summed(pair_inputs(below.pairs) * weights.shared[_OF_PAIR])
    of_pair += (own[:, None] * of_offers[None, :, :_OWN_WIDTH]).sum(axis=-1)
    of_channel = (channel_inputs(below.of_channels) * weights.shared[_OF_CHANNEL]).sum(axis=-1)
    return np.asarray(of_customer[:, None, None] + of_pair[:, :, None] + of_channel[:, None, :], np.float64)


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


def begun(layer: bytes, situations: tuple[str, ...] = ()) -> OnlineLayer:
    """What a model's `layer` says that learning begins with; nothing learnt where it says nothing, or of other
    inputs. Of `situations` no model knows anything.
    """
    fresh = new_layer()
    held = OnlineLayer.from_bytes(layer) if layer else fresh
    priors = first_priors(len(situations))
    wide = priors.shared[SHARED_WIDTH:], priors.own[_OWN_WIDTH:]
    return (held if held.alike(fresh) else fresh).in_situations(situations, *wide)


def with_situations(shared: Floats, own: Floats, situated: Floats, only_situations: Bools) -> tuple[Floats, Floats]:
    """Lessons' inputs (n, ...) with those of their situations (n, situations); of some nothing but those.

    What a model was fitted on teaches it nothing again, but it knows of no situations.
    """
    new = np.where(only_situations, 0.0, 1.0)[:, None]
    return np.concatenate([shared * new, situated], axis=1), np.concatenate([own * new, situated], axis=1)


def _of_outcomes(residual: float) -> list[Plain]:
    if abs(residual) <= NEGLIGIBLE:
        return []
    text = f"lately brings {'more' if residual > 0 else 'fewer'} orders than expected from people like this"
    return [{"feature": "recent_outcomes", "text": text, "effect": round(residual, 4)}]

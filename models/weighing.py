"""Many customers on the same offers and channels at once: probabilities, and the reasons behind any of them.

Trees see a pair's features group by group (`quick_trees`): what hangs on the offer is looked up once for all
customers and calls, what hangs on the customer once for all offers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from features.channel_hours import week_totals
from features.channels import CHANNELS
from features.many_rows import decoded
from features.offers import OfferInfo
from features.products import NO_PRODUCTS, ManyProducts
from features.rows import CustomerRow, feature_matrix
from models.explaining import Market, explain
from models.offer_features import (
    CROSS,
    CUSTOMER,
    NO_VIEWS,
    OFFER,
    PAIR,
    Customers,
    OfferKnowledge,
    OfferTable,
    cross_features,
    joined,
)
from models.offer_stages import PLACES, moved
from models.quick_trees import Masks, Trees
from models.reasons import Reason
from models.response import CHANNEL, INPUTS, ChannelKnowledge, ResponseHead
from models.seen_words import Plain, Teller, Texts, texts_about
from models.trees import TreeModel

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
_OF_CUSTOMER = slice(0, len(CUSTOMER))
_OF_OFFER = slice(len(CUSTOMER), len(CUSTOMER) + len(OFFER))
_OF_BOTH = slice(len(CUSTOMER) + len(OFFER), len(PAIR))
_OF_CHANNEL = slice(len(PAIR), len(INPUTS) - 1)
_OFFER_RATE = INPUTS.index("offer_rate")
_STAGES = PLACES + 1
assert _OF_CHANNEL.stop == _OFFER_RATE
_PURCHASE = np.array([-1, *range(_OF_BOTH.start, _OF_BOTH.stop)])
_HEAD = np.array([0, *range(_OF_BOTH.start + 1, _OF_BOTH.stop + 1)])
"""What the trees of both parts call the score and CROSS (-1: what they do not see)."""


def _columns(part: slice, first: int = 0) -> Places:
    return np.arange(part.start + first, part.stop + first)


_CUSTOMERS, _HEAD_CUSTOMERS, _HEAD_CHANNELS = (
    _columns(_OF_CUSTOMER),
    _columns(_OF_CUSTOMER, 1),
    _columns(_OF_CHANNEL, 1),
)


class Ranker(Protocol):
    """What weighing reads of a `models.next_offer.NextOfferModel`."""

    @property
    def trees(self) -> TreeModel: ...
    @property
    def knowledge(self) -> OfferKnowledge: ...
    @property
    def channels(self) -> ChannelKnowledge: ...
    @property
    def response(self) -> ResponseHead: ...
    def sides(self, offers: Sequence[OfferInfo]) -> Sides: ...
    def purchase_score(self, pairs: Floats) -> Floats: ...
    def calibrated_purchase(self, raw: Floats) -> Floats: ...


@dataclass(frozen=True, slots=True)
class Sides:
    """What hangs on the offers alone. `purchase`, `head`: masks of their static features (offers, trees); `rates`: log-
    odds of converting (offers,); `categories`: what each is mostly about, their numbers (-1: nothing), and
    the sentences known of them; `stages`: whom each moves (`OfferStages.of`), None where nothing tells.
    """

    offers: Sequence[OfferInfo]
    table: OfferTable
    rates: Floats
    categories: Sequence[str | None]
    mains: Places
    texts: list[Texts]
    purchase: Masks | None
    head: Masks | None
    stages: Floats | None

    @classmethod
    def of(cls, model: Ranker, offers: Sequence[OfferInfo]) -> Sides:
        table = model.knowledge.table(offers)
        rates = np.array([model.channels.offer_rate.get(offer.offer_id, 0.0) for offer in offers], np.float64)
        purchase, head = model.trees.quick, _head(model)
        seen = None
        if head is not None:
            seen = head.masks(_columns(_OF_OFFER, 1), table.static) & head.masks([_OFFER_RATE + 1], rates[:, None])
        categories = [model.knowledge.main_category(offer) for offer in offers]
        stages = model.response.stages
        return cls(
            list(offers),
            table,
            rates,
            categories,
            np.array([-1 if one is None else model.knowledge.number_of(one) for one in categories], np.int64),
            [texts_about(category) for category in categories],
            purchase.masks(_columns(_OF_OFFER), table.static) if purchase is not None else None,
            seen,
            stages.of([offer.offer_id for offer in offers]) if stages is not None else None,
        )


def _head(model: Ranker) -> Trees | None:
    trees = model.response.trees
    return trees.quick if model.response.kind == "trees" and trees is not None else None


class Masked(NamedTuple):
    """Trees, and what customers, offers and channels leave of each of them (`quick_trees.Trees.weigh`)."""

    trees: Trees
    masks: tuple[Masks, Masks, Masks | None]


class Weighing:
    """`probabilities` (customers, offers, channels) of rows by a model, and the reasons behind each."""

    def __init__(
        self,
        model: Ranker,
        rows: Sequence[CustomerRow | None],
        offers: Sequence[OfferInfo],
        channels: Sequence[str],
    ) -> None:
        self._model, self._channels = model, channels
        self._sides = model.sides(offers)
        self._known, self._responses = customers_of(model.knowledge, rows, channels)
        self._seen = np.empty((len(rows), len(offers), 1 + len(CROSS)))
        """The score of buying, then CROSS."""
        cross_features(self._known, self._sides.table, model.knowledge, self._seen)
        self._seen[:, :, 0] = self._purchase_scores()
        raw = self._raw().reshape(len(rows), len(offers), len(channels))
        if self._sides.stages is not None:
            raw = raw + moved(self._stages, self._sides.stages)[:, :, None]
        self.probabilities: Floats = model.response.calibrated(raw)

    def _purchase_scores(self) -> Floats:
        """(customers, offers), log-odds of buying."""
        n, m = self._seen.shape[:2]
        if self._purchase is None:
            return self._model.purchase_score(self.pairs.reshape(n * m, -1)).reshape(n, m)
        raw = self._purchase.trees.weigh(_PURCHASE, self._seen, *self._purchase.masks)
        return self._model.calibrated_purchase(raw[:, :, 0])

    def _raw(self) -> Floats:
        """Log-odds of converting (customers, offers, channels)."""
        response = self._model.response
        if response.kind == "purchase":
            return response.tilted(self._seen[:, :, 0], self.of_channels)
        if self._head is None:
            return response.raw_score(self._all_lines)
        return self._head.trees.weigh(_HEAD, self._seen, *self._head.masks)

    @cached_property
    def _purchase(self) -> Masked | None:
        """The trees of the score of buying, and what they make of each side; None where they know no masks."""
        trees, offers = self._model.trees.quick, self._sides.purchase
        if trees is None or offers is None:
            return None
        return Masked(trees, (trees.masks(_CUSTOMERS, self._known.values), offers, None))

    @cached_property
    def _head(self) -> Masked | None:
        """Those of the response head."""
        trees, offers = _head(self._model), self._sides.head
        if trees is None or offers is None:
            return None
        wide = len(_HEAD_CHANNELS)
        channels = self.of_channels[:, :, :wide].reshape(-1, wide)
        theirs = trees.masks(_HEAD_CUSTOMERS, self._known.values)
        return Masked(trees, (theirs, offers, trees.masks(_HEAD_CHANNELS, channels)))

    @cached_property
    def _stages(self) -> Floats:
        """At which stage customers are, (customers, STAGE)."""
        assert self._model.response.stages is not None
        return self._model.response.stages.inputs(self._known.values, self._known.known)

    @cached_property
    def pairs(self) -> Floats:
        """(customers, offers, PAIR)."""
        return joined(self._known.values, self._sides.table.static, self._seen[:, :, 1:])

    @cached_property
    def of_channels(self) -> Floats:
        """(customers, channels, CHANNEL + RATES); the rate of the offer, last, is not theirs and stays 0."""
        knowledge = self._model.channels
        result = np.zeros((len(self._known.known), len(self._channels), len(INPUTS) - len(PAIR)))
        for place, channel in enumerate(self._channels):
            if channel in CHANNELS:
                result[:, place, CHANNELS.index(channel)] = 1.0
            result[:, place, len(CHANNEL)] = knowledge.channel_rate.get(channel, 0.0)
        result[:, :, len(CHANNEL) + 1] = knowledge.own_engagements(self._channels, self._responses, self._known.known)
        return result

    @property
    def _all_lines(self) -> Floats:
        """SEEN of every candidate, row upon row."""
        n, m, c = (*self._seen.shape[:2], len(self._channels))
        return self._market.lines(*np.indices((n, m, c)).reshape(3, -1))

    @cached_property
    def _market(self) -> Market:
        sides = self._sides
        return Market(self._known, sides.table.static, self._seen, self.of_channels, sides.rates, sides.mains)

    def reasons(self, customer: int, offer: int, channel: int, n: int = 3) -> tuple[Reason, ...]:
        """The `n` strongest reasons for one probability, strongest first; places as in `probabilities`."""
        return self.reasons_of([(customer, offer, channel)], n)[0]

    def reasons_of(self, asked: Sequence[tuple[int, int, int]], n: int = 3) -> list[tuple[Reason, ...]]:
        """Those of many (customer, offer, channel)."""
        return [tuple(Reason(**one) for one in some) for some in self.told_of(asked, n)]

    def told_of(self, asked: Sequence[tuple[int, int, int]], n: int = 3) -> list[list[Plain]]:
        """`reasons_of` as answers have them: a batch of decisions makes hundreds."""
        if not asked:
            return []
        places = np.array(asked, np.int64)
        divided = self._model.response.kind != "purchase"
        found = explain(places, self._market, self._purchase_effects(places), self._head_effects(places), divided)
        return Teller(self._known, self._sides.categories, self._sides.texts, self._channels, n).tell(places, found)

    def _purchase_effects(self, asked: Places) -> Floats:
        """Of PAIR on the score of buying, (k, PAIR)."""
        if self._purchase is None:
            return self._model.trees.contributions(self._market.lines(*asked.T)[:, 1 : 1 + len(PAIR)])[:, :-1]
        return self._purchase.trees.effects(_PURCHASE, self._seen, *self._purchase.masks, asked)

    def _head_effects(self, asked: Places) -> Floats:
        """Of SEEN on the log-odds, (k, SEEN)."""
        if self._head is None:
            found = self._model.response.effects(self._market.lines(*asked.T))
        else:
            found = self._head.trees.effects(_HEAD, self._seen, *self._head.masks, asked)
        if self._sides.stages is not None:
            found[:, _STAGES] += self._stages[asked[:, 0]] * self._sides.stages[:, asked[:, 1]].T
        return found


def customers_of(
    knowledge: OfferKnowledge, rows: Sequence[CustomerRow | None], channels: Sequence[str]
) -> tuple[Customers, Floats]:
    """Rows as arrays, and deliveries and human responses on each channel (rows, channels, 2)."""
    values, known = feature_matrix(rows, CUSTOMER), np.array([row is not None for row in rows], np.bool_)
    found = decoded(rows, knowledge.numbered, channels)
    if found is not None:
        return Customers(values, found.affinity, known, found.products, found.views), found.responses
    affinity = knowledge.affinities([row.affinity if row is not None else {} for row in rows])
    bought = ManyProducts.of([row.products if row is not None else NO_PRODUCTS for row in rows])
    views = knowledge.looks([row.views if row is not None else NO_VIEWS for row in rows])
    none = (0.0, 0.0)
    told = [[(one or {}).get(channel, none) for channel in channels] for one in _responses(rows)]
    responses = np.array(told, np.float64).reshape(len(rows), len(channels), 2)
    return Customers(values, affinity, known, bought, views), responses


def responses_of(row: CustomerRow | None) -> dict[str, tuple[float, float]] | None:
    """Deliveries and human responses of a customer by channel; None for somebody unknown."""
    return _responses([row])[0]


def _responses(rows: Sequence[CustomerRow | None]) -> list[dict[str, tuple[float, float]] | None]:
    """`responses_of` each."""
    told = [hours for row in rows if row is not None for hours in row.response_hours.values()]
    hours = [weeks for one in told for weeks in (one.sends, one.clicks + one.opens)]
    sums = iter(week_totals(np.array(hours, np.float64)).tolist() if hours else ())
    return [
        None if row is None else {channel: (next(sums), next(sums)) for channel in row.response_hours} for row in rows
    ]

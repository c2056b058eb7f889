"""Many customers on the same offers and channels at once: probabilities, and the reasons behind any of them.

Trees see a pair's features group by group (`quick_trees`): what hangs on the offer is looked up once for all
customers and calls, what hangs on the customer once for all offers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import numpy.typing as npt

from features.catalogue import FEATURES
from features.offers import OfferInfo
from features.products import NO_PRODUCTS
from features.rows import CustomerRow
from models.offer_features import (
    CROSS,
    CUSTOMER,
    LIKED,
    OFFER,
    PAIR,
    SENTENCES,
    OfferKnowledge,
    OfferTable,
    cross_features,
    describe,
    joined,
)
from models.quick_trees import Masks, Trees
from models.reasons import NEGLIGIBLE, Reason, sentence
from models.response import INPUTS, SEEN, ChannelKnowledge, ResponseHead
from models.trees import TreeModel

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_OF_CUSTOMER = slice(0, len(CUSTOMER))
_OF_OFFER = slice(len(CUSTOMER), len(CUSTOMER) + len(OFFER))
_OF_BOTH = slice(len(CUSTOMER) + len(OFFER), len(PAIR))
_RATES = len(PAIR)
_PURCHASE = (-1, *range(_OF_BOTH.start, _OF_BOTH.stop))
_HEAD = (0, *range(_OF_BOTH.start + 1, _OF_BOTH.stop + 1))
"""What the trees of both parts call the score and CROSS (-1: what they do not see)."""
_ENGAGEMENT = INPUTS.index("channel_engagement")
_OFFER_RATE = INPUTS.index("offer_rate")
_NAMES = SEEN[1:]
_ALIKE: Mapping[str, str] = {**{one.name: one.sentence for one in FEATURES}, **SENTENCES}
"""Features with the same key tell the same sentence."""
_KEYS = list(dict.fromkeys(_ALIKE.get(name, name) for name in _NAMES))
_GROUP = np.array([_KEYS.index(_ALIKE.get(name, name)) for name in _NAMES])
_GROUPS = len(_KEYS)
_MEMBERS = [np.flatnonzero(group == _GROUP).tolist() for group in range(_GROUPS)]


def _columns(part: slice, first: int = 0) -> range:
    return range(part.start + first, part.stop + first)


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
    """What hangs on the offers alone. `purchase`, `head`: masks of their static features (offers, trees)."""

    offers: Sequence[OfferInfo]
    table: OfferTable
    purchase: Masks | None
    head: Masks | None

    @classmethod
    def of(cls, model: Ranker, offers: Sequence[OfferInfo]) -> Sides:
        table = model.knowledge.table(offers)
        purchase, head = model.trees.quick, _head(model)
        seen = None
        if head is not None:
            rates = [model.channels.offer_rate.get(offer.offer_id, 0.0) for offer in offers]
            seen = head.masks(_columns(_OF_OFFER, 1), table.static)
            seen = seen & head.masks([_OFFER_RATE + 1], np.array(rates)[:, None])
        return cls(
            list(offers),
            table,
            purchase.masks(_columns(_OF_OFFER), table.static) if purchase is not None else None,
            seen,
        )


def _head(model: Ranker) -> Trees | None:
    trees = model.response.trees
    return trees.quick if model.response.kind == "trees" and trees is not None else None


class Weighing:
    """`probabilities` (customers, offers, channels) of rows by a model, and the reasons behind each."""

    def __init__(
        self,
        model: Ranker,
        rows: Sequence[CustomerRow | None],
        offers: Sequence[OfferInfo],
        channels: Sequence[str],
    ) -> None:
        self._model, self._rows, self._offers, self._channels = model, rows, offers, channels
        self._sides = model.sides(offers)
        self._known = known = model.knowledge.many_customers(
            [(row.values, row.affinity, row.products) if row else (None, {}, NO_PRODUCTS) for row in rows]
        )
        self._seen = np.empty((len(rows), len(offers), 1 + len(CROSS)))
        """The score of buying, then CROSS."""
        cross_features(known, self._sides.table, model.knowledge, self._seen[:, :, 1:])
        self._seen[:, :, 0] = self._purchase_scores(known.values)
        if _head(model) is None:
            scores = np.repeat(self._seen[:, :, 0].ravel(), len(channels))
            raw = model.response.raw_score(scores, self._inputs.reshape(-1, len(INPUTS)))
        else:
            raw = self._head_scores(known.values)
        shape = (len(rows), len(offers), len(channels))
        self.probabilities: Floats = model.response.calibrated(raw.reshape(shape))

    def _purchase_scores(self, customers: Floats) -> Floats:
        """(customers, offers), log-odds of buying."""
        trees = self._model.trees.quick
        if trees is None or self._sides.purchase is None:
            n, m = self._seen.shape[:2]
            return self._model.purchase_score(self.pairs.reshape(n * m, -1)).reshape(n, m)
        theirs = trees.masks(_columns(_OF_CUSTOMER), customers)
        raw = trees.weigh(_PURCHASE, self._seen, theirs, self._sides.purchase, None)
        return self._model.calibrated_purchase(raw[:, :, 0])

    def _head_scores(self, customers: Floats) -> Floats:
        """Log-odds of converting (customers, offers, channels), by a head of trees."""
        head = _head(self._model)
        assert head is not None
        assert self._sides.head is not None
        theirs = head.masks(_columns(_OF_CUSTOMER, 1), customers)
        inputs = self._of_channels.reshape(-1, len(INPUTS) - _RATES)
        places = range(_RATES + 1, _OFFER_RATE + 1)
        channels = head.masks(places, inputs[:, : len(places)])
        return head.weigh(_HEAD, self._seen, theirs, self._sides.head, channels)

    @cached_property
    def pairs(self) -> Floats:
        """(customers, offers, PAIR)."""
        return joined(self._known.values, self._sides.table.static, self._seen[:, :, 1:])

    @property
    def of_channels(self) -> Floats:
        """(customers, channels, CHANNEL + RATES)."""
        return self._of_channels

    @cached_property
    def _of_channels(self) -> Floats:
        """(customers, channels, CHANNEL + RATES); the rate of the offer, last, is not theirs and stays 0."""
        channels = self._model.channels
        return np.stack([channels.inputs([""], self._channels, responses_of(row))[0] for row in self._rows])

    @cached_property
    def _inputs(self) -> Floats:
        """(customers, offers, channels, INPUTS)."""
        n, m = self._seen.shape[:2]
        wide = np.empty((n, m, len(self._channels), len(INPUTS)))
        wide[..., :_RATES] = self.pairs[:, :, None]
        wide[..., _RATES:] = self._of_channels[:, None]
        rates = [self._model.channels.offer_rate.get(offer.offer_id, 0.0) for offer in self._offers]
        wide[..., _OFFER_RATE] = np.array(rates)[None, :, None]
        return wide

    def reasons(self, customer: int, offer: int, channel: int, n: int = 3) -> tuple[Reason, ...]:
        """The `n` strongest reasons for one probability, strongest first; places as in `probabilities`."""
        return self.many_reasons(customer, [(offer, channel)], n)[0]

    def many_reasons(self, customer: int, places: Sequence[tuple[int, int]], n: int = 3) -> list[tuple[Reason, ...]]:
        """Those of several (offer, channel) of one customer."""
        lines = self._lines(customer, places)
        effects = self._effects(lines, customer, places)
        counted = np.where(np.isfinite(lines) & (np.abs(effects) > NEGLIGIBLE), effects, 0.0)
        row = self._rows[customer]
        own = dict(row.values) if row is not None else {}
        return [
            self._told(row, own, lines[place], effects[place], counted[place], at, n) for place, at in enumerate(places)
        ]

    def _lines(self, customer: int, places: Sequence[tuple[int, int]]) -> Floats:
        """INPUTS of these candidates (places, INPUTS)."""
        offers, channels = [offer for offer, _ in places], [channel for _, channel in places]
        lines = np.empty((len(places), len(INPUTS)))
        lines[:, _OF_CUSTOMER] = self._known.values[customer]
        lines[:, _OF_OFFER] = self._sides.table.static[offers]
        lines[:, _OF_BOTH] = self._seen[customer, offers, 1:]
        lines[:, _RATES:] = self._of_channels[customer, channels]
        rates = self._model.channels.offer_rate
        lines[:, _OFFER_RATE] = [rates.get(self._offers[offer].offer_id, 0.0) for offer in offers]
        return lines

    def _told(
        self,
        row: CustomerRow | None,
        own: dict[str, float],
        line: Floats,
        effects: Floats,
        counted: Floats,
        at: tuple[int, int],
        n: int,
    ) -> tuple[Reason, ...]:
        """The strongest groups of features that tell the same, in words: as `strongest` does, with one sum a group."""
        channel, category = self._channels[at[1]], self._model.knowledge.main_category(self._offers[at[0]])
        values = own | dict(zip(INPUTS, line.tolist(), strict=True))
        if row is not None and category is not None:
            values |= dict(zip(LIKED, row.affinity.get(category, (0.0, 0.0, float("nan"))), strict=True))
        sums = np.bincount(_GROUP, counted, _GROUPS)
        said: dict[str, Reason] = {}
        for group in np.argsort(-np.abs(sums), kind="stable").tolist():
            effect = float(sums[group])
            if len(said) == n or abs(effect) <= NEGLIGIBLE:
                break
            members = _MEMBERS[group]
            first = members[0] if len(members) == 1 else max(members, key=lambda place: abs(counted[place]))
            text = _say(_NAMES[first], values, category, channel, float(effects[first]), row is not None)
            if text is not None and text not in said:
                said[text] = Reason(_NAMES[first], text, round(effect, 4))
        return tuple(said.values())

    def _effects(self, lines: Floats, customer: int, places: Sequence[tuple[int, int]]) -> Floats:
        """Each input's part of the log-odds, (places, INPUTS); the purchase score's is divided among what is behind."""
        scores = self._seen[customer, [offer for offer, _ in places], 0]
        seen = self._model.response.effects(scores, lines)
        total = seen[:, 1:].copy()
        total[:, :_RATES] += self._through_purchase(lines, seen[:, 0])
        return np.asarray(total, np.float64)

    def _through_purchase(self, lines: Floats, effects: Floats) -> Floats:
        """The purchase score's effects, divided among the features behind it by their path contributions."""
        parts = self._model.trees.contributions(lines[:, :_RATES])[:, :-1]
        if self._model.response.kind == "purchase":
            return parts
        size = np.abs(parts).sum(axis=1)
        share = np.minimum(np.abs(effects) / np.where(size > 0, size, 1.0), 1.0)
        return np.asarray(parts * share[:, None], np.float64)


def _say(
    name: str, values: Mapping[str, float], category: str | None, channel: str, effect: float, known: bool
) -> str | None:
    if name.startswith("channel_") or name == "offer_rate":
        return _of_rates(name, channel, effect)
    return describe(name, values, category) or (sentence(name, values) if known else None)


def responses_of(row: CustomerRow | None) -> dict[str, tuple[float, float]] | None:
    """Deliveries and human responses of a customer by channel; None for somebody unknown."""
    if row is None:
        return None
    return {channel: (float(sent.sum()), float(got.sum())) for channel, (sent, got) in row.response_hours.items()}


def _of_rates(name: str, channel: str, effect: float) -> str | None:
    more = "more" if effect > 0 else "less"
    if name == "channel_engagement":
        return f"answers {channel} {more} than others do"
    if name == "channel_rate" or name == f"channel_{channel}":
        return f"{channel} brings {more} conversions than other channels"
    return f"this offer converts {more} than others" if name == "offer_rate" else None

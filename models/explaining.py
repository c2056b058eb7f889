"""Which of the ranker's inputs speak loudest for candidates, and the number that each one's sentence tells.

Inputs that tell the same sentence count as one group, by the sum of their effects.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.compiled import compiled
from models import offer_words
from models.offer_features import CUSTOMER, LIKED, PAIR, Customers
from models.reasons import NEGLIGIBLE, SENTENCES
from models.response import INPUTS

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
REASONS: Any = compiled("models._reasons", 2)
_ALIKE = {**SENTENCES, **offer_words.SENTENCES}
"""Inputs with the same key tell the same sentence."""
_KEYS = list(dict.fromkeys(_ALIKE.get(name, name) for name in INPUTS))
GROUPS = len(_KEYS)
_LOOKS = -2


def _table_of(name: str) -> tuple[int, int, int, int, bool]:
    saying = offer_words.SAYINGS.get(name)
    told = name if saying is None else saying.told or name
    liked = _LOOKS if told == "category_views_365d" else LIKED.index(told) if told in LIKED else -1
    own = LIKED.index(name) if name in LIKED else -1
    return _KEYS.index(_ALIKE.get(name, name)), INPUTS.index(told), liked, own, told not in offer_words.EXACT


TABLES: Ints = np.ascontiguousarray(np.array([_table_of(name) for name in INPUTS], np.int64).T)
"""(5, INPUTS): the group of each input; the input whose number its sentence tells; where that, and it, stand in LIKED
(-1: nowhere, -2: it is the number of looks); whether the number is rounded.
"""
_GROUP, _NUMBER, _LIKED_AT, _OWN_LIKED, _ROUNDED = TABLES
assert all(name in offer_words.SAYINGS for name in PAIR[len(CUSTOMER) :])


@dataclass(frozen=True, slots=True)
class Market:
    """What n customers, m offers and c channels are: `static` (m, OFFER), `seen` (n, m, 1 + CROSS), the score first,
    `of_channels` (n, c, CHANNEL + RATES), whose last is not theirs, `rates` (m,) of the offers in its place; `mains`
    (m,) numbers of the categories that offers are mostly about (-1: none).
    """

    customers: Customers
    static: Floats
    seen: Floats
    of_channels: Floats
    rates: Floats
    mains: Ints

    def lines(self, customer: Ints, offer: Ints, channel: Ints) -> Floats:
        """The score and INPUTS of these candidates (k, 1 + INPUTS)."""
        own = np.concatenate([self.customers.values[customer], self.static[offer]], axis=1)
        seen = self.seen[customer, offer]
        rates = self.of_channels[customer, channel, :-1], self.rates[offer][:, None]
        return np.concatenate([seen[:, :1], own, seen[:, 1:], *rates], axis=1)


class Explained(NamedTuple):
    """Of k candidates, strongest first, each (k, GROUPS): the input that speaks for a group (-1 behind the last), the
    sum of the group's effects, and the number that its sentence tells (NaN: it cannot be said).
    """

    first: Ints
    sums: Floats
    numbers: Floats


def explain(asked: Ints, market: Market, parts: Floats, head: Floats, divided: bool) -> Explained:
    """The strongest groups of k (customer, offer, channel), `asked` (k, 3).

    `parts` (k, PAIR): effects on the purchase score. `head` (k, 1 + INPUTS): of that and of the inputs on the
    log-odds. `divided`: the score's is divided among the parts; else they count as they are.
    """
    if REASONS is None:
        return _explain(asked, market, parts, head, divided)
    shape = len(asked), GROUPS
    found = Explained(np.empty(shape, np.int64), np.empty(shape), np.empty(shape))
    known, options = market.customers, np.array([NEGLIGIBLE, divided])
    numbers: list[npt.NDArray[Any]] = [asked, known.values, market.static, market.seen, market.of_channels]
    numbers += [market.rates, known.affinity, known.views, market.mains, known.known, parts, head, TABLES, options]
    REASONS.explain(*map(np.ascontiguousarray, numbers), *found)
    return found


def _explain(asked: Ints, market: Market, parts: Floats, head: Floats, divided: bool) -> Explained:
    lines = market.lines(*asked.T)[:, 1:]
    effects = head[:, 1:].copy()
    effects[:, : len(PAIR)] += parts * _share(parts, head[:, 0])[:, None] if divided else parts
    counted = np.where(np.isfinite(lines) & (np.abs(effects) > NEGLIGIBLE), effects, 0.0)
    first, sums = strongest_groups(counted, _GROUP, GROUPS)
    return Explained(first, sums, _numbers(asked, market, lines, effects, first))


def _share(parts: Floats, effect: Floats) -> Floats:
    """By how much each part of the score counts, so that together they are not more than its effect."""
    size = sizes(parts)
    return np.asarray(np.minimum(np.abs(effect) / np.where(size > 0, size, 1.0), 1.0))


def sizes(parts: Floats) -> Floats:
    """Sums of absolute values (k, n) along n, in a written order: eight side by side, then the rest one by one."""
    size, whole = np.abs(parts), parts.shape[1] // 8 * 8
    lanes = [np.zeros(len(parts)) for _ in range(8)]
    for place in range(whole):
        lanes[place % 8] = lanes[place % 8] + size[:, place]
    total = ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]))
    for place in range(whole, parts.shape[1]):
        total = total + size[:, place]
    return np.asarray(total, np.float64)


def strongest_groups(effects: Floats, group: Ints, groups: int) -> tuple[Ints, Floats]:
    """Groups of features by the sum of their effects, strongest first, of each row (k, features): two (k, groups).

    The first names the feature of each group whose own effect is largest, the second is the sum. Groups whose sum is
    negligible are left out: behind the last there is -1. `group` (features,) are numbers below `groups`.
    """
    at = np.arange(len(effects))[:, None] * groups + group
    totals = np.bincount(at.ravel(), effects.ravel(), len(effects) * groups).reshape(-1, groups)
    order = np.argsort(-np.abs(totals), axis=1, kind="stable")
    speaks = np.zeros((len(effects), groups), np.int64)
    for number in range(groups):
        members = np.flatnonzero(group == number)
        if len(members):
            speaks[:, number] = members[np.abs(effects[:, members]).argmax(axis=1)]
    sums = np.take_along_axis(totals, order, axis=1)
    counts = np.abs(sums) > NEGLIGIBLE
    return np.where(counts, np.take_along_axis(speaks, order, axis=1), -1), np.where(counts, sums, 0.0)


def _numbers(asked: Ints, market: Market, lines: Floats, effects: Floats, first: Ints) -> Floats:
    """The number that the sentence of each speaking input tells: of orders and looks, of the whole category where there
    is one, not of the offer's part of it.
    """
    rows, customer, main = np.arange(len(asked))[:, None], asked[:, :1], market.mains[asked[:, 1:2]]
    known = market.customers.known[customer]
    whole, at = known & (main >= 0), np.maximum(main, 0)
    value, number = lines[rows, first], lines[rows, _NUMBER[first]]
    if market.customers.views.shape[1]:
        liked = market.customers.affinity[customer, at]
        number = np.where(whole & (_LIKED_AT[first] == _LOOKS), market.customers.views[customer, at], number)
        orders = whole & (_LIKED_AT[first] >= 0)
        number = np.where(orders, liked[rows, 0, np.maximum(_LIKED_AT[first], 0)], number)
        own = orders & (_OWN_LIKED[first] >= 0)
        value = np.where(own, liked[rows, 0, np.maximum(_OWN_LIKED[first], 0)], value)
    told = np.where(_ROUNDED[first] > 0, np.rint(number), number)
    told = np.where(np.isfinite(value) & np.isfinite(number), told, np.nan)
    told = np.where(first < len(CUSTOMER), np.where(known, 0.0, np.nan), told)
    told = np.where(first >= len(PAIR), effects[rows, first] > 0, told)
    return np.where(first < 0, np.nan, told)

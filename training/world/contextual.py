"""Offers to customers with known true probabilities: where policies that learn from what they show can be compared.

Customers have ten observed numbers, offers a discount, a price and a style. The true log-odds of converting bend
and interact: saturating likings of styles, a price that only some mind, discounts that only some wait for, pairs of
numbers that matter together, waves. Averaged over all customers and offers a showing converts with `base_rate`.
Everything is drawn from the seed. No policy sees `truth`; it sees `customers`, `offers` and what it showed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.world.response import sigmoid

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

NUMBERS = 10
STYLES = 3
CUSTOMERS, OFFERS, BASE_RATE, BATCH = 50_000, 20, 0.03, 500


@dataclass(frozen=True, slots=True)
class ContextualWorld:
    """`customers` (n, 10): eight normal numbers, two yes or no. `offers` (m, 5): discount and price in [0, 1], three
    numbers of style. `truth` (n, m): the probability that a showing converts.
    """

    seed: int
    customers: Floats
    offers: Floats
    truth: Floats

    @classmethod
    def draw(
        cls, seed: int, customers: int = CUSTOMERS, offers: int = OFFERS, base_rate: float = BASE_RATE
    ) -> ContextualWorld:
        """A world of this size."""
        random = np.random.default_rng([seed, 101])
        people = random.normal(size=(customers, NUMBERS))
        people[:, 8:] = people[:, 8:] > 0
        money = random.uniform(size=(offers, 2))
        goods = np.column_stack([money, random.normal(size=(offers, STYLES))])
        score = _log_odds(random, people, goods)
        return cls(seed, people, goods, sigmoid(score + _level(score, base_rate)))

    @property
    def uniform(self) -> float:
        """The rate of conversions of showing any offer to anybody."""
        return float(self.truth.mean())

    @property
    def perfect(self) -> float:
        """That of showing everybody the offer that is truly best."""
        return float(self.truth.max(axis=1).mean())

    def closed(self, shown_to: Ints, shown: Ints) -> float:
        """The part of the gap from uniform to perfect that these showings closed, by their true probabilities."""
        own = self.truth[shown_to]
        reached, even, best = own[np.arange(len(shown)), shown].mean(), own.mean(), own.max(axis=1).mean()
        return float((reached - even) / (best - even))

    def visits(self, batch: int = BATCH) -> list[Ints]:
        """Every customer once, in random order, in batches."""
        order = np.random.default_rng([self.seed, 102]).permutation(len(self.customers))
        return [order[start : start + batch] for start in range(0, len(order), batch)]

    def outcomes(self, shown_to: Ints, shown: Ints) -> Bools:
        """Whether each showing converts: the same for the same customer and offer, whatever the policy."""
        luck = np.array([_luck(self.seed, customer, offer) for customer, offer in zip(shown_to, shown, strict=True)])
        return np.asarray(luck < self.truth[shown_to, shown], np.bool_)


def _luck(seed: int, customer: int, offer: int) -> float:
    """A number in [0, 1) of the customer and the offer."""
    return float(np.random.Generator(np.random.Philox(key=[seed * 1_000_003 + int(customer), int(offer)])).random())


def _log_odds(random: np.random.Generator, people: Floats, goods: Floats) -> Floats:
    """(customers, offers), of mean about 0."""
    m = len(goods)
    taste = np.tanh(people[:, :5] @ random.normal(size=(5, STYLES)))
    liked = 0.9 * taste @ goods[:, 2:].T
    mind_price = np.where(people[:, 5] > 0.3, -2.0, 0.0)[:, None] * (goods[:, 1] - 0.5)
    wait = np.where(people[:, 6] < 0.0, 1.6, 0.0)[:, None] * (goods[:, 0] - 0.5)
    together = 0.5 * (people[:, 0] * people[:, 7])[:, None] * random.normal(size=m)
    waves = 0.4 * np.sin(2.0 * people[:, 2])[:, None] * random.normal(size=m)
    kinds = 0.5 * people[:, 8:] @ random.normal(size=(2, m))
    quality = 0.4 * random.normal(size=m)
    active = 0.6 * people[:, 4] + 0.4 * people[:, 1]
    return np.asarray(liked + mind_price + wait + together + waves + kinds + quality + active[:, None], np.float64)


def _level(score: Floats, rate: float) -> float:
    """What to add to the log-odds for the mean probability to be `rate`, by halving."""
    low, high = -20.0, 20.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(score + middle).mean() < rate else (low, middle)
    return (low + high) / 2

"""Policies for the contextual world (contextual.py), and what each reached: gap closed, and what its log is good for.

A policy gives the probability of each offer for a batch of customers, sees what was shown and converted, and goes on.
`Layered` is the product's own way: the online layer that learns its priors, drawn by SquareCB with a uniform slice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import lightgbm
import numpy as np

from models.online_layer import Lessons, OnlineLayer, Priors
from training.boosting import SAME_BITS, binning
from training.off_policy import estimates, weights_of
from training.world.contextual import BATCH, Bools, ContextualWorld, Floats, Ints
from training.world.response import sigmoid

START = -3.5
"""Log-odds before anything is known: 3% convert."""
EXPLORATION, EVEN = 8.0, 0.02
TUNED_EVERY = 5
"""Batches after which the layer's priors are learnt anew."""
TREES = {
    "objective": "binary", "learning_rate": 0.1, "min_data_in_leaf": 40, "lambda_l2": 10.0, "feature_fraction": 0.7,
    "max_bin": 63, **SAME_BITS, "seed": 1,
}  # fmt: skip


class Policy(Protocol):
    """Chooses for a batch, and learns from what came of it."""

    def probabilities(self, customers: Floats) -> Floats:
        """(n, offers), rows sum to 1, of customers (n, 10)."""
        ...

    def learn(self, customers: Floats, shown: Ints, converted: Bools, propensity: Floats) -> None: ...


@dataclass(frozen=True, slots=True)
class Run:
    """What a policy reached. `closed`: over all showings; `late`: over the last fifth. `snips_*`: SNIPS of the log over
    the truth, for showing anything (`uniform`) and for the policy's own favourites at the time (`greedy`); None for a
    policy that draws nothing. `effective`: the effective number of showings behind `snips_uniform`.
    """

    closed: float
    late: float
    snips_uniform: float | None
    snips_greedy: float | None
    effective: float


def run(world: ContextualWorld, policy: Policy, batch: int = BATCH) -> Run:
    """Every customer once, a batch at a time; outcomes of a batch are known before the next."""
    random = np.random.default_rng([world.seed, 103])
    m = len(world.offers)
    told: list[tuple[Ints, Ints, Bools, Floats, Ints]] = []
    for visitors in world.visits(batch):
        customers = world.customers[visitors]
        chances = policy.probabilities(customers)
        rows = np.arange(len(visitors))
        drawn = (chances.cumsum(axis=1) > random.random((len(rows), 1))).argmax(axis=1)
        shown = np.where(chances[rows, drawn] > 0, drawn, chances.argmax(axis=1))
        converted = world.outcomes(visitors, shown)
        policy.learn(customers, shown, converted, chances[rows, shown])
        told.append((visitors, shown, converted, chances[rows, shown], chances.argmax(axis=1)))
    people, shown, converted, propensity, favourite = (np.concatenate(part) for part in zip(*told, strict=True))
    last = len(people) * 4 // 5
    closed, late = world.closed(people, shown), world.closed(people[last:], shown[last:])
    if float(propensity.min()) >= 1.0:
        return Run(closed, late, None, None, 0.0)
    even, effective = _snips(np.full(len(people), 1 / m), propensity, converted)
    own, _ = _snips((shown == favourite).astype(np.float64), propensity, converted)
    truly = float(world.truth[people, favourite].mean())
    return Run(closed, late, even / world.uniform, own / truly, effective)


def _snips(target: Floats, propensity: Floats, converted: Bools) -> tuple[float, float]:
    who = np.arange(len(target))
    w, diagnostics = weights_of(target, propensity, who)
    nothing = np.zeros(len(target))
    found = {one.name: one.value for one in estimates(w, converted.astype(np.float64), nothing, nothing, who)}
    return found["SNIPS"], diagnostics.effective


def squarecb(values: Floats, exploration: float, even: float) -> Floats:
    """As `service/decisions/policy.py` has it (gaps as shares of the range), with a uniform slice of `even`."""
    n, m = values.shape
    best, rows = values.argmax(axis=1), np.arange(n)
    gap = values.max(axis=1, keepdims=True) - values
    span = np.maximum(gap.max(axis=1, keepdims=True), 1e-12)
    chances = even / m + (1 - even) / (m * (1 + exploration * gap / span))
    chances[rows, best] = 0.0
    chances[rows, best] = 1.0 - chances.sum(axis=1)
    return np.asarray(chances, np.float64)


def greedy(values: Floats, epsilon: float) -> Floats:
    """The best with 1 - epsilon, and all with equal shares of epsilon."""
    n, m = values.shape
    chances = np.full((n, m), epsilon / m)
    chances[np.arange(n), values.argmax(axis=1)] += 1.0 - epsilon
    return chances


class Layered:
    """The product's online layer from nothing: no trained model below it, and SquareCB as the service draws by it.

    Exploration calms down with what was learnt (`service/decisions/policy.py`, `calmed`): after each `calms_after`
    outcomes gaps count once more by what they counted at first; 0: it stays.
    """

    def __init__(self, offers: Floats, calms_after: float = 50_000.0) -> None:
        self._offers, self._calms_after = offers, calms_after
        self._names = [f"offer-{number}" for number in range(len(offers))]
        self._priors = _priors(offers.shape[1])
        self._layer = OnlineLayer.new(self._priors.shared, self._priors.own)
        self._batches = 0

    def probabilities(self, customers: Floats) -> Floats:
        own, weights = bend(customers), self._layer.weights
        width = own.shape[1]
        crossed = weights.shared[width:].reshape(width - 1, -1) @ self._offers.T
        residual = (own @ weights.shared[:width])[:, None] + own[:, 1:] @ crossed + own @ weights.own_of(self._names).T
        calm = 1 + self._layer.seen / self._calms_after if self._calms_after else 1.0
        return squarecb(sigmoid(START + residual), EXPLORATION * calm, EVEN)

    def learn(self, customers: Floats, shown: Ints, converted: Bools, propensity: Floats) -> None:
        own, n = bend(customers), len(customers)
        crossed = (own[:, 1:, None] * self._offers[shown][:, None, :]).reshape(n, -1)
        names = [self._names[offer] for offer in shown.tolist()]
        labels = converted.astype(np.float64)
        lessons = Lessons(np.column_stack([own, crossed]), own, names, np.full(n, START), labels, np.ones(n))
        self._layer = self._layer.learn(lessons)
        self._batches += 1
        if self._batches % TUNED_EVERY == 0:
            self._layer = self._layer.tuned(self._priors)


def bend(customers: Floats) -> Floats:
    """(n, 1 + 54): a one, the ten numbers, each of the normal ones bent twice, and their products two by two.

    Many things saturate, or matter at both ends, and some only together.
    """
    numbers = customers[:, :8]
    left, right = np.triu_indices(8, 1)
    saturated, either = np.tanh(1.5 * numbers) - 0.7 * numbers, np.abs(numbers) - 0.8
    one = np.ones((len(customers), 1))
    return np.column_stack([one, customers, saturated, either, numbers[:, left] * numbers[:, right]])


def _priors(goods: int) -> Priors:
    """First precisions and groups, for offers of so many numbers: what bends counts less than the number, what two do
    together least; each of the customer's inputs is learnt for itself.
    """
    kinds = np.repeat([0, 1, 2], [10, 16, 28])
    main, own, crossed = (np.array(of)[kinds] for of in ((10.0, 10.0, 30.0), (30.0, 60.0, 200.0), (10.0, 20.0, 100.0)))
    each = np.arange(len(kinds))
    shared = np.concatenate([[0.1], main, np.repeat(crossed, goods)])
    groups = np.concatenate([[-1], each, len(each) + np.repeat(each, goods)])
    return Priors(shared, np.concatenate([[1.0], own]), groups, np.concatenate([[-1], each]))


class GreedyTrees:
    """LightGBM fitted anew on the whole log every `refit` batches, explored by epsilon-greedy."""

    def __init__(self, offers: Floats, epsilon: float = 0.1, refit: int = 2) -> None:
        self._offers, self._epsilon, self._refit = offers, epsilon, refit
        self._trees: lightgbm.Booster | None = None
        self._log: list[tuple[Floats, Bools]] = []

    def probabilities(self, customers: Floats) -> Floats:
        shape = len(customers), len(self._offers)
        if self._trees is None:
            return np.full(shape, 1 / shape[1])
        return greedy(_raw(self._trees, pairs(customers, self._offers)).reshape(shape), self._epsilon)

    def learn(self, customers: Floats, shown: Ints, converted: Bools, propensity: Floats) -> None:
        self._log.append((pairs(customers, self._offers, shown), converted))
        if len(self._log) % self._refit == 0:
            rows, labels = (np.concatenate(part) for part in zip(*self._log, strict=True))
            if labels.any():
                self._trees = fit_trees(rows, labels, {"num_leaves": 8}, 60)


class LinUcb:
    """A ridge regression an offer, and the highest upper bound (Li et al. 2010, algorithm 1). It draws nothing."""

    def __init__(self, offers: Floats, alpha: float = 0.05) -> None:
        self._alpha, self._offers = alpha, len(offers)
        self._a: Floats | None = None
        self._b = np.zeros((len(offers), 0))

    def probabilities(self, customers: Floats) -> Floats:
        x = np.column_stack([np.ones(len(customers)), customers])
        a = self._precision(x.shape[1])
        mean = np.linalg.solve(a, self._b[:, :, None])[:, :, 0]
        width = np.sqrt(np.einsum("nd,mde,ne->nm", x, np.linalg.inv(a), x))
        return greedy(x @ mean.T + self._alpha * width, 0.0)

    def learn(self, customers: Floats, shown: Ints, converted: Bools, propensity: Floats) -> None:
        x = np.column_stack([np.ones(len(customers)), customers])
        a = self._precision(x.shape[1])
        for offer in np.unique(shown).tolist():
            here = x[shown == offer]
            a[offer] += here.T @ here
            self._b[offer] += here.T @ converted[shown == offer]

    def _precision(self, width: int) -> Floats:
        if self._a is None:
            self._a = np.repeat(np.eye(width)[None], self._offers, axis=0)
            self._b = np.zeros((self._offers, width))
        return self._a


POLICIES: dict[str, Callable[[Floats], Policy]] = {
    "online layer, SquareCB": Layered,
    "the same, exploring alike all the time": lambda offers: Layered(offers, calms_after=0),
    "LightGBM, epsilon-greedy": GreedyTrees,
    "LinUCB": LinUcb,
}


def compare(
    seeds: Sequence[int], policies: dict[str, Callable[[Floats], Policy]], customers: int
) -> dict[str, list[Run]]:
    """Each policy in the world of each seed."""
    found: dict[str, list[Run]] = {name: [] for name in policies}
    for seed in seeds:
        world = ContextualWorld.draw(seed, customers)
        for name, make in policies.items():
            found[name].append(run(world, make(world.offers)))
    return found


def pairs(customers: Floats, offers: Floats, shown: Ints | None = None) -> Floats:
    """Customer, offer and the offer's number: of every pair, customer by customer, or of what each was shown."""
    n, m = len(customers), len(offers)
    if shown is not None:
        return np.column_stack([customers, offers[shown], shown])
    return np.column_stack([np.repeat(customers, m, axis=0), np.tile(offers, (n, 1)), np.tile(np.arange(m), n)])


def fit_trees(rows: Floats, labels: Bools, parameters: dict[str, object], rounds: int) -> lightgbm.Booster:
    """Small, regularized trees."""
    data = lightgbm.Dataset(rows, labels.astype(np.float64), params=binning(TREES))
    return lightgbm.train({**TREES, **parameters}, data, rounds)


def _raw(trees: lightgbm.Booster, rows: Floats) -> Floats:
    return np.asarray(trees.predict(rows, raw_score=True, num_threads=1), np.float64)

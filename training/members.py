"""The parts of a propensity model, fitted: boosted trees, logistic regression, and how they are mixed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import lightgbm
import numpy as np
import numpy.typing as npt

from models.calibration import Calibration, fit_calibration, logistic_regression, sigmoid
from models.linear import Codes, Linear, squeeze
from training.metrics import log_losses

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROUNDS = (20, 40, 80, 130, 200, 280)  # stages at which the number of trees may stop
RIDGES = (30.0, 300.0, 2000.0)
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)  # the trees' share
EVEN = MIXES.index(0.5)
TOLERANCE = 0.003  # relative log loss that an uneven mix must gain: less is chance
HALF_LIFE_DAYS = 180.0
BEYOND = 0.9  # of later rows outside of what was known: what is learnt from dates is extrapolated
TREE_PARAMETERS: dict[str, object] = {
    "objective": "binary",
    "learning_rate": 0.04,
    "num_leaves": 7,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "max_bin": 63,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 11,
    "verbose": -1,
}
FEW_ROWS = 15_000
SMALL_TREES: dict[str, object] = {"learning_rate": 0.03, "num_leaves": 4, "min_data_in_leaf": 100}


@dataclass(frozen=True, slots=True)
class Members:
    """Fitted parts. `booster` holds all stages, `linear` one regression a ridge, `baseline` sees one feature only."""

    booster: lightgbm.Booster
    linear: tuple[Linear, ...]
    baseline: Linear


@dataclass(frozen=True, slots=True)
class FoldScores:
    """Raw scores of one fold's test rows (`rows` are their places), from parts trained before its cut.

    `trees` is (variants, stages, n), `linear` (variants, ridges, n), `baseline` (n,), all log-odds; `members` are the
    parts, one set a variant. `rivals` are the probabilities (n,) that others give, by name. `outside` is the share of
    rows whose date is told by values outside of those learnt from.
    """

    test: datetime
    rows: Ints
    labels: Floats
    trees: Floats
    linear: Floats
    baseline: Floats
    members: tuple[Members, ...]
    rivals: Mapping[str, Floats] = field(default_factory=dict)
    outside: float = 0.0


@dataclass(frozen=True, slots=True)
class Recipe:
    """How parts become a probability: of one variant of the features, trees of ROUNDS[stage] rounds, the regression
    with RIDGES[ridge], the trees' share `mix`, and a calibration.

    `trees_alone` and `linear_alone` are the stage and ridge with which the parts do best as rivals, on all features.
    """

    stage: int = 2
    ridge: int = 1
    mix: float = 0.5
    calibration: Calibration = field(default_factory=Calibration)
    variant: int = 0
    trees_alone: int = 2
    linear_alone: int = 1

    @property
    def rounds(self) -> int:
        return ROUNDS[self.stage]

    def raw(self, scores: FoldScores) -> Floats:
        """Uncalibrated probabilities, shape (n,)."""
        trees, linear = scores.trees[self.variant, self.stage], scores.linear[self.variant, self.ridge]
        return sigmoid(self.mix * trees + (1 - self.mix) * linear)

    def apply(self, scores: FoldScores) -> Floats:
        return self.calibration.apply(self.raw(scores))


def fit_members(
    rows: Floats,
    labels: Floats,
    weights: Floats,
    baseline: int,
    categories: Sequence[int] = (),
    tuned: Mapping[str, object] | None = None,
) -> Members:
    """All parts on rows (n, features) with 0/1 labels (n,); `baseline` is the plain feature's place, `categories` the
    places of features that hold codes. `tuned` replaces some of LightGBM's parameters."""
    parameters = tree_parameters(len(rows)) | dict(tuned or {})
    binning = {"max_bin": 63, "verbose": -1, "min_data_in_leaf": parameters["min_data_in_leaf"]}
    data = lightgbm.Dataset(rows, labels, weight=weights, categorical_feature=list(categories), params=binning)
    booster = lightgbm.train(parameters, data, num_boost_round=ROUNDS[-1])
    plain = fit_linear(rows[:, [baseline]], labels, weights, (1.0,))
    return Members(booster, fit_linear(rows, labels, weights, RIDGES, categories), plain[0])


def tree_parameters(rows: int) -> dict[str, object]:
    """LightGBM's parameters for so many rows: few rows get smaller trees and smaller steps, for defaults overfit."""
    return TREE_PARAMETERS if rows >= FEW_ROWS else TREE_PARAMETERS | SMALL_TREES


def fit_linear(
    rows: Floats, labels: Floats, weights: Floats, ridges: Sequence[float], categories: Sequence[int] = ()
) -> tuple[Linear, ...]:
    """Logistic regressions, one a ridge, on squeezed and standardized features with flags for missing values.

    `categories` are the places of features that hold codes: each code has a standardized flag of its own.
    """
    absent = np.isnan(rows)
    known = (~absent) * weights[:, None]
    mass = np.maximum(known.sum(axis=0), 1e-12)
    squeezed = squeeze(np.where(absent, 0.0, rows))
    center = (squeezed * known).sum(axis=0) / mass
    scale = np.sqrt(((squeezed - center) ** 2 * known).sum(axis=0) / mass)
    scale[scale < 1e-9] = 1.0
    standard = np.where(absent, 0.0, (squeezed - center) / scale)
    standard[:, list(categories)] = 0.0
    flagged = np.flatnonzero(absent.any(axis=0))
    flags = [_flags(rows[:, place], weights, place) for place in categories]
    design, width = np.hstack([standard, absent[:, flagged], *(one.design for one in flags)]), rows.shape[1]
    found: list[Linear] = []
    theta: tuple[float, ...] | None = None
    for ridge in ridges:
        theta = logistic_regression(design, labels, weights, ridge, theta)
        missing = np.zeros(width)
        missing[flagged] = theta[width : width + len(flagged)]
        codes, at = {}, width + len(flagged)
        for one in flags:
            codes[one.place] = one.codes(np.array(theta[at : at + len(one.values)]))
            at += len(one.values)
        found.append(Linear(center, scale, np.array(theta[:width]), missing, theta[-1], codes))
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Flags:
    """The standardized flags (n, k) of a feature's codes `values` (k,)."""

    place: int
    values: Floats
    share: Floats
    spread: Floats
    design: Floats

    def codes(self, theta: Floats) -> Codes:
        """The effect of each code. Over all customers they sum to nothing, which is what an unseen code gets."""
        return Codes(self.values, theta / self.spread - float((theta * self.share / self.spread).sum()))


def _flags(codes: Floats, weights: Floats, place: int) -> _Flags:
    known = ~np.isnan(codes)
    values = np.unique(codes[known]) if known.any() else np.zeros(1)
    marks = codes[:, None] == values
    mass = max(float(weights[known].sum()), 1e-12)
    share = (marks * weights[:, None]).sum(axis=0) / mass
    spread = np.sqrt(np.maximum(share * (1 - share), 1e-6))
    return _Flags(place, values, share, spread, np.where(known[:, None], (marks - share) / spread, 0.0))


def score_fold(
    members: Sequence[Members],
    test: datetime,
    places: Ints,
    rows: Floats,
    labels: Floats,
    baseline: int,
    rivals: Mapping[str, Floats] | None = None,
    outside: float = 0.0,
) -> FoldScores:
    """Every part's raw scores on a fold's test rows (n, features); `members` hold one set of parts a variant."""

    def stages(one: Members) -> Floats:
        return np.array([one.booster.predict(rows, raw_score=True, num_iteration=n, num_threads=1) for n in ROUNDS])

    trees = np.array([stages(one) for one in members])
    linear = np.array([[part.raw_score(rows) for part in one.linear] for one in members])
    plain = members[0].baseline.raw_score(rows[:, [baseline]])
    return FoldScores(test, places, labels, trees, linear, plain, tuple(members), rivals or {}, outside)


def choose(folds: Sequence[FoldScores], customers: Ints, horizon: timedelta) -> Recipe:
    """The recipe with the least log loss on these folds' outcomes, newer ones weighing more.

    The mix nearest to even halves is taken unless another is clearly better. `customers` (all rows,) are integer
    codes: with a single fold a customer's rows stay together when calibrations are compared.
    """
    if not folds:
        return Recipe()
    pooled = _Pooled.of(folds)
    plain = pooled.best(_variant(folds))
    raw = np.concatenate([plain.raw(fold) for fold in folds])
    groups = customers[np.concatenate([fold.rows for fold in folds])]
    times = np.concatenate([np.full(len(fold.labels), fold.test.timestamp()) for fold in folds])
    embargo = horizon.total_seconds()
    calibration = fit_calibration(raw, pooled.labels, pooled.weights, groups, times=times, embargo=embargo)
    return replace(plain, calibration=calibration)


def blended_loss(folds: Sequence[FoldScores]) -> float:
    """The least weighted log loss that a blend of the first variant's parts has on these folds."""
    pooled = _Pooled.of(folds)
    return pooled.loss(pooled.best(0), folds)


def _variant(folds: Sequence[FoldScores]) -> int:
    """The variant with the least loss; the last, more careful one where later folds lie outside of what was known.

    There the first extrapolates, and a gain is luck.
    """
    careful = len(folds[0].trees) - 1
    if not careful:
        return 0
    newest = max(fold.test for fold in folds)
    if np.average([fold.outside for fold in folds], weights=[recency(fold.test, newest) for fold in folds]) >= BEYOND:
        return careful
    pooled = _Pooled.of(folds)
    return min((careful, 0), key=lambda variant: pooled.loss(pooled.best(variant), folds))


@dataclass(frozen=True, slots=True)
class _Pooled:
    """The outcomes and scores of several folds, side by side."""

    labels: Floats
    weights: Floats
    trees: Floats
    linear: Floats

    @classmethod
    def of(cls, folds: Sequence[FoldScores]) -> _Pooled:
        newest = max(fold.test for fold in folds)
        return cls(
            np.concatenate([fold.labels for fold in folds]),
            np.concatenate([np.full(len(fold.labels), recency(fold.test, newest)) for fold in folds]),
            np.concatenate([fold.trees for fold in folds], axis=2),
            np.concatenate([fold.linear for fold in folds], axis=2),
        )

    def loss(self, recipe: Recipe, folds: Sequence[FoldScores]) -> float:
        """The weighted log loss of a recipe on the same folds."""
        raw = np.concatenate([recipe.raw(fold) for fold in folds])
        return float(np.average(log_losses(self.labels, raw), weights=self.weights))

    def best(self, variant: int) -> Recipe:
        """For each mix the best stage and ridge, then the mix."""
        found = [self._least(variant, mix) for mix in MIXES]
        limit = min(loss for loss, _, _ in found) * (1 + TOLERANCE)
        near = [place for place, (loss, _, _) in enumerate(found) if loss <= limit]
        place = min(near, key=lambda place: (abs(place - EVEN), found[place][0]))
        _, stage, ridge = found[place]
        trees, linear = (found[-1], found[0]) if variant == 0 else (self._least(0, 1.0), self._least(0, 0.0))
        return Recipe(stage, ridge, MIXES[place], variant=variant, trees_alone=trees[1], linear_alone=linear[2])

    def _least(self, variant: int, mix: float) -> tuple[float, int, int]:
        trees, linear = self.trees[variant], self.linear[variant]
        return min(
            (float(self.weights @ log_losses(self.labels, sigmoid(mix * trees[s] + (1 - mix) * linear[r]))), s, r)
            for s in (range(len(ROUNDS)) if mix else range(1))
            for r in (range(len(RIDGES)) if mix < 1 else range(1))
        )


def recency(cut: datetime, newest: datetime) -> float:
    """The weight of a cut: half for every half-life that it lies back, because customers change."""
    return float(0.5 ** ((newest - cut).days / HALF_LIFE_DAYS))

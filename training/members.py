"""The parts of a propensity model, fitted: boosted trees, logistic regression, and how they are mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

import lightgbm
import numpy as np
import numpy.typing as npt

from models.calibration import Calibration, fit_calibration, logistic_regression, sigmoid
from models.propensity import Linear, squeeze
from training.metrics import log_losses

Floats = npt.NDArray[np.float64]

ROUNDS = (15, 30, 60, 100, 150, 220)  # stages at which the number of trees may stop
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)  # the trees' share
RIDGE = 20.0
HALF_LIFE_DAYS = 180.0
TREE_PARAMETERS: dict[str, object] = {
    "objective": "binary",
    "learning_rate": 0.05,
    "num_leaves": 7,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "min_gain_to_split": 0.0,
    "max_bin": 63,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 11,
    "verbose": -1,
}


@dataclass(frozen=True, slots=True)
class Members:
    """Fitted parts. `booster` holds all stages; `baseline` sees only the plain baseline's feature."""

    booster: lightgbm.Booster
    linear: Linear
    baseline: Linear


@dataclass(frozen=True, slots=True)
class FoldScores:
    """Raw scores of one fold's test rows (`rows` are their places), from parts trained before its cut.

    `trees` is (stages, n), `linear` and `baseline` (n,), all log-odds.
    """

    test: datetime
    rows: npt.NDArray[np.int64]
    labels: Floats
    trees: Floats
    linear: Floats
    baseline: Floats
    members: Members


@dataclass(frozen=True, slots=True)
class Recipe:
    """How parts become a probability: trees of `ROUNDS[stage]` rounds, their share `mix`, and a calibration."""

    stage: int = 3
    mix: float = 0.5
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def rounds(self) -> int:
        return ROUNDS[self.stage]

    def raw(self, scores: FoldScores) -> Floats:
        return self.mix * scores.trees[self.stage] + (1 - self.mix) * scores.linear

    def apply(self, scores: FoldScores) -> Floats:
        return self.calibration.apply(sigmoid(self.raw(scores)))


def fit_members(rows: Floats, labels: Floats, weights: Floats, baseline: int) -> Members:
    """All parts on rows (n, features) with 0/1 labels (n,); `baseline` is the plain feature's place."""
    data = lightgbm.Dataset(rows, labels, weight=weights, params={"max_bin": 63, "verbose": -1})
    booster = lightgbm.train(TREE_PARAMETERS, data, num_boost_round=ROUNDS[-1])
    plain = fit_linear(rows[:, [baseline]], labels, weights, ridge=1.0)
    return Members(booster, fit_linear(rows, labels, weights), plain)


def fit_linear(rows: Floats, labels: Floats, weights: Floats, ridge: float = RIDGE) -> Linear:
    """Logistic regression with a ridge, on squeezed and standardized features with flags for missing values."""
    absent = np.isnan(rows)
    known = (~absent) * weights[:, None]
    mass = np.maximum(known.sum(axis=0), 1e-12)
    squeezed = squeeze(np.where(absent, 0.0, rows))
    center = (squeezed * known).sum(axis=0) / mass
    scale = np.sqrt(((squeezed - center) ** 2 * known).sum(axis=0) / mass)
    scale[scale < 1e-9] = 1.0
    standard = np.where(absent, 0.0, (squeezed - center) / scale)
    flagged = np.flatnonzero(absent.any(axis=0))
    *slopes, intercept = logistic_regression(np.hstack([standard, absent[:, flagged]]), labels, weights, ridge)
    missing = np.zeros(rows.shape[1])
    missing[flagged] = slopes[rows.shape[1] :]
    return Linear(center, scale, np.array(slopes[: rows.shape[1]]), missing, float(intercept))


def score_fold(members: Members, test: datetime, places: npt.NDArray[np.int64], rows: Floats, labels: Floats,
               baseline: int) -> FoldScores:  # fmt: skip
    """Every part's raw scores on a fold's test rows."""
    stages = [members.booster.predict(rows, raw_score=True, num_iteration=n, num_threads=1) for n in ROUNDS]
    linear, plain = members.linear.raw_score(rows), members.baseline.raw_score(rows[:, [baseline]])
    return FoldScores(test, places, labels, np.array(stages), linear, plain, members)


def choose(folds: Sequence[FoldScores], customers: npt.NDArray[np.int64]) -> Recipe:
    """The recipe with the least log loss on these folds' outcomes, newer ones weighing more.

    `customers` (all rows,) are integer codes: a customer's rows stay together when calibrations are compared.
    """
    if not folds:
        return Recipe()
    newest = max(fold.test for fold in folds)
    labels = np.concatenate([fold.labels for fold in folds])
    weights = np.concatenate([np.full(len(fold.labels), recency(fold.test, newest)) for fold in folds])
    trees = np.concatenate([fold.trees for fold in folds], axis=1)
    linear = np.concatenate([fold.linear for fold in folds])
    losses = {
        (stage, mix): np.average(log_losses(labels, sigmoid(mix * trees[stage] + (1 - mix) * linear)), weights=weights)
        for stage in range(len(ROUNDS))
        for mix in MIXES
    }
    stage, mix = min(losses, key=lambda key: losses[key])
    raw = sigmoid(mix * trees[stage] + (1 - mix) * linear)
    groups = customers[np.concatenate([fold.rows for fold in folds])]
    return Recipe(stage, mix, fit_calibration(raw, labels, weights, groups))


def recency(cut: datetime, newest: datetime) -> float:
    """The weight of a cut: half for every half-life that it lies back, because customers change."""
    return float(0.5 ** ((newest - cut).days / HALF_LIFE_DAYS))

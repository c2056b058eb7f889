"""The parts of a propensity model, fitted: boosted trees, logistic regression, and how they are mixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import lightgbm
import numpy as np
import numpy.typing as npt

from models.calibration import Calibration, fit_calibration, logistic_regression, sigmoid
from models.linear import Linear, squeeze
from training.metrics import log_losses

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROUNDS = (20, 40, 80, 130, 200, 280)  # stages at which the number of trees may stop
RIDGES = (30.0, 300.0, 2000.0)
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)  # the trees' share
EVEN = MIXES.index(0.5)
TOLERANCE = 0.003  # relative log loss that an uneven mix must gain: less is chance
HALF_LIFE_DAYS = 180.0
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

    `trees` is (stages, n), `linear` (ridges, n), `baseline` (n,), all log-odds.
    """

    test: datetime
    rows: Ints
    labels: Floats
    trees: Floats
    linear: Floats
    baseline: Floats
    members: Members


@dataclass(frozen=True, slots=True)
class Recipe:
    """How parts become a probability: trees of ROUNDS[stage] rounds, the regression with RIDGES[ridge], the trees'
    share `mix`, and a calibration."""

    stage: int = 2
    ridge: int = 1
    mix: float = 0.5
    calibration: Calibration = field(default_factory=Calibration)

    @property
    def rounds(self) -> int:
        return ROUNDS[self.stage]

    def raw(self, scores: FoldScores) -> Floats:
        """Uncalibrated probabilities, shape (n,)."""
        return sigmoid(self.mix * scores.trees[self.stage] + (1 - self.mix) * scores.linear[self.ridge])

    def apply(self, scores: FoldScores) -> Floats:
        return self.calibration.apply(self.raw(scores))


def fit_members(rows: Floats, labels: Floats, weights: Floats, baseline: int) -> Members:
    """All parts on rows (n, features) with 0/1 labels (n,); `baseline` is the plain feature's place."""
    data = lightgbm.Dataset(rows, labels, weight=weights, params={"max_bin": 63, "verbose": -1})
    booster = lightgbm.train(tree_parameters(len(rows)), data, num_boost_round=ROUNDS[-1])
    plain = fit_linear(rows[:, [baseline]], labels, weights, (1.0,))
    return Members(booster, fit_linear(rows, labels, weights, RIDGES), plain[0])


def tree_parameters(rows: int) -> dict[str, object]:
    """LightGBM's parameters for so many rows: few rows get smaller trees and smaller steps, for defaults overfit."""
    return TREE_PARAMETERS if rows >= FEW_ROWS else TREE_PARAMETERS | SMALL_TREES


def fit_linear(rows: Floats, labels: Floats, weights: Floats, ridges: Sequence[float]) -> tuple[Linear, ...]:
    """Logistic regressions, one a ridge, on squeezed and standardized features with flags for missing values."""
    absent = np.isnan(rows)
    known = (~absent) * weights[:, None]
    mass = np.maximum(known.sum(axis=0), 1e-12)
    squeezed = squeeze(np.where(absent, 0.0, rows))
    center = (squeezed * known).sum(axis=0) / mass
    scale = np.sqrt(((squeezed - center) ** 2 * known).sum(axis=0) / mass)
    scale[scale < 1e-9] = 1.0
    standard = np.where(absent, 0.0, (squeezed - center) / scale)
    flagged = np.flatnonzero(absent.any(axis=0))
    design, width = np.hstack([standard, absent[:, flagged]]), rows.shape[1]
    found: list[Linear] = []
    theta: tuple[float, ...] | None = None
    for ridge in ridges:
        theta = logistic_regression(design, labels, weights, ridge, theta)
        missing = np.zeros(width)
        missing[flagged] = theta[width:-1]
        found.append(Linear(center, scale, np.array(theta[:width]), missing, theta[-1]))
    return tuple(found)


def score_fold(
    members: Members, test: datetime, places: Ints, rows: Floats, labels: Floats, baseline: int
) -> FoldScores:
    """Every part's raw scores on a fold's test rows (n, features)."""
    stages = [members.booster.predict(rows, raw_score=True, num_iteration=n, num_threads=1) for n in ROUNDS]
    linear = np.array([part.raw_score(rows) for part in members.linear])
    plain = members.baseline.raw_score(rows[:, [baseline]])
    return FoldScores(test, places, labels, np.array(stages), linear, plain, members)


def choose(folds: Sequence[FoldScores], customers: Ints, horizon: timedelta) -> Recipe:
    """The recipe with the least log loss on these folds' outcomes, newer ones weighing more.

    The mix nearest to even halves is taken unless another is clearly better. `customers` (all rows,) are integer
    codes: with a single fold a customer's rows stay together when calibrations are compared.
    """
    if not folds:
        return Recipe()
    newest = max(fold.test for fold in folds)
    labels = np.concatenate([fold.labels for fold in folds])
    weights = np.concatenate([np.full(len(fold.labels), recency(fold.test, newest)) for fold in folds])
    trees = np.concatenate([fold.trees for fold in folds], axis=1)
    linear = np.concatenate([fold.linear for fold in folds], axis=1)
    stage, ridge, mix = _least(trees, linear, labels, weights)
    plain = Recipe(stage, ridge, mix)
    raw = np.concatenate([plain.raw(fold) for fold in folds])
    groups = customers[np.concatenate([fold.rows for fold in folds])]
    times = np.concatenate([np.full(len(fold.labels), fold.test.timestamp()) for fold in folds])
    embargo = horizon.total_seconds()
    calibration = fit_calibration(raw, labels, weights, groups, times=times, embargo=embargo)
    return Recipe(stage, ridge, mix, calibration)


def _least(trees: Floats, linear: Floats, labels: Floats, weights: Floats) -> tuple[int, int, float]:
    """Stage, ridge and mix: for each mix the best of the first two, then the mix."""
    best: list[tuple[float, int, int]] = []
    for mix in MIXES:
        stages = range(len(ROUNDS)) if mix else range(1)
        ridges = range(len(RIDGES)) if mix < 1 else range(1)
        losses = {
            (stage, ridge): float(weights @ log_losses(labels, sigmoid(mix * trees[stage] + (1 - mix) * linear[ridge])))
            for stage in stages
            for ridge in ridges
        }
        stage, ridge = min(losses, key=lambda pair: losses[pair])
        best.append((losses[stage, ridge], stage, ridge))
    limit = min(loss for loss, _, _ in best) * (1 + TOLERANCE)
    near = [place for place, (loss, _, _) in enumerate(best) if loss <= limit]
    place = min(near, key=lambda place: (abs(place - EVEN), best[place][0]))
    return best[place][1], best[place][2], MIXES[place]


def recency(cut: datetime, newest: datetime) -> float:
    """The weight of a cut: half for every half-life that it lies back, because customers change."""
    return float(0.5 ** ((newest - cut).days / HALF_LIFE_DAYS))

"""Ways to learn uplift from a randomized test, each giving parts of a `models.uplift.UpliftModel`.

Of rows x, outcome y and treatment t with share e = P(t = 1):

- two models: P(y | x, t = 1) - P(y | x, t = 0), two logistic regressions
- transformed outcome (Athey and Imbens 2015): regress y t / e - y (1 - t) / (1 - e)
- X-learner (Künzel et al. 2019, eq. 8-9): regress y - m0 on the treated and m1 - y on the others; mean by e
- DR-learner (Kennedy 2023, alg. 1): regress m1 - m0 + t (y - m1) / e - (1 - t) (y - m0) / (1 - e), with m0 and m1
  fitted on other rows
- one rule: the DR-learner with a single split of a single input, as a person would write it

m0 and m1 are logistic regressions. Regressions are by ridge or by LightGBM.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import lightgbm
import numpy as np
import numpy.typing as npt

from models.calibration import sigmoid
from models.linear import Linear, squeeze
from models.uplift import Part
from training.boosting import SAME_BITS, binning
from training.members import fit_linear

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Parts = tuple[Part, ...]

RIDGE_AN_INPUT = 3.0  # the more inputs, the less each is believed
ROUNDS = 60
TREES: dict[str, object] = {
    **SAME_BITS,
    "objective": "regression",
    "learning_rate": 0.03,
    "num_leaves": 4,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "max_bin": 63,
}
STUMP: dict[str, object] = {"learning_rate": 1.0, "num_leaves": 2, "feature_fraction": 1.0, "bagging_fraction": 1.0}
NUISANCE_FOLDS = 3


@dataclass(frozen=True)
class Trial:
    """A randomized trial. `rows` (n, inputs); `outcome` and `treated` 0/1 (n,); `customers` integer codes (n,)."""

    rows: Floats
    outcome: Floats
    treated: Floats
    customers: Ints

    def take(self, places: npt.NDArray[np.bool_]) -> Trial:
        return Trial(self.rows[places], self.outcome[places], self.treated[places], self.customers[places])

    @property
    def share(self) -> float:
        """The treated share, e."""
        return float(self.treated.mean())

    @cached_property
    def before(self) -> Linear:
        """Log-odds of the outcome without treatment."""
        return self._response(self.treated == 0)

    @cached_property
    def after(self) -> Linear:
        """Log-odds of the outcome with treatment."""
        return self._response(self.treated == 1)

    @cached_property
    def whatever(self) -> Linear:
        """Log-odds of the outcome, treated or not."""
        return self._response(np.ones(len(self.outcome), bool))

    def _response(self, mine: npt.NDArray[np.bool_]) -> Linear:
        ridge = RIDGE_AN_INPUT * self.rows.shape[1]
        return fit_linear(self.rows[mine], self.outcome[mine], np.ones(int(mine.sum())), (ridge,))[0]

    @cached_property
    def pseudo_outcomes(self) -> Floats:
        """The DR-learner's target, (n,): its mean over a group that x alone sets estimates the group's uplift."""
        y, t, e = self.outcome, self.treated, self.share
        before, after = np.zeros(len(y)), np.zeros(len(y))
        folds = divide(self, NUISANCE_FOLDS, seed=1)
        for fold in range(NUISANCE_FOLDS):
            held, rest = folds == fold, self.take(folds != fold)
            before[held] = sigmoid(rest.before.raw_score(self.rows[held]))
            after[held] = sigmoid(rest.after.raw_score(self.rows[held]))
        return np.asarray(after - before + t * (y - after) / e - (1 - t) * (y - before) / (1 - e), np.float64)


def two_models(trial: Trial) -> Parts:
    """Two logistic regressions, one an arm."""
    return (Part(1.0, trial.after, logistic=True), Part(-1.0, trial.before, logistic=True))


def transformed_outcome(trial: Trial) -> Parts:
    y, t, e = trial.outcome, trial.treated, trial.share
    return (_trees(trial.rows, y * t / e - y * (1 - t) / (1 - e)),)


def x_learner(regress: Callable[[Floats, Floats], Part]) -> Callable[[Trial], Parts]:
    """The X-learner with `regress` as its second stage."""

    def learn(trial: Trial) -> Parts:
        treated = trial.treated == 1
        before, after = (sigmoid(model.raw_score(trial.rows)) for model in (trial.before, trial.after))
        of_treated = regress(trial.rows[treated], (trial.outcome - before)[treated])
        of_others = regress(trial.rows[~treated], (after - trial.outcome)[~treated])
        return (_weighted(of_treated, 1 - trial.share), _weighted(of_others, trial.share))

    return learn


def dr_learner(regress: Callable[[Floats, Floats], Part]) -> Callable[[Trial], Parts]:
    """The DR-learner with `regress` as its second stage."""
    return lambda trial: (regress(trial.rows, trial.pseudo_outcomes),)


def divide(trial: Trial, folds: int, seed: int) -> Ints:
    """A fold for each row, (n,): a customer's rows stay together, each fold has its part of either arm's outcomes."""
    random = np.random.default_rng(seed)
    codes, first, of_row = np.unique(trial.customers, return_index=True, return_inverse=True)
    any_outcome = np.bincount(of_row, trial.outcome, len(codes)) > 0
    order = np.lexsort([random.random(len(codes)), any_outcome, trial.treated[first]])
    fold = np.empty(len(codes), np.int64)
    fold[order] = np.arange(len(codes)) % folds
    return np.asarray(fold[of_row], np.int64)


def _weighted(part: Part, weight: float) -> Part:
    return Part(weight, part.linear, part.tree_text)


def _trees(rows: Floats, target: Floats, **other: object) -> Part:
    least = max(20, len(rows) // 80)
    data = lightgbm.Dataset(rows, target, params=binning(TREES))
    rounds = 1 if other else ROUNDS
    booster = lightgbm.train(TREES | {"min_data_in_leaf": least} | other, data, num_boost_round=rounds)
    return Part(1.0, tree_text=booster.model_to_string())


def _rule(rows: Floats, target: Floats) -> Part:
    return _trees(rows, target, **STUMP)


def _ridge(rows: Floats, target: Floats) -> Part:
    """Ridge regression on squeezed and standardized inputs with flags for missing values."""
    absent = np.isnan(rows)
    known = np.maximum((~absent).sum(axis=0), 1)
    squeezed = np.where(absent, 0.0, squeeze(np.where(absent, 0.0, rows)))
    center = squeezed.sum(axis=0) / known
    scale = np.sqrt((np.where(absent, 0.0, squeezed - center) ** 2).sum(axis=0) / known)
    scale[scale < 1e-9] = 1.0
    design = np.hstack([np.where(absent, 0.0, (squeezed - center) / scale), absent])
    mean, level = design.mean(axis=0), float(target.mean())
    centred = design - mean
    penalty = RIDGE_AN_INPUT * rows.shape[1] * np.eye(design.shape[1])
    theta = np.linalg.solve(centred.T @ centred + penalty, centred.T @ (target - level))
    width = rows.shape[1]
    linear = Linear(center, scale, theta[:width], theta[width:], level - float(mean @ theta))
    return Part(1.0, linear)


LEARNERS: Mapping[str, Callable[[Trial], Parts]] = {
    "two logistic models": two_models,
    "linear DR-learner": dr_learner(_ridge),
    "linear X-learner": x_learner(_ridge),
    "LightGBM X-learner": x_learner(_trees),
    "LightGBM DR-learner": dr_learner(_trees),
    "LightGBM on the transformed outcome": transformed_outcome,
}
"""Plainest first: of learners that are as good as each other the first is taken."""
ONE_RULE = dr_learner(_rule)

"""The parts of a propensity model, fitted: boosted trees, logistic regression, and how they are mixed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import lightgbm
import numpy as np
import numpy.typing as npt

from models.bgnbd import BgNbd, Buying
from models.calibration import Calibration, fit_calibration, logistic_regression, sigmoid
from models.linear import Codes, Linear, squeeze
from training.boosting import SAME_BITS, binning
from training.metrics import log_losses

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

ROUNDS = (20, 40, 80, 130, 200, 280)  # stages at which the number of trees may stop
RIDGES = (30.0, 300.0, 2000.0)
MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)  # the trees' share
EVEN = MIXES.index(0.5)
BUYING = (0.0, 0.25, 0.5)  # the share of BG/NBD, where the goal is an order
QUARTER = BUYING.index(0.25)
TOLERANCE = 0.003  # relative log loss that another recipe than the plain one must gain: less is chance
HALF_LIFE_DAYS = 180.0
TREE_PARAMETERS: dict[str, object] = {
    **SAME_BITS,
    "objective": "binary",
    "learning_rate": 0.04,
    "num_leaves": 7,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "max_bin": 63,
}
FEW_ROWS = 15_000
SMALL_TREES: dict[str, object] = {"learning_rate": 0.03, "num_leaves": 4, "min_data_in_leaf": 100}


@dataclass(frozen=True, slots=True)
class Members:
    """Fitted parts. `booster` holds all stages, `linear` one regression a ridge, `baseline` sees one feature only.

    `buying` is BG/NBD, where the goal is an order and it could be fitted.
    """

    booster: lightgbm.Booster
    linear: tuple[Linear, ...]
    baseline: Linear
    buying: Buying | None = None


@dataclass(frozen=True, slots=True)
class FoldScores:
    """Raw scores of one fold's test rows (`rows` are their places), from parts trained before its cut.

    `trees` is (stages, n), `linear` (ridges, n), `baseline` and `buying` (n,), all log-odds. `rivals` are the
    probabilities (n,) that others give, by name.
    """

    test: datetime
    rows: Ints
    labels: Floats
    trees: Floats
    linear: Floats
    baseline: Floats
    members: Members
    rivals: Mapping[str, Floats] = field(default_factory=dict)
    buying: Floats | None = None


@dataclass(frozen=True, slots=True)
class Recipe:
    """How parts become a probability: trees of ROUNDS[stage] rounds, the regression with RIDGES[ridge], the trees'
    share MIXES[share] of these two, the share BUYING[buying] of BG/NBD, where there is one, and a calibration.

    `trees_alone` and `linear_alone` are the stage and ridge with which the parts do best as rivals.
    """

    stage: int = 2
    ridge: int = 1
    share: int = EVEN
    calibration: Calibration = field(default_factory=Calibration)
    trees_alone: int = 2
    linear_alone: int = 1
    buying: int = 0

    @property
    def rounds(self) -> int:
        return ROUNDS[self.stage]

    @property
    def mix(self) -> float:
        """The trees' share."""
        return MIXES[self.share]

    def raw(self, scores: FoldScores) -> Floats:
        """Uncalibrated probabilities, shape (n,)."""
        both = self.mix * scores.trees[self.stage] + (1 - self.mix) * scores.linear[self.ridge]
        share = BUYING[self.buying]
        return sigmoid(both if scores.buying is None else (1 - share) * both + share * scores.buying)

    def apply(self, scores: FoldScores) -> Floats:
        return self.calibration.apply(self.raw(scores))


def fit_members(
    rows: Floats,
    labels: Floats,
    weights: Floats,
    baseline: int,
    categories: Sequence[int] = (),
    tuned: Mapping[str, object] | None = None,
    directions: Mapping[int, int] | None = None,
) -> Members:
    """All parts on rows (n, features) with 0/1 labels (n,); `baseline` is the plain feature's place, `categories` the
    places of features that hold codes. `tuned` replaces some of LightGBM's parameters. `directions` are, by the place
    of a feature, 1 where the score may only rise with it and -1 where it may only fall."""
    parameters = tree_parameters(len(rows)) | dict(tuned or {})
    if directions:
        parameters["monotone_constraints"] = [directions.get(place, 0) for place in range(rows.shape[1])]
    bins = binning(parameters) | {"min_data_in_leaf": parameters["min_data_in_leaf"]}
    data = lightgbm.Dataset(rows, labels, weight=weights, categorical_feature=list(categories), params=bins)
    booster = lightgbm.train(parameters, data, num_boost_round=ROUNDS[-1])
    plain = fit_linear(rows[:, [baseline]], labels, weights, (1.0,))
    return Members(booster, fit_linear(rows, labels, weights, RIDGES, categories, directions), plain[0])


def fit_buying(
    model: BgNbd, told: Floats, labels: Floats, weights: Floats, horizon_days: float, happens: bool
) -> Buying:
    """BG/NBD as a part, its level and slope fitted to the labels (n,) of rows of bgnbd.INPUTS `told` (n, 5)."""
    plain = Buying(model, horizon_days, happens)
    score = plain.raw_score(told)
    slope, level = logistic_regression(score[:, None], labels, weights, 1.0)
    center = float(np.average(level + slope * score, weights=weights))
    return replace(plain, level=level, slope=slope, center=center)


def tree_parameters(rows: int) -> dict[str, object]:
    """LightGBM's parameters for so many rows: few rows get smaller trees and smaller steps, for defaults overfit."""
    return TREE_PARAMETERS if rows >= FEW_ROWS else TREE_PARAMETERS | SMALL_TREES


def fit_linear(
    rows: Floats,
    labels: Floats,
    weights: Floats,
    ridges: Sequence[float],
    categories: Sequence[int] = (),
    directions: Mapping[int, int] | None = None,
) -> tuple[Linear, ...]:
    """Logistic regressions, one a ridge, on squeezed and standardized features with flags for missing values.

    `categories` are the places of features that hold codes: each code has a standardized flag of its own. A feature
    whose weight would go against its direction (see `fit_members`) has none, and the others are fitted without it.
    """
    silent: set[int] = set()
    while True:
        found = _fit_linear(rows, labels, weights, ridges, categories, silent)
        wrong = {place for place, sign in (directions or {}).items() for one in found if one.weight[place] * sign < 0}
        if not wrong:
            return found
        silent |= wrong


def _fit_linear(
    rows: Floats,
    labels: Floats,
    weights: Floats,
    ridges: Sequence[float],
    categories: Sequence[int],
    silent: Collection[int],
) -> tuple[Linear, ...]:
    """See `fit_linear`; the `silent` features have no weight."""
    absent = np.isnan(rows)
    known = (~absent) * weights[:, None]
    mass = np.maximum(known.sum(axis=0), 1e-12)
    squeezed = squeeze(np.where(absent, 0.0, rows))
    center = (squeezed * known).sum(axis=0) / mass
    scale = np.sqrt(((squeezed - center) ** 2 * known).sum(axis=0) / mass)
    scale[scale < 1e-9] = 1.0
    standard = np.where(absent, 0.0, (squeezed - center) / scale)
    standard[:, [*categories, *sorted(silent)]] = 0.0
    flagged = np.flatnonzero(absent.any(axis=0))
    flags = [_flags(rows[:, place], weights, place) for place in categories]
    design, width = np.hstack([standard, absent[:, flagged], *(one.design for one in flags)]), rows.shape[1]
    found: list[Linear] = []
    theta: tuple[float, ...] | None = None
    for ridge in ridges:
        theta = logistic_regression(design, labels, weights, ridge, theta)
        weight = np.array(theta[:width])
        weight[sorted(silent)] = 0.0
        missing = np.zeros(width)
        missing[flagged] = theta[width : width + len(flagged)]
        codes, at = {}, width + len(flagged)
        for one in flags:
            codes[one.place] = one.codes(np.array(theta[at : at + len(one.values)]))
            at += len(one.values)
        found.append(Linear(center, scale, weight, missing, theta[-1], codes))
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
    members: Members,
    test: datetime,
    places: Ints,
    rows: Floats,
    labels: Floats,
    baseline: int,
    rivals: Mapping[str, Floats] | None = None,
    told: Floats | None = None,
) -> FoldScores:
    """Every part's raw scores on a fold's test rows (n, features); `told` are the same rows' bgnbd.INPUTS (n, 5)."""
    stages = [members.booster.predict(rows, raw_score=True, num_iteration=n, num_threads=1) for n in ROUNDS]
    linear = np.array([part.raw_score(rows) for part in members.linear])
    plain = members.baseline.raw_score(rows[:, [baseline]])
    buying = None if members.buying is None or told is None else members.buying.raw_score(told)
    return FoldScores(test, places, labels, np.array(stages), linear, plain, members, rivals or {}, buying)


def choose(folds: Sequence[FoldScores], customers: Ints, horizon: timedelta) -> Recipe:
    """The recipe with the least log loss on these folds' outcomes, newer ones weighing more.

    Of those that are as good within TOLERANCE, the one nearest to the plain `Recipe()`. `customers` (all rows,) are
    integer codes: with a single fold a customer's rows stay together when calibrations are compared.
    """
    if not folds:
        return Recipe()
    labels, weights = _outcomes(folds)
    alone = _losses(folds, 0)
    third = QUARTER if all(fold.buying is not None for fold in folds) else 0
    plain = _nearest(_losses(folds, third) if third else alone)
    plain = replace(plain, trees_alone=int(alone[:, 0, -1].argmin()), linear_alone=int(alone[0, :, 0].argmin()))
    plain = replace(plain, buying=_share_of_buying(folds, plain) if third else 0)
    raw = np.concatenate([plain.raw(fold) for fold in folds])
    groups = customers[np.concatenate([fold.rows for fold in folds])]
    times = np.concatenate([np.full(len(fold.labels), fold.test.timestamp()) for fold in folds])
    embargo = horizon.total_seconds()
    calibration = fit_calibration(raw, labels, weights, groups, times=times, embargo=embargo)
    return replace(plain, calibration=calibration)


def least_loss(folds: Sequence[FoldScores]) -> float:
    """The least weighted log loss that a blend of trees and regression has on these folds."""
    return float(_losses(folds, 0).min())


def _outcomes(folds: Sequence[FoldScores]) -> tuple[Floats, Floats]:
    """Labels and weights of all rows."""
    newest = max(fold.test for fold in folds)
    weights = [np.full(len(fold.labels), recency(fold.test, newest)) for fold in folds]
    return np.concatenate([fold.labels for fold in folds]), np.concatenate(weights)


def _losses(folds: Sequence[FoldScores], buying: int) -> Floats:
    """Weighted log loss by stage, ridge and mix, (stages, ridges, mixes), beside a share of BG/NBD."""
    labels, weights = _outcomes(folds)
    found = np.empty((len(ROUNDS), len(RIDGES), len(MIXES)))
    for stage, ridge, share in np.ndindex(found.shape):
        recipe = Recipe(stage, ridge, share, buying=buying)
        raw = np.concatenate([recipe.raw(fold) for fold in folds])
        found[stage, ridge, share] = np.average(log_losses(labels, raw), weights=weights)
    return found


def _nearest(losses: Floats) -> Recipe:
    """Of the recipes within TOLERANCE of the least loss the one in fewest steps from `Recipe()`: what gains less is
    chance, and following it makes models of one week unlike those of the next."""
    start = Recipe()
    places = np.argwhere(losses <= losses.min() * (1 + TOLERANCE))

    def steps(place: Ints) -> tuple[float, float]:
        stage, ridge, share = place
        far = abs(stage - start.stage) / 2 + abs(ridge - start.ridge) + abs(share - start.share)
        return float(far), float(losses[stage, ridge, share])

    stage, ridge, share = (int(value) for value in min(places, key=steps))
    return Recipe(stage, ridge, share)


def _share_of_buying(folds: Sequence[FoldScores], recipe: Recipe) -> int:
    """The share of BG/NBD: a quarter, unless another loses less by more than two standard errors.

    What a closed form knows of buying holds also where few outcomes could show it yet; and it learns while the log
    grows, so that early folds speak against it more than later ones do.
    """
    labels, weights = _outcomes(folds)
    losses = [
        log_losses(labels, np.concatenate([replace(recipe, buying=share).raw(fold) for fold in folds]))
        for share in range(len(BUYING))
    ]
    chosen, least = QUARTER, 0.0
    for share, loss in enumerate(losses):
        difference = loss - losses[QUARTER]
        gain = -float(np.average(difference, weights=weights))
        error = float(np.sqrt((weights**2 * (difference + gain) ** 2).sum()) / weights.sum())
        if gain > max(2 * error, least):
            chosen, least = share, gain
    return chosen


def recency(cut: datetime, newest: datetime) -> float:
    """The weight of a cut: half for every half-life that it lies back, because customers change."""
    return float(0.5 ** ((newest - cut).days / HALF_LIFE_DAYS))

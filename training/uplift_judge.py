"""Chooses an uplift learner and says honestly whether it finds anything: every score comes from other customers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.calibration import sigmoid
from models.linear import Linear
from models.uplift import Part
from training.metrics import Estimate, auc
from training.qini import qini, qini_estimate, qini_spread
from training.uplift_learners import LEARNERS, ONE_RULE, Ints, Parts, Trial, divide

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Learner = Callable[[Trial], Parts]

FOLDS, INNER_FOLDS = 5, 3
SPLITS = 3
LEVEL = 0.975  # a split's interval; the median over splits then holds with at least 95% (see `judge`)
SPREAD_DRAWS = 60
NOT_RANDOM = 4.0  # standard errors by which treatment may be told from the inputs
RULE, RESPONSE = "one rule", "response"


@dataclass(frozen=True, slots=True)
class Balance:
    """Whether treatment can be told from the inputs: held-out AUC, and its distance from 1/2 in standard errors."""

    auc: float
    errors: float

    @property
    def random(self) -> bool:
        return self.errors < NOT_RANDOM


@dataclass(frozen=True)
class Judgement:
    """What a test says. Arrays are (n,), in the order of the trial's rows, means over splits of held-out scores.

    `qini` is that of the whole procedure, the choice of the learner included; `learners` and `rivals` are each one's
    alone; `picked` counts how often each learner was chosen in a fold.
    """

    chosen: str
    qini: Estimate
    learners: dict[str, Estimate]
    rivals: dict[str, Estimate]
    picked: dict[str, int]
    rank: Floats
    uplift: Floats
    untreated: Floats

    @property
    def usable(self) -> bool:
        """Whether customers differ in what contact does to them, beyond chance."""
        return self.qini.low > 0


def balance(trial: Trial) -> Balance:
    """Cross-fitted AUC of treatment by inputs; its standard error under chance by Hanley and McNeil 1982."""
    asked = Trial(trial.rows, trial.treated, trial.treated, trial.customers)
    score = _held_out(divide(asked, INNER_FOLDS, 3), lambda rest: asked.take(rest).whatever, trial.rows)
    treated = float(trial.treated.sum())
    others = len(trial.treated) - treated
    error = float(np.sqrt((treated + others + 1) / (12 * treated * others)))
    found = auc(trial.treated, score)
    return Balance(found, (found - 0.5) / error)


def judge(trial: Trial, progress: Callable[[float], None] = lambda share: None) -> Judgement:
    """Nested cross-fitting, SPLITS times over.

    In each fold the learner is chosen by the others alone and fitted to them. As the split is chance too, value and
    interval are medians over splits, each interval at 97.5%: the median's then holds with at least 95% (Chernozhukov,
    Demirer, Duflo and Fernández-Val 2018, "Generic machine learning inference", section 4).
    """
    whole: list[_Scores] = []
    alone: dict[str, list[_Scores]] = {}
    picked: Counter[str] = Counter()
    for split in range(SPLITS):
        folds = divide(trial, FOLDS, split)
        chosen = [choose(trial.take(folds != fold), split) for fold in range(FOLDS)]
        picked.update(chosen)
        whole.append(_scores(trial, folds, [LEARNERS[name] for name in chosen]))
        progress((split + 0.6) / SPLITS)
        for name, learner in {**LEARNERS, RULE: ONE_RULE, RESPONSE: _as_parts}.items():
            alone.setdefault(name, []).append(_scores(trial, folds, [learner] * FOLDS))
        progress((split + 1) / SPLITS)
    untreated = [_held_out(divide(trial, FOLDS, split), lambda rest: trial.take(rest).before, trial.rows)
                 for split in range(SPLITS)]  # fmt: skip
    measured = {name: _median(trial, found) for name, found in alone.items()}
    rivals = {name: measured.pop(name) for name in (RULE, RESPONSE)}
    return Judgement(
        choose(trial, 0),
        _median(trial, whole),
        measured,
        rivals,
        dict(picked.most_common()),
        np.mean([one.rank for one in whole], axis=0),
        np.clip(np.mean([one.raw for one in whole], axis=0), -1, 1),
        sigmoid(np.mean(untreated, axis=0)),
    )


def choose(trial: Trial, seed: int) -> str:
    """The plainest learner whose cross-fitted Qini is within one standard error of the best one's.

    The rule is Breiman et al.'s (1984, section 3.4.3); the error is of the difference, by paired bootstrap.
    """
    folds = divide(trial, INNER_FOLDS, 100 + seed)
    ranks = {name: _scores(trial, folds, [learner] * INNER_FOLDS).rank for name, learner in LEARNERS.items()}
    found = {name: qini(trial.outcome, rank, trial.treated) for name, rank in ranks.items()}
    best = max(found, key=lambda name: found[name])
    for name, rank in ranks.items():
        if name == best:
            break
        error = qini_spread(trial.outcome, ranks[best], rank, trial.treated, trial.customers, SPREAD_DRAWS)
        if found[best] - found[name] <= error:
            return name
    return best


def apply(parts: Sequence[Part], rows: Floats) -> Floats:
    """The sum of the parts, (n,)."""
    return np.asarray(sum((part.apply(rows) for part in parts), np.zeros(len(rows))), np.float64)


@dataclass(frozen=True, slots=True)
class _Scores:
    """Held-out uplift, and its rank within the fold in (0, 1]: folds' models differ in level, which is no merit."""

    raw: Floats
    rank: Floats


def _scores(trial: Trial, folds: Ints, learners: Sequence[Learner]) -> _Scores:
    raw, rank = np.zeros(len(folds)), np.zeros(len(folds))
    for fold, learner in enumerate(learners):
        held = folds == fold
        raw[held] = apply(learner(trial.take(~held)), trial.rows[held])
        rank[held] = _ranked(raw[held])
    return _Scores(raw, rank)


def _ranked(score: Floats) -> Floats:
    """The share of rows at or below each, the middle one among equals."""
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    middle = np.cumsum(count) - (count - 1) / 2
    return np.asarray(middle[place] / len(score), np.float64)


def _held_out(folds: Ints, fit: Callable[[Bools], Linear], rows: Floats) -> Floats:
    score = np.zeros(len(folds))
    for fold in np.unique(folds):
        held = folds == fold
        score[held] = fit(~held).raw_score(rows[held])
    return score


def _as_parts(trial: Trial) -> Parts:
    """Ordering by how likely the outcome is without contact: treating by response."""
    return (Part(1.0, trial.before, logistic=True),)


def _median(trial: Trial, found: Sequence[_Scores]) -> Estimate:
    each = [
        qini_estimate(trial.outcome, one.rank, trial.treated, trial.customers, level=LEVEL, seed=seed)
        for seed, one in enumerate(found)
    ]
    ends = np.median([[one.value, one.low, one.high] for one in each], axis=0)
    return Estimate(float(ends[0]), float(ends[1]), float(ends[2]))

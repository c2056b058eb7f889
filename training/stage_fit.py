"""Learns which offers move whom (`models.offer_stages`) from the log, over the scores of a fitted head. Pure.

Most offers move everybody alike, a few do not: weights have a Cauchy prior, under which small ones go to 0 and large
ones stay as they are (Gelman et al. 2008, "A weakly informative default prior distribution for logistic and other
regression models", fitted by EM: given a weight and how sure it is, the prior is a Gaussian of that size).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from models.calibration import sigmoid
from models.offer_stages import STAGE, OfferStages, stage
from training.head_lessons import Lessons

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
SCALE = 0.03
"""The prior's scale in log-odds for a standard deviation of a number: it shuts what is not clearly there."""
SHARED = 30.0
"""Precision of what stages do for all offers together, which the head knows already."""
ROUNDS, STEPS = 12, 3


def fit_stages(
    values: Floats, known: Bools, offers: Sequence[str], score: Floats, lessons: Lessons, certainty: float
) -> OfferStages:
    """`values` (n, CUSTOMER), whether anything was `known` (n,), and `offers` of the lessons' rows, to which the head
    gives the log-odds `score` (n,); each row counts as `certainty` outcomes. Strangers are as usual.
    """
    told = stage(values)
    theirs = told[known] if known.any() else told
    usual, spread = theirs.mean(axis=0), theirs.std(axis=0)
    spread = np.where(spread > 1e-9, spread, 1.0)
    inputs, weight = np.where(known[:, None], (told - usual) / spread, 0.0), lessons.weights * certainty
    every = np.column_stack([np.ones(len(inputs)), inputs])
    shared = np.zeros(every.shape[1])
    for _ in range(STEPS):
        shared, _ = _step(every, lessons.soft, weight, score, shared, np.full(len(shared), SHARED))
    base, names = score + every @ shared, np.array(offers)
    weights = {}
    for offer in np.unique(names).tolist():
        here = names == offer
        weights[offer] = _sparse(inputs[here], lessons.soft[here], weight[here], base[here]) / spread
    return OfferStages(usual, weights)


def _sparse(inputs: Floats, labels: Floats, weight: Floats, score: Floats) -> Floats:
    """Weights (STAGE,) of one offer."""
    found, precision = np.zeros(len(STAGE)), np.full(len(STAGE), SCALE**-2)
    for _ in range(ROUNDS):
        for _ in range(STEPS):
            found, covariance = _step(inputs, labels, weight, score, found, precision)
        precision = 2 / (SCALE**2 + found**2 + np.diag(covariance))
    return found


def _step(
    inputs: Floats, labels: Floats, weight: Floats, score: Floats, found: Floats, precision: Floats
) -> tuple[Floats, Floats]:
    """One of Newton's, at most 1 long in each weight, and the covariance of the weights before it."""
    chance = sigmoid(score + inputs @ found)
    curve = (inputs * (weight * chance * (1 - chance))[:, None]).T @ inputs + np.diag(precision)
    covariance = np.asarray(np.linalg.inv(curve), np.float64)
    step = covariance @ (inputs.T @ (weight * (labels - chance)) - precision * found)
    return found + np.clip(step, -1.0, 1.0), covariance

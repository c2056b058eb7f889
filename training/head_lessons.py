"""What the response head learns from, and how far apart its scores lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import lightgbm
import numpy as np
import numpy.typing as npt
import polars as pl

from features.channels import CHANNELS
from models.calibration import logistic_regression, sigmoid
from models.linear import Linear
from models.response import ResponseHead
from models.trees import parse_trees
from training.clicks import softened

Floats = npt.NDArray[np.float64]
NARROWEST, WIDEST = 0.5, 2.0
"""Between these is the slope that scores are multiplied by."""
FEW = 50.0
"""Later conversions at which their slope counts by half; the rest is 1."""
STEPS = 50


@dataclass(frozen=True, slots=True)
class Lessons:
    """Rows of the log: `inputs` (n, SEEN), `labels` (n,) 0 or 1 and, as clicks tell them, `soft` (n,) in [0, 1];
    `weights` (n,), 1 on average.
    """

    inputs: Floats
    labels: Floats
    soft: Floats
    weights: Floats

    @classmethod
    def of(cls, rows: pl.DataFrame, inputs: Floats) -> Self:
        """`rows`: as `exposures.SHOWN`, in the order of `inputs`."""
        labels, weights = rows["label"].to_numpy(), rows["weight"].to_numpy()
        offers = rows["offer_id"].rank("dense").to_numpy().astype(np.int64)
        channels = _places(rows["channel"].to_list())
        soft = softened(labels, rows["clicked"].to_numpy(), offers, channels)
        return cls(inputs, labels, soft, weights / weights.mean())


def _places(channels: Sequence[str]) -> npt.NDArray[np.int64]:
    place = {name: number for number, name in enumerate(CHANNELS)}
    return np.array([place[name] for name in channels], np.int64)


def slope(raw: Floats, later: Lessons) -> float:
    """What scores (n,) of rows that were not learnt from are to be multiplied by so that they hold there.

    Learning in small steps and from softened labels leaves scores too close together.
    """
    conversions = float(later.labels.sum())
    if not 0 < conversions < len(raw):
        return 1.0
    found = logistic_regression(raw[:, None], later.labels, later.weights)[0]
    return 1.0 + (float(np.clip(found, NARROWEST, WIDEST)) - 1.0) * conversions / (conversions + FEW)


def certainty(chances: Floats, lessons: Lessons) -> float:
    """As how many outcomes a label counts, at least 1: the variance of outcomes with these `chances` (n,) over that of
    the labels that were learnt from. Those that clicks soften have less luck in them.
    """
    spread = float(np.average((lessons.soft - chances) ** 2, weights=lessons.weights))
    return max(float(np.average(chances * (1 - chances), weights=lessons.weights)) / spread, 1.0)


def stretched(head: ResponseHead, times: float, lessons: Lessons, more: Floats | float = 0.0) -> ResponseHead:
    """The linear or tree head with scores multiplied, and shifted so that as many convert as did in `lessons`, where
    `more` (n,) is to be added to the scores.
    """
    raw = times * head.raw_score(lessons.inputs)
    shift = _shift(raw + more, lessons)
    if head.linear is not None:
        return replace(head, linear=_stretched_linear(head.linear, times, shift))
    text = _stretched_trees(head.tree_text, times, shift)
    return replace(head, trees=parse_trees(text), tree_text=text)


def _shift(raw: Floats, lessons: Lessons) -> float:
    """What makes the mean probability that of the labels, by Newton's method."""
    shift, wanted = 0.0, float(np.average(lessons.labels, weights=lessons.weights))
    for _ in range(STEPS):
        chance = sigmoid(raw + shift)
        miss = wanted - float(np.average(chance, weights=lessons.weights))
        step = miss / max(float(np.average(chance * (1 - chance), weights=lessons.weights)), 1e-9)
        shift += float(np.clip(step, -1.0, 1.0))
        if abs(step) < 1e-9:
            break
    return shift


def _stretched_linear(linear: Linear, times: float, shift: float) -> Linear:
    weight, missing = times * linear.weight, times * linear.missing
    return replace(linear, weight=weight, missing=missing, intercept=times * linear.intercept + shift)


def _stretched_trees(text: str, times: float, shift: float) -> str:
    """The same trees with other leaves, so that serving does nothing more for it; the first tree takes the shift."""
    booster = lightgbm.Booster(model_str=text)
    for number, tree in enumerate(booster.dump_model()["tree_info"]):
        for leaf in range(tree["num_leaves"]):
            value = times * booster.get_leaf_output(number, leaf) + (shift if number == 0 else 0.0)
            booster.set_leaf_output(number, leaf, value)
    return booster.model_to_string()

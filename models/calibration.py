"""Maps a model's scores to probabilities that hold: Platt, beta or isotonic, chosen by held-out log loss.

Platt (1999): logit(q) = a logit(p) + c. Beta (Kull, Silva Filho, Flach 2017, eq. 6): logit(q) = a ln p - b ln(1-p) + c
with a, b >= 0. Isotonic: pool adjacent violators, joined at block centres (Oron and Flournoy 2017), so that it stays
monotone without wide steps that would tie customers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Parts = list[tuple[Bools, Bools]]  # (learnt from, held out)

EPSILON = 1e-6
ISOTONIC_FROM = 3000  # rows; below it isotonic overfits
FOLDS = 5
SEPARATE_PERIODS = 3


@dataclass(frozen=True, slots=True)
class Calibration:
    """A monotone map of probabilities. `kind`: identity, platt, beta or isotonic.

    `coefficients` are (a, b, c) of the beta form (Platt is a = b); `x`, `y` are isotonic's knots on the logit scale
    and in probability.
    """

    kind: str = "identity"
    coefficients: tuple[float, float, float] = (1.0, 1.0, 0.0)
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()

    def apply(self, probability: npt.ArrayLike) -> Floats:
        """Calibrated probabilities in (0, 1), same shape."""
        p = clip(probability)
        if self.kind == "identity":
            return p
        if self.kind == "isotonic":
            return clip(np.interp(logit(p), self.x, self.y))
        a, b, c = self.coefficients
        return clip(sigmoid(a * np.log(p) - b * np.log1p(-p) + c))

    def to_dict(self) -> dict[str, Any]:
        return {"kind": self.kind, "coefficients": list(self.coefficients), "x": list(self.x), "y": list(self.y)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Calibration:
        a, b, c = raw["coefficients"]
        return cls(raw["kind"], (a, b, c), tuple(raw["x"]), tuple(raw["y"]))


def clip(probability: npt.ArrayLike) -> Floats:
    return np.asarray(np.minimum(np.maximum(np.asarray(probability, np.float64), EPSILON), 1 - EPSILON), np.float64)


def logit(probability: npt.ArrayLike) -> Floats:
    p = clip(probability)
    return np.asarray(np.log(p) - np.log1p(-p), np.float64)


def sigmoid(score: npt.ArrayLike) -> Floats:
    """1 / (1 + exp(-score)) without overflow."""
    z = np.asarray(score, np.float64)
    small = np.exp(-np.abs(z))
    return np.asarray(np.maximum(small, z >= 0) / (1.0 + small), np.float64)


def fit_calibration(
    probability: npt.ArrayLike,
    labels: npt.ArrayLike,
    weights: npt.ArrayLike | None = None,
    groups: npt.ArrayLike | None = None,
    times: npt.ArrayLike | None = None,
    embargo: float = 0.0,
) -> Calibration:
    """The best kind by held-out log loss on out-of-fold scores `probability` (n,) and 0/1 `labels` (n,).

    With `times` (numbers, one a row, e.g. cuts' timestamps) each time is held out against those at least `embargo`
    before it, so that only what lasts is learnt; where these speak for fewer than three separate periods of that
    length, the identity is kept: parts fitted by log loss are better than a correction that was chance. Without
    times, five folds are held out, between which `groups` (integers, e.g. customers) are never divided.
    Kinds are the identity, Platt and beta, from 3,000 rows on also isotonic. Another kind than the identity is
    chosen only where its gain over the parts held out exceeds the gain's standard error, and holds for the last of
    them. With one class only, the identity is returned: there is nothing to learn.
    """
    p, y = clip(probability), np.asarray(labels, np.float64)
    w = np.ones_like(y) if weights is None else np.asarray(weights, np.float64)
    if len(np.unique(y)) < 2:
        return Calibration()
    kinds = ("identity", "platt", "beta", *(("isotonic",) if len(y) >= ISOTONIC_FROM else ()))
    if times is not None and len(np.unique(np.asarray(times))) > 1:
        parts = _forward(np.asarray(times, np.float64), embargo)
        if not parts:
            return Calibration()
    else:
        parts = _divided(len(y), groups)
    losses = {kind: _held_out_losses(kind, p, y, w, parts) for kind in kinds}
    means = {kind: float(loss.mean()) for kind, loss in losses.items()}
    best = min(means, key=lambda kind: means[kind])
    if not _lasting(losses["identity"] - losses[best]):
        best = "identity"
    return fit_kind(best, p, y, w)


def fit_kind(kind: str, p: Floats, y: Floats, w: Floats) -> Calibration:
    """The calibration of one kind fitted to all rows."""
    if kind == "identity":
        return Calibration()
    if kind == "isotonic":
        return _isotonic(p, y, w)
    return _platt(p, y, w) if kind == "platt" else _beta(p, y, w)


def _forward(times: Floats, embargo: float) -> Parts:
    """Each time against what was known then; none where the times held out are too few separate periods."""
    held = [time for time in np.unique(times)[1:] if (times <= time - embargo).any()]
    if embargo > 0 and (not held or 1 + (held[-1] - held[0]) / embargo < SEPARATE_PERIODS):
        return []
    return [((times <= time - embargo) & (times < time), times == time) for time in held]


def _divided(n: int, groups: npt.ArrayLike | None) -> Parts:
    fold = (np.arange(n) if groups is None else np.asarray(groups)) % FOLDS
    return [(fold != k, fold == k) for k in np.unique(fold)]


def _held_out_losses(kind: str, p: Floats, y: Floats, w: Floats, parts: Parts) -> Floats:
    """Mean log loss on each held-out part."""
    losses = []
    for rest, held in parts:
        fitted = fit_kind(kind, p[rest], y[rest], w[rest]) if len(np.unique(y[rest])) == 2 else Calibration()
        q = fitted.apply(p[held])
        losses.append(-np.average(np.log(np.where(y[held] > 0, q, 1 - q)), weights=w[held]))
    return np.array(losses)


def _lasting(gains: Floats) -> bool:
    """Whether the mean gain exceeds its standard error and the last (newest) part gained too: correcting what was
    chance, or is over, harms."""
    error = gains.std(ddof=1) / np.sqrt(len(gains)) if len(gains) > 1 else 0.0
    return bool(gains.mean() > error and gains[-1] > 0)


def _platt(p: Floats, y: Floats, w: Floats) -> Calibration:
    (a, c) = logistic_regression(logit(p)[:, None], y, w)
    if a < 0:  # the score ranks the wrong way: only the base rate is left
        return Calibration("platt", (0.0, 0.0, _base(y, w)))
    return Calibration("platt", (a, a, c))


def _beta(p: Floats, y: Floats, w: Floats) -> Calibration:
    log_p, log_q = np.log(p), -np.log1p(-p)
    a, b, c = logistic_regression(np.column_stack([log_p, log_q]), y, w)
    if a < 0:
        a = 0.0
        b, c = logistic_regression(log_q[:, None], y, w)
    elif b < 0:
        b = 0.0
        a, c = logistic_regression(log_p[:, None], y, w)
    if a < 0 or b < 0:
        return Calibration("beta", (0.0, 0.0, _base(y, w)))
    return Calibration("beta", (a, b, c))


def _base(y: Floats, w: Floats) -> float:
    return float(logit(np.average(y, weights=w)))


def logistic_regression(
    x: Floats, y: Floats, w: Floats, ridge: float = 1e-3, start: tuple[float, ...] | None = None
) -> tuple[float, ...]:
    """Coefficients of `x` (n, k), intercept last, by Newton's method; the ridge keeps separable data finite.

    `y` are 0/1 labels or shares (n,), `w` weights (n,); `ridge` is the penalty on half the squared coefficients.
    `start` are coefficients to begin from.
    """
    design = np.column_stack([x, np.ones(len(x))])
    theta = np.zeros(design.shape[1]) if start is None else np.array(start)
    penalty = np.diag([ridge] * x.shape[1] + [1e-9])
    for _ in range(50):
        q = sigmoid(design @ theta)
        gradient = design.T @ (w * (y - q)) - penalty @ theta
        hessian = (design * (w * np.maximum(q * (1 - q), 1e-9))[:, None]).T @ design + penalty
        step = np.linalg.solve(hessian, gradient)
        theta += step * min(1.0, 5.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-7:
            break
    return tuple(float(value) for value in theta)


def _isotonic(p: Floats, y: Floats, w: Floats) -> Calibration:
    order = np.argsort(p, kind="stable")
    x, starts = np.unique(logit(p[order]), return_index=True)
    weight = np.add.reduceat(w[order], starts)
    mean = np.add.reduceat((w * y)[order], starts) / weight
    blocks: list[list[float]] = []  # mean, weight, sum of weight * x
    for value, mass, place in zip(mean.tolist(), weight.tolist(), x.tolist(), strict=True):
        blocks.append([value, mass, mass * place])
        while len(blocks) > 1 and blocks[-2][0] >= blocks[-1][0]:
            top = blocks.pop()
            below = blocks[-1]
            total = below[1] + top[1]
            blocks[-1] = [(below[0] * below[1] + top[0] * top[1]) / total, total, below[2] + top[2]]
    knots, promised = tuple(b[2] / b[1] for b in blocks), [b[0] for b in blocks]
    # An end block of one class would promise 0 or 1; half a case more keeps the promise finite. Of few rows that is
    # much: it must not pass the block beside it, or all that follow would be promised as much.
    if len(blocks) > 1 and promised[0] <= 0:
        promised[0] = min(0.5 / (blocks[0][1] + 0.5), promised[1])
    if len(blocks) > 1 and promised[-1] >= 1:
        promised[-1] = max(blocks[-1][1] / (blocks[-1][1] + 0.5), promised[-2])
    return Calibration("isotonic", x=knots, y=tuple(promised))

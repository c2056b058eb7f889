"""Figures for probabilities, with bootstrap intervals; many resamples at once as matrix work.

Every figure is a function of weighted counts in groups of equal scores, so that a resample is one row of weights.
AUC: Mann-Whitney with half of each tie. Average precision: the step-wise area (no interpolation). ECE: expected
calibration error over bins of equal mass (Naeini et al. 2015). Lift: response in the top tenth over response in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BINS = 10
DRAWS = 200
CELLS = 4_000_000  # weights held at once


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95% bootstrap interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Rows in falling order of probability, grouped where it is equal. Weights come as (draws, rows)."""

    labels: Floats
    probability: Floats
    starts: Ints

    def counts(self, weights: Floats) -> tuple[Floats, Floats]:
        """Weighted positives and all rows per group, each (draws, groups)."""
        positive = np.add.reduceat(weights * self.labels, self.starts, axis=1)
        return positive, np.add.reduceat(weights, self.starts, axis=1)


Figure = Callable[[_Sorted, Floats], Floats]


def _auc(rows: _Sorted, weights: Floats) -> Floats:
    positive, total = rows.counts(weights)
    negative = total - positive
    below = negative.sum(axis=1, keepdims=True) - np.cumsum(negative, axis=1)
    return _ratio((positive * (below + negative / 2)).sum(axis=1), positive.sum(axis=1) * negative.sum(axis=1))


def _average_precision(rows: _Sorted, weights: Floats) -> Floats:
    positive, total = rows.counts(weights)
    precision = _part(np.cumsum(positive, axis=1), np.cumsum(total, axis=1))
    return _ratio((positive * precision).sum(axis=1), positive.sum(axis=1))


def _lift(rows: _Sorted, weights: Floats) -> Floats:
    positive, total = rows.counts(weights)
    everyone = total.sum(axis=1)
    tenth = everyone[:, None] / 10
    before = np.cumsum(total, axis=1) - total
    share = _part(np.clip(tenth - before, 0, total), total)
    return _ratio((positive * share).sum(axis=1) / tenth[:, 0], positive.sum(axis=1) / everyone)


def _log_loss(rows: _Sorted, weights: Floats) -> Floats:
    return _mean(log_losses(rows.labels, rows.probability), weights)


def _brier(rows: _Sorted, weights: Floats) -> Floats:
    return _mean((rows.labels - rows.probability) ** 2, weights)


def _ece(rows: _Sorted, weights: Floats) -> Floats:
    return np.asarray(np.abs(_gaps(rows, weights)).sum(axis=1), np.float64)


def _ece_of_chance(rows: _Sorted, weights: Floats) -> Floats:
    """What resampling alone makes of the ECE: how it would vary if every promise were true."""
    return np.asarray(np.abs(_gaps(rows, weights) - _gaps(rows, np.ones_like(weights[:1]))).sum(axis=1), np.float64)


def _gaps(rows: _Sorted, weights: Floats) -> Floats:
    """Observed less promised of each bin by its share of all, (draws, bins)."""
    starts = np.unique(np.linspace(0, len(rows.labels), BINS, endpoint=False).astype(np.int64))
    gap = np.add.reduceat(weights * (rows.labels - rows.probability), starts, axis=1)
    return _ratio(gap, weights.sum(axis=1, keepdims=True))


_CHANCE = "ece_of_chance"
FIGURES: Mapping[str, Figure] = {
    "auc": _auc,
    "average_precision": _average_precision,
    "log_loss": _log_loss,
    "brier": _brier,
    "ece": _ece,
    "top_decile_lift": _lift,
}


def log_losses(labels: npt.ArrayLike, probability: npt.ArrayLike) -> Floats:
    """Each row's log loss in nats, shape (n,)."""
    y, p = np.asarray(labels, np.float64), np.clip(np.asarray(probability, np.float64), 1e-12, 1 - 1e-12)
    return np.asarray(-np.log(np.where(y > 0, p, 1 - p)), np.float64)


def figure(name: str, labels: npt.ArrayLike, probability: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """One figure (see FIGURES) of 0/1 `labels` (n,) and `probability` (n,). NaN where it is not defined."""
    rows, order = _sorted(labels, probability)
    w = np.ones(len(order)) if weights is None else np.asarray(weights, np.float64)[order]
    return float(FIGURES[name](rows, w[None, :])[0])


def auc(labels: npt.ArrayLike, probability: npt.ArrayLike) -> float:
    """Area under the ROC curve; NaN with one class only."""
    return figure("auc", labels, probability)


def figures(labels: npt.ArrayLike, probability: npt.ArrayLike) -> dict[str, float]:
    """All figures without intervals."""
    rows, order = _sorted(labels, probability)
    weights = np.ones((1, len(order)))
    return {name: float(compute(rows, weights)[0]) for name, compute in FIGURES.items()}


def estimates(
    labels: npt.ArrayLike,
    probability: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, Estimate]:
    """All figures with 95% percentile intervals (the ECE: `_ece_interval`), whole `clusters` resampled."""
    rows, order = _sorted(labels, probability)
    values = figures(labels, probability)
    drawn = {**FIGURES, _CHANCE: _ece_of_chance}
    chunks: dict[str, list[Floats]] = {name: [] for name in drawn}
    for weights in resamples(len(order), clusters, draws, seed):
        for name, compute in drawn.items():
            chunks[name].append(compute(rows, weights[:, order]))
    draws_of = {name: np.concatenate(parts) for name, parts in chunks.items()}
    found = {name: _interval(values[name], draws_of[name]) for name in FIGURES}
    return found | {"ece": _ece_interval(values["ece"], draws_of["ece"], draws_of[_CHANCE])}


def calibration_points(labels: npt.ArrayLike, probability: npt.ArrayLike) -> list[tuple[float, float, int]]:
    """(promised, observed, rows) of up to BINS groups of equal size, by rising probability."""
    y, p = np.asarray(labels, np.float64), np.asarray(probability, np.float64)
    groups = [part for part in np.array_split(np.argsort(p, kind="stable"), BINS) if len(part)]
    return [(float(p[part].mean()), float(y[part].mean()), len(part)) for part in groups]


def resamples(n: int, clusters: npt.ArrayLike | None, draws: int, seed: int) -> Iterable[Floats]:
    """Bootstrap weights in blocks of (some draws, n): how often each row is drawn."""
    codes = np.arange(n) if clusters is None else np.unique(np.asarray(clusters), return_inverse=True)[1]
    return _Draws(codes.astype(np.int64), draws, seed)


@dataclass(frozen=True, slots=True)
class _Draws:
    codes: Ints
    draws: int
    seed: int

    def __iter__(self) -> Iterator[Floats]:
        random = np.random.default_rng(self.seed)
        size = int(self.codes.max(initial=-1)) + 1
        block = max(1, min(self.draws, CELLS // max(1, len(self.codes))))
        for start in range(0, self.draws, block):
            rows = min(block, self.draws - start)
            picks = random.integers(0, size, (rows, size)) + np.arange(rows)[:, None] * size
            counts = np.bincount(picks.ravel(), minlength=rows * size).reshape(rows, size)
            yield counts[:, self.codes].astype(np.float64)


def _sorted(labels: npt.ArrayLike, probability: npt.ArrayLike) -> tuple[_Sorted, Ints]:
    y, p = np.asarray(labels, np.float64), np.asarray(probability, np.float64)
    if len(y) == 0 or y.shape != p.shape:
        raise ValueError(f"labels have shape {y.shape} and probabilities {p.shape}; they must be equal and not empty")
    order = np.argsort(-p, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(p[order]) != 0])
    return _Sorted(y[order], p[order], starts), order


def _interval(value: float, draws: Floats) -> Estimate:
    known = draws[np.isfinite(draws)]
    if not len(known):
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(known, [0.025, 0.975])
    return Estimate(value, float(low), float(high))


def _ece_interval(value: float, draws: Floats, chance: Floats) -> Estimate:
    """The basic interval, which reaches to 0 unless the ECE is more than chance makes of true promises.

    Chance lifts a sum of absolute errors over the truth, and resampling lifts it as much again: percentiles may leave
    out both the truth and the figure.
    """
    low, high = map(float, np.quantile(draws, [0.025, 0.975]))
    by_chance = value <= float(np.quantile(chance, 0.975))
    below, above = max(high - value, 0.0), max(value - low, (high - low) / 2)  # where bins err alike, nothing is lifted
    return Estimate(value, 0.0 if by_chance else max(0.0, value - below), value + above)


def _mean(loss: Floats, weights: Floats) -> Floats:
    return _ratio(weights @ loss, weights.sum(axis=1))


def _part(above: Floats, below: Floats) -> Floats:
    """`above` over `below`, 0 of nothing: a resample may have none of a group, and is as good as any other."""
    return np.divide(above, below, out=np.zeros_like(below), where=below > 0)


def _ratio(above: Floats, below: Floats) -> Floats:
    """NaN where `below` is 0, and the figure is not defined."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(above / below, np.float64)

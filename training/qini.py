"""The Qini curve and coefficient, as scikit-uplift defines them (`sklift.metrics.qini_auc_score`, version 0.5.1).

With customers in falling order of predicted uplift, n_t(k) and y_t(k) treated ones and their outcomes among the first
k, n_c and y_c of the others (Radcliffe 2007, "Using control groups to target on predicted lift"):

    curve(k) = y_t(k) - y_c(k) n_t(k) / n_c(k)        0 where n_c(k) = 0; one point where scores are equal
    Qini     = (area(curve) - area(line)) / (area(best curve) - area(line))

The line joins (0, 0) and the curve's end: contacting at random. The best curve orders by y t - y (1 - t), negative
effects included (Devriendt, Guns and Verbeke 2020). Areas are by trapezoids. Rows may weigh, so that a resample is one
row of weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.metrics import Estimate, resamples

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
DRAWS = 400
GROUPS = 400  # of equal or neighbouring scores in a resample: their curve has so many points


@dataclass(frozen=True, slots=True)
class _Ordered:
    """Rows in falling order of a score, in groups of equal ones."""

    order: Ints
    starts: Ints

    def counts(self, outcome: Floats, treated: Floats, weights: Floats) -> tuple[Floats, ...]:
        """Treated, others, outcomes of the treated and of the others, for `weights` (draws, n)."""
        y, t, w = outcome[self.order], treated[self.order], weights[:, self.order]
        kinds = (t, 1 - t, t * y, (1 - t) * y)
        return tuple(np.add.reduceat(w * kind, self.starts, axis=1) for kind in kinds)

    def drawn(self, outcome: Floats, treated: Floats, draws: int, seed: int) -> tuple[Floats, ...]:
        """Counts of resamples of single rows, which is one multinomial draw each; neighbouring groups are joined."""
        size = np.diff(np.r_[self.starts, len(self.order)])
        group = np.repeat(np.arange(len(size)) * min(GROUPS, len(size)) // len(size), size)
        cell = 4 * group + 2 * treated[self.order] + outcome[self.order]
        shares = np.bincount(cell.astype(np.int64), minlength=4 * (int(group[-1]) + 1)) / len(cell)
        found = np.random.default_rng(seed).multinomial(len(cell), shares, draws).reshape(draws, -1, 4).astype(float)
        return found[:, :, 2] + found[:, :, 3], found[:, :, 0] + found[:, :, 1], found[:, :, 3], found[:, :, 1]


def qini_curve(outcome: npt.ArrayLike, uplift: npt.ArrayLike, treated: npt.ArrayLike) -> tuple[Floats, Floats]:
    """Customers contacted, best first, and the outcomes that this adds; both begin at 0.

    `outcome` and `treated` are 0/1, all three (n,).
    """
    y, u, t = _checked(outcome, uplift, treated)
    contacted, gained = _points(_ordered(u).counts(y, t, np.ones((1, len(y)))))
    return np.r_[0.0, contacted[0]], np.r_[0.0, gained[0]]


def qini(outcome: npt.ArrayLike, uplift: npt.ArrayLike, treated: npt.ArrayLike) -> float:
    """The Qini coefficient: 0 for an order by chance, 1 for the best one. NaN without both arms or any outcome."""
    y, u, t = _checked(outcome, uplift, treated)
    return float(_coefficients(_ordered(u).counts(y, t, np.ones((1, len(y)))))[0])


def qini_estimate(
    outcome: npt.ArrayLike,
    uplift: npt.ArrayLike,
    treated: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Estimate:
    """The coefficient with its percentile interval; whole `clusters` (customers) are resampled where given."""
    y, u, t = _checked(outcome, uplift, treated)
    ordered = _ordered(u)
    if clusters is None or len(np.unique(np.asarray(clusters))) == len(y):
        found = _coefficients(ordered.drawn(y, t, draws, seed))
    else:
        blocks = resamples(len(y), clusters, draws, seed)
        found = np.concatenate([_coefficients(ordered.counts(y, t, weights)) for weights in blocks])
    known = found[np.isfinite(found)]
    low, high = np.quantile(known, [(1 - level) / 2, (1 + level) / 2]) if len(known) else (np.nan, np.nan)
    return Estimate(qini(y, u, t), float(low), float(high))


def qini_spread(
    outcome: npt.ArrayLike,
    uplift: npt.ArrayLike,
    other: npt.ArrayLike,
    treated: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    draws: int = DRAWS,
) -> float:
    """The standard error of the difference between two scores' coefficients, by paired bootstrap."""
    y, u, t = _checked(outcome, uplift, treated)
    one, two = _ordered(u), _ordered(_checked(outcome, other, treated)[1])
    found = [
        _coefficients(one.counts(y, t, weights)) - _coefficients(two.counts(y, t, weights))
        for weights in resamples(len(y), clusters, draws, 0)
    ]
    return float(np.nanstd(np.concatenate(found)))


def _coefficients(counts: tuple[Floats, ...]) -> Floats:
    """The coefficient of each draw, (draws,)."""
    contacted, gained = _points(counts)
    n_t, n_c, y_t, y_c = (count.sum(axis=1) for count in counts)
    line = contacted[:, -1] * gained[:, -1] / 2
    # The best order: outcomes of the treated, everybody without an outcome, outcomes of the others.
    best = y_t * y_t / 2 + (n_t + n_c - y_t - y_c) * y_t + y_c * (y_t + gained[:, -1]) / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((_area(contacted, gained) - line) / (best - line), np.float64)


def _points(counts: tuple[Floats, ...]) -> tuple[Floats, Floats]:
    """Customers contacted and incremental outcomes after each group, both (draws, groups)."""
    n_t, n_c, y_t, y_c = (np.cumsum(count, axis=1) for count in counts)
    return n_t + n_c, y_t - y_c * np.divide(n_t, n_c, out=np.zeros_like(n_t), where=n_c > 0)


def _area(contacted: Floats, gained: Floats) -> Floats:
    """Areas from the origin by trapezoids, (draws,)."""
    width = np.diff(contacted, axis=1, prepend=0.0)
    height = gained + np.concatenate([np.zeros((len(gained), 1)), gained[:, :-1]], axis=1)
    return np.asarray((width * height).sum(axis=1) / 2, np.float64)


def _ordered(score: Floats) -> _Ordered:
    order = np.argsort(-score, kind="stable")
    return _Ordered(order, np.flatnonzero(np.r_[True, np.diff(score[order]) != 0]))


def _checked(*columns: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    y, u, t = (np.asarray(column, np.float64) for column in columns)
    if len(y) == 0 or not y.shape == u.shape == t.shape:
        raise ValueError(f"outcome, uplift and treated have shapes {y.shape}, {u.shape}, {t.shape}; they must be equal")
    if not (np.isin(y, (0, 1)).all() and np.isin(t, (0, 1)).all()):
        raise ValueError("outcome and treated must be 0 or 1")
    return y, u, t

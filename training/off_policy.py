"""What another policy would have earned, from a log whose propensities are known. Pure numpy.

Notation: decision i put action a in context x first with probability p; it earned r; the policy in question would put a
first with probability pi; q(x, a) is a model's guess of r. w = pi / p.

- IPS: mean(w r) (Horvitz and Thompson 1952); unbiased, of high variance
- SNIPS: sum(w r) / sum(w) (Swaminathan and Joachims 2015); slightly biased, steadier
- DR: mean(q(x, pi) + w (r - q(x, a))) (Dudik, Langford and Li 2011, equation 1)
- SNDR: the same with sum(w (r - q)) / sum(w) (Thomas and Brunskill 2016, weighted doubly robust, one step)

Intervals come from influence functions summed by customer, whose decisions are not independent. Responses are few and
weights uneven, so sums are skewed and normal intervals too short above: Hall's transformation (1992, "On the Removal of
Skewness by Transformation", JRSS B 54) takes the skewness out first.

Of decisions with large weights perhaps none has led to anything yet. Then the estimate is low and its measured variance
too, as if nothing could have come of them. So no variance is taken to be below what q says of it: the sum of
w^2 Var(r | x, a).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value per decision with its 95% interval."""

    name: str
    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Weights:
    """How far the log speaks for the policy. `effective` = sum(w)^2 / sum(w^2) (Kish); the mean should be near 1."""

    effective: float
    largest: float
    mean: float
    mean_error: float


def counts_of(strata: Ints, loggers: Ints, squares: Floats) -> Floats:
    """How much each decision counts, (n,), so that those speak most who tried what the policy wants; 1 on average.

    Several loggers drew the decisions of a stratum, each customer's by chance, so each alone would tell the policy's
    worth, and any mean of them does. Here a logger counts as its decisions over its mean of E[w^2], which bounds the
    variance and hangs on no outcome (Agarwal et al. 2017, "Effective Evaluation Using Logged Bandit Feedback from
    Multiple Loggers", weighted IPS). strata, loggers: codes (n,); squares: E[w^2] of each decision over its candidates,
    infinite where its logger cannot speak for the policy.
    """
    counts = np.zeros(len(squares))
    for stratum in np.unique(strata).tolist():
        here = strata == stratum
        for logger in np.unique(loggers[here]).tolist():
            mine = here & (loggers == logger)
            usual = float(squares[mine].mean())
            counts[mine] = 1 / usual if usual > 0 else 0.0
        total = float(counts[here].sum())
        counts[here] = counts[here] * here.sum() / total if total > 0 else 1.0
    return counts


def weights_of(target: Floats, propensity: Floats, customers: Ints) -> tuple[Floats, Weights]:
    """w (n,) and its diagnostics. Propensities are positive."""
    w = target / propensity
    total, squares = float(w.sum()), float((w * w).sum())
    effective = total * total / squares if squares > 0 else 0.0
    mean = float(w.mean())
    return w, Weights(effective, float(w.max()), mean, clustered_error(w - mean, customers))


def estimates(
    w: Floats, rewards: Floats, q_chosen: Floats, q_policy: Floats, customers: Ints, noise: Floats | float = 0.0
) -> tuple[Estimate, ...]:
    """IPS, SNIPS, DR and SNDR. All arrays (n,); `customers` codes who each decision was for; sum(w) > 0.

    `noise`: the variance that each reward has if q is right; 0 where nothing is guessed.
    """
    mean_w = float(w.mean())
    ips = float((w * rewards).mean())
    snips = ips / mean_w
    residual = rewards - q_chosen
    direct = float(q_policy.mean())
    dr = direct + float((w * residual).mean())
    correction = float((w * residual).mean()) / mean_w
    sndr = direct + correction
    influence = {
        "IPS": (ips, w * rewards - ips),
        "SNIPS": (snips, w * (rewards - snips) / mean_w),
        "DR": (dr, q_policy + w * residual - dr),
        "SNDR": (sndr, q_policy - direct + w * (residual - correction) / mean_w),
    }
    least = w * w * noise
    scaled = {"IPS": 1.0, "SNIPS": mean_w, "DR": 1.0, "SNDR": mean_w}
    return tuple(
        _with_interval(name, value, psi, customers, float(least.sum()) / scaled[name] ** 2)
        for name, (value, psi) in influence.items()
    )


def mean_of(rewards: Floats, customers: Ints) -> Estimate:
    """What the log itself earned per decision."""
    value = float(rewards.mean())
    return _with_interval("logged", value, rewards - value, customers)


def clustered_error(influence: Floats, customers: Ints, least: float = 0.0) -> float:
    """Standard error of a mean with this influence function, decisions of one customer taken together.

    `least`: what the variance of the sum is at least.
    """
    groups = len(np.unique(customers))
    if groups < 2:
        return float("inf")
    squares = max(_moment(influence, customers, 2), least)
    return float(np.sqrt(squares * groups / (groups - 1)) / len(influence))


def skewness(influence: Floats, customers: Ints, least: float = 0.0) -> float:
    """Of the customers' sums of an influence function, whose mean is 0; 0 where they do not differ."""
    groups = len(np.unique(customers))
    spread = max(_moment(influence, customers, 2), least) / groups
    return _moment(influence, customers, 3) / groups / spread**1.5 if spread > 0 else 0.0


def _moment(influence: Floats, customers: Ints, power: int) -> float:
    """Of the customers' sums, added up."""
    return float((np.bincount(customers, weights=influence) ** power).sum())


def unskewed(quantile: float, skew: float, groups: int) -> float:
    """What the studentized mean of `groups` values of this skewness falls below as often as a normal one below
    `quantile`: the inverse of T + a T^2 + a^2 T^3 / 3 + a / 2 with a = skew / (3 sqrt(groups)) (Hall 1992, section 2).
    """
    a = skew / (3 * np.sqrt(groups))
    moved = quantile - a / 2
    return float((np.cbrt(1 + 3 * a * moved) - 1) / a) if abs(a) > 1e-9 else moved


def _with_interval(name: str, value: float, influence: Floats, customers: Ints, least: float = 0.0) -> Estimate:
    error, groups = clustered_error(influence, customers, least), len(np.unique(customers))
    skew = skewness(influence, customers, least)
    low, high = (value - error * unskewed(quantile, skew, groups) for quantile in (Z95, -Z95))
    return Estimate(name, value, low, high)

"""Each arm's level and each treatment against control, from the arms' sums. Pure.

Intervals are of the normal limit, which skewed metrics (few conversions, revenue with a long tail) reach late: a small
arm that happens to have few or small values has a low mean and a low variance at once, and looks surely worse. So no
arm's variance is taken to be below the pooled one of the two compared. In A/A tests with a tenth of the subjects in
one arm, looked at daily at alpha .05, 5 to 20% ever excluded zero without that, half of them with a fiftieth; at most
2% with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from service.experiments.definition import Metric
from service.experiments.statistics import Effect, Moments, Sums, compare, mean, proportion, ratio


def arm_moments(metric: Metric, sums: Sums) -> Moments:
    """An arm's level and the variance of one subject."""
    if metric.kind == "conversion":
        return proportion(sums.n, sums.x)
    return ratio(sums) if metric.kind == "ratio" else mean(sums)


def arm_spreads(metric: Metric, sums: Mapping[str, Sums], arms: Mapping[str, Moments]) -> dict[str, Moments]:
    """The arms as they are to be compared. `arms`: of the sums, perhaps adjusted."""
    widest = max(arm.variance for arm in arms.values())
    return {key: _spread(metric, sums[key], arm, widest) for key, arm in arms.items()}


def compare_pair(control: Moments, treatment: Moments, alpha: float, tuning: float) -> Effect | None:
    """The effect of a treatment, of `arm_spreads`."""
    return compare(*_not_below_pooled(control, treatment), alpha, tuning)


def _spread(metric: Metric, sums: Sums, arm: Moments, widest: float) -> Moments:
    """A share of exactly 0 or 1 has no measured spread, which would make its interval too narrow: there the
    variance is that of (x + 1/2)/(n + 1). Where nobody did anything that a sum counts, it is that of the other arms.
    """
    if arm.variance > 0 or arm.n == 0:
        return arm
    if metric.kind != "conversion":
        return Moments(arm.n, arm.mean, widest)
    smoothed = (sums.x + 0.5) / (sums.n + 1)
    return Moments(arm.n, arm.mean, smoothed * (1 - smoothed))


def _not_below_pooled(control: Moments, treatment: Moments) -> tuple[Moments, Moments]:
    if min(control.n, treatment.n) < 2:
        return control, treatment
    pooled = _pooled((control, treatment))
    one, other = (Moments(arm.n, arm.mean, max(arm.variance, pooled)) for arm in (control, treatment))
    return one, other


def _pooled(arms: Sequence[Moments]) -> float:
    return sum((arm.n - 1) * arm.variance for arm in arms) / sum(arm.n - 1 for arm in arms)

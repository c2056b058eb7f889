"""What an experiment shows: sufficient statistics -> estimate and anytime-valid interval, as frozen values.

Everything is closed form over the standard library. Intervals are asymptotic confidence sequences: they hold at
every look at once, so that a page may be read as often as one likes.

Sources: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central limit theory and asymptotic confidence
sequences", arXiv 2103.06476 (WS); Deng, Xu, Kohavi, Walker 2013 (CUPED); Deng, Knoblich, Lu 2018 (delta method);
Fieller 1954 (ratio of means); Lindon and Malek 2020, arXiv 2011.03567 (LM, sequential sample ratio); Fabijan et al.
2019 (sample ratio mismatch).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, lgamma, log, sqrt

LEAST_EXPECTED = 5


@dataclass(frozen=True, slots=True)
class Moments:
    """One arm's subjects, mean and variance of one subject's value."""

    n: int
    mean: float
    variance: float


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums over one arm's subjects of a value x and of a second one y (denominator, or value before exposure)."""

    n: int
    x: float = 0.0
    xx: float = 0.0
    y: float = 0.0
    yy: float = 0.0
    xy: float = 0.0

    @property
    def mean_x(self) -> float:
        return self.x / self.n if self.n else 0.0

    @property
    def mean_y(self) -> float:
        return self.y / self.n if self.n else 0.0

    @property
    def var_x(self) -> float:
        return _variance(self.n, self.x, self.x, self.xx)

    @property
    def var_y(self) -> float:
        return _variance(self.n, self.y, self.y, self.yy)

    @property
    def cov_xy(self) -> float:
        return _variance(self.n, self.x, self.y, self.xy)


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate, its standard error, and bounds that hold at all looks together."""

    estimate: float
    low: float
    high: float
    standard_error: float


@dataclass(frozen=True, slots=True)
class Effect:
    """Treatment minus control; `relative` is None where control's mean is not surely above zero."""

    absolute: Interval
    relative: Interval | None
    p_value: float
    arms: tuple[Moments, Moments]
    alpha: float
    tuning: float

    def beyond(self, times: float) -> Interval:
        """Treatment minus so many times control."""
        return _contrast(*self.arms, times, self.alpha, self.tuning)

    @property
    def direction(self) -> int:
        """1 when the interval is above zero, -1 when below, 0 when it holds zero."""
        return 1 if self.absolute.low > 0 else -1 if self.absolute.high < 0 else 0


def _variance(n: int, a: float, b: float, ab: float) -> float:
    return (ab - a * b / n) / (n - 1) if n > 1 else 0.0


def proportion(n: int, successes: float) -> Moments:
    """A share of subjects. Variance p(1 - p), of a Bernoulli."""
    mean = successes / n if n else 0.0
    return Moments(n, mean, mean * (1 - mean))


def mean(sums: Sums) -> Moments:
    """A mean per subject, with the unbiased sample variance."""
    return Moments(sums.n, sums.mean_x, max(sums.var_x, 0.0))


def ratio(sums: Sums) -> Moments:
    """Sum of x over sum of y, when subjects (not events) were randomized: delta method.

    var = var_x/my^2 - 2 mx cov/my^3 + mx^2 var_y/my^4, per subject. Without any y nothing is known: n is 0.
    """
    mx, my = sums.mean_x, sums.mean_y
    if my == 0:
        return Moments(0, 0.0, 0.0)
    variance = sums.var_x / my**2 - 2 * mx * sums.cov_xy / my**3 + mx**2 * sums.var_y / my**4
    return Moments(sums.n, mx / my, max(variance, 0.0))


@dataclass(frozen=True, slots=True)
class Adjusted:
    """CUPED: each arm with the part removed that its values before exposure explain."""

    arms: tuple[Moments, ...]
    theta: float
    variance_reduction: float


def cuped(arms: Sequence[Sums], theta: float | None = None) -> Adjusted:
    """Y - theta (X - mean) in every arm, by the mean of all arms, so that they keep their level; `y` of the sums is the
    value before exposure.

    The default theta is the one that makes the difference of means least variable, sum(cov/n) / sum(var_y/n).
    """
    if theta is None:
        filled = [arm for arm in arms if arm.n > 1]
        spread = sum(arm.var_y / arm.n for arm in filled)
        theta = sum(arm.cov_xy / arm.n for arm in filled) / spread if spread > 0 else 0.0
    total = sum(arm.n for arm in arms)
    middle = sum(arm.y for arm in arms) / total if total else 0.0
    adjusted = tuple(
        Moments(
            arm.n,
            arm.mean_x - theta * (arm.mean_y - middle),
            max(arm.var_x - 2 * theta * arm.cov_xy + theta**2 * arm.var_y, 0.0),
        )
        for arm in arms
    )
    before = sum(arm.var_x for arm in arms)
    after = sum(arm.variance for arm in adjusted)
    return Adjusted(adjusted, theta, 1 - after / before if before > 0 else 0.0)


def compare(control: Moments, treatment: Moments, alpha: float = 0.05, tuning: float = 5000) -> Effect | None:
    """The effect with its confidence sequence; None where no spread can be measured.

    `tuning` is the number of subjects (both arms together) at which the interval shall be tightest.
    """
    if control.n < 2 or treatment.n < 2:
        return None
    if control.variance + treatment.variance <= 0:
        return None
    absolute = _contrast(control, treatment, 1.0, alpha, tuning)
    n, squared_error = control.n + treatment.n, absolute.standard_error**2
    return Effect(
        absolute,
        _relative(control, treatment, alpha, tuning),
        sequential_p_value(absolute.estimate, squared_error, n, alpha, tuning),
        (control, treatment),
        alpha,
        tuning,
    )


def _contrast(control: Moments, treatment: Moments, times: float, alpha: float, tuning: float) -> Interval:
    squared_error = treatment.variance / treatment.n + times**2 * control.variance / control.n
    half = sequential_half_width(squared_error, control.n + treatment.n, alpha, tuning)
    estimate = treatment.mean - times * control.mean
    return Interval(estimate, estimate - half, estimate + half, sqrt(squared_error))


def _relative(control: Moments, treatment: Moments, alpha: float, tuning: float) -> Interval | None:
    """(mb - ma)/ma, by Fieller 1954: those ratios r of which mb - r ma may be zero. So it holds zero when the absolute
    one does, which the delta method's does not where control is small. The standard error is the delta method's.
    """
    ma, mb = control.mean, treatment.mean
    of_control, of_treatment = control.variance / control.n, treatment.variance / treatment.n
    wide = sequential_half_width(1.0, control.n + treatment.n, alpha, tuning) ** 2
    a, c = ma**2 - wide * of_control, mb**2 - wide * of_treatment
    if ma <= 0 or a <= 0:
        return None
    half = sqrt(max((ma * mb) ** 2 - a * c, 0.0))
    low, high = ((ma * mb + sign * half) / a - 1 for sign in (-1, 1))
    error = sqrt(of_treatment / ma**2 + of_control * mb**2 / ma**4)
    return Interval(mb / ma - 1, low, high, error)


def best_rho(alpha: float, tuning: float) -> float:
    """The mixture's scale that makes the boundary tightest at `tuning` subjects (WS, appendix B.2)."""
    return sqrt((-2 * log(alpha) + log(-2 * log(alpha) + 1)) / tuning)


def sequential_half_width(squared_error: float, n: int, alpha: float, tuning: float) -> float:
    """WS, equation 14: sigma sqrt( 2(n rho^2 + 1)/(n rho)^2 * log( sqrt(n rho^2 + 1)/alpha ) )."""
    rho2 = best_rho(alpha, tuning) ** 2
    grown = n * rho2 + 1
    return sqrt(squared_error * n) * sqrt(2 * grown / (n * n * rho2) * log(sqrt(grown) / alpha))


def sequential_p_value(difference: float, squared_error: float, n: int, alpha: float, tuning: float) -> float:
    """The p-value that goes with the interval (WS, equation 155): 1/e-value, at most 1."""
    rho2 = best_rho(alpha, tuning) ** 2
    grown = n * rho2 + 1
    log_evidence = rho2 * n * difference**2 / squared_error / (2 * grown) - 0.5 * log(grown)
    return min(1.0, exp(-log_evidence)) if log_evidence > -700 else 1.0


@dataclass(frozen=True, slots=True)
class SampleRatio:
    """Whether the arms have the sizes that their weights promise."""

    passed: bool
    p_value: float
    sequential_p_value: float


def sample_ratio(counts: Sequence[int], weights: Sequence[float]) -> SampleRatio:
    """Fails when the chi-square test or the sequential one is below 0.001."""
    fixed = chi_square_p_value(counts, weights)
    running = sequential_ratio_p_value(counts, weights)
    return SampleRatio(min(fixed, running) >= 0.001, fixed, running)


def chi_square_p_value(counts: Sequence[int], weights: Sequence[float]) -> float:
    """Pearson's goodness of fit; 1 when nobody was counted. Arms of weight 0 are left out unless counted.

    Arms of which fewer than LEAST_EXPECTED are expected are counted together with the next larger one (Cochran 1954):
    an arm of 2% would else fail the test whenever its first subject comes early.
    """
    total, whole = sum(counts), sum(weights)
    if total == 0:
        return 1.0
    if any(count > 0 and weight <= 0 for count, weight in zip(counts, weights, strict=True)):
        return 0.0
    expected = [(count, total * weight / whole) for count, weight in zip(counts, weights, strict=True) if weight > 0]
    compared = _enough_expected(expected)
    statistic = sum((count - wanted) ** 2 / wanted for count, wanted in compared)
    return chi_square_survival(statistic, len(compared) - 1)


def _enough_expected(arms: Sequence[tuple[int, float]]) -> list[tuple[int, float]]:
    """(counted, expected) of arms, the smallest added up until LEAST_EXPECTED are expected of each; what is left over
    stands with the last.
    """
    compared: list[tuple[int, float]] = []
    count, wanted = 0, 0.0
    for more, plus in sorted(arms, key=lambda arm: arm[1]):
        count, wanted = count + more, wanted + plus
        if wanted >= LEAST_EXPECTED:
            compared.append((count, wanted))
            count, wanted = 0, 0.0
    if wanted:
        last = compared.pop() if compared else (0, 0.0)
        compared.append((last[0] + count, last[1] + wanted))
    return compared


def sequential_ratio_p_value(counts: Sequence[int], weights: Sequence[float], concentration: float = 10_000) -> float:
    """LM, equation 5: 1/Bayes factor of a Dirichlet(concentration * weights) against the weights, at most 1."""
    whole = sum(weights)
    pairs = [(count, weight / whole) for count, weight in zip(counts, weights, strict=True) if weight > 0]
    total = sum(count for count, _ in pairs)
    if total < sum(counts):
        return 0.0
    evidence = lgamma(concentration) - lgamma(concentration + total)
    for count, weight in pairs:
        prior = concentration * weight
        evidence += lgamma(prior + count) - lgamma(prior) - count * log(weight)
    return exp(-evidence) if evidence > 0 else 1.0


def chi_square_survival(statistic: float, degrees: int) -> float:
    """P(X >= statistic) for a chi-square of `degrees` degrees of freedom."""
    if degrees <= 0 or statistic <= 0:
        return 1.0
    return _upper_gamma(degrees / 2, statistic / 2)


def _upper_gamma(a: float, x: float) -> float:
    """The regularized upper incomplete gamma function Q(a, x): series below a + 1, else Lentz's continued
    fraction (Press et al., Numerical Recipes, 6.2).
    """
    if x == inf:
        return 0.0
    scale = exp(a * log(x) - x - lgamma(a))
    if x < a + 1:
        term = total = 1 / a
        k = a
        while abs(term) > abs(total) * 1e-16:
            k += 1
            term *= x / k
            total += term
        return max(0.0, 1 - total * scale)
    b, c, d = x + 1 - a, 1e300, 1 / (x + 1 - a)
    fraction, i = d, 0
    while True:
        i += 1
        step = -i * (i - a)
        b += 2
        d = 1 / (step * d + b)
        c = b + step / c
        fraction *= d * c
        if abs(d * c - 1) < 1e-15:
            return fraction * scale

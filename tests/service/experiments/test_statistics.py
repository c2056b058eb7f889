"""Values from gbstats 0.8.0 (sequential, CUPED, ratio, sample ratio), Lindon and Malek's `ssrm-test`, and scipy."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from service.experiments.statistics import (
    Moments,
    Sums,
    chi_square_p_value,
    chi_square_survival,
    compare,
    cuped,
    mean,
    proportion,
    ratio,
    sample_ratio,
    sequential_half_width,
    sequential_ratio_p_value,
)


@pytest.mark.parametrize(
    ("a", "b", "tuning", "absolute", "p_value"),
    [
        ((28, 14), (30, 16), 1000, (-0.556667678678, 0.623334345345), 1.0),
        ((3000, 1396), (3461, 2422), 5000, (0.198048796939, 0.270880029026), 6.30012846336e-76),
        ((10000, 300), (10000, 345), 20000, (-0.00308254194453, 0.0120825419445), 0.707695194003),
        ((200000, 6000), (200000, 6200), 20000, (-0.000814511209357, 0.00281451120936), 1.0),
    ],
)
def test_intervals_of_shares_are_gbstats_sequential(
    a: tuple[int, int], b: tuple[int, int], tuning: float, absolute: tuple[float, float], p_value: float
) -> None:
    effect = compare(proportion(*a), proportion(*b), 0.05, tuning)
    assert effect is not None
    assert (effect.absolute.low, effect.absolute.high) == pytest.approx(absolute, rel=1e-9)
    assert effect.p_value == pytest.approx(p_value, rel=1e-9)


def test_intervals_of_means_are_gbstats_sequential() -> None:
    a, b = Sums(3407, 1396.87, 52377.9767), Sums(3461, 2422.7, 134698.29)
    effect = compare(mean(a), mean(b), 0.05, 5000)
    assert effect is not None
    assert effect.relative is not None
    assert (effect.absolute.low, effect.absolute.high) == pytest.approx((-0.0894100955383, 0.669410095538))
    assert effect.p_value == pytest.approx(0.290744559186)


@given(st.floats(0.1, 9), st.floats(0, 9), *[st.floats(0.01, 99)] * 2, *[st.integers(2, 5000)] * 2)
def test_a_relative_interval_ends_where_the_difference_to_so_many_times_control_may_just_be_nothing(
    ma: float, mb: float, va: float, vb: float, na: int, nb: int
) -> None:
    effect = compare(Moments(na, ma, va), Moments(nb, mb, vb))
    assert effect is not None
    control = sequential_half_width(va / na, na + nb, 0.05, 5000)
    assert (effect.relative is None) == (control >= ma)  # which may be nothing
    if effect.relative is None:
        return
    low, high = (effect.beyond(1 + end) for end in (effect.relative.low, effect.relative.high))
    scale = ma + mb
    assert low.high == pytest.approx(2 * low.estimate, abs=1e-6 * scale)
    assert high.low == pytest.approx(2 * high.estimate, abs=1e-6 * scale)
    assert (effect.relative.low > 0) == (effect.absolute.low > 0)
    assert (effect.relative.high < 0) == (effect.absolute.high < 0)


def test_cuped_is_gbstats_for_the_same_theta() -> None:
    a = Sums(3000, 1396.87, 52377.9767, 16.87, 527.9767, 1.0)
    b = Sums(3461, 2422.7, 134698.29, 22.7, 1348.29, 1.0)
    adjusted = cuped([a, b], theta=-0.0114032225538)
    effect = compare(*adjusted.arms, 0.05, 5000)
    assert effect is not None
    assert effect.absolute.estimate == pytest.approx(0.234387333979)
    assert (effect.absolute.low, effect.absolute.high) == pytest.approx((-0.160105586519, 0.628880254477))


def test_cuped_chooses_the_theta_that_narrows_most() -> None:
    generator = random.Random(1)
    arms = []
    for n in (400, 900):
        before = [generator.gauss(5, 2) for _ in range(n)]
        after = [0.7 * value + generator.gauss(0, 1) for value in before]
        arms.append(_sums(after, before))
    best = cuped(arms)
    assert best.theta == pytest.approx(0.7, abs=0.05)
    assert best.variance_reduction > 0.5

    def spread(theta: float) -> float:
        return sum(arm.variance / arm.n for arm in cuped(arms, theta).arms)

    assert spread(best.theta) <= min(spread(best.theta - 0.01), spread(best.theta + 0.01))


def test_ratio_has_gbstats_standard_error() -> None:
    a = Sums(100, 485.11223669, 2715.48466612, 679.909327584, 4939.42400164, 3602.14683678)
    b = Sums(100, 514.775782661, 2994.89748271, 705.409087438, 5291.36604146, 3918.15614316)
    effect = compare(ratio(a), ratio(b))
    assert effect is not None
    assert effect.relative is not None
    assert effect.relative.estimate == pytest.approx(0.0227884782547)
    assert effect.relative.standard_error == pytest.approx(0.0279061035139)


@pytest.mark.parametrize(
    ("users", "weights", "p_value"),
    [
        ([1000, 1200], [0.5, 0.5], 2.00786561243e-05), ([310, 98], [0.75, 0.25], 0.647434185702),
        ([821588, 815482], [0.5, 0.5], 1.82179287262e-06), ([5000, 5100, 4890], [1, 1, 1], 0.109905017973),
        ([9000, 500, 520], [0.9, 0.05, 0.05], 0.68438030325), ([0, 0], [0.5, 0.5], 1),
    ],
)  # fmt: skip
def test_sample_ratio_is_gbstats(users: list[int], weights: list[float], p_value: float) -> None:
    assert chi_square_p_value(users, weights) == pytest.approx(p_value, rel=1e-9)


def test_sequential_sample_ratio_is_lindon_and_malek() -> None:
    assert sequential_ratio_p_value([100, 900], [0.5, 0.5]) == pytest.approx(2.3678997548019807e-13, rel=1e-6)
    assert sequential_ratio_p_value([50, 450], [0.5, 0.5]) == pytest.approx(0.0005018438876534796, rel=1e-6)
    assert sequential_ratio_p_value([500, 500], [0.5, 0.5]) == 1.0


def test_a_broken_split_fails_and_a_good_one_passes() -> None:
    assert sample_ratio([5000, 5100], [0.5, 0.5]).passed
    assert not sample_ratio([5000, 5500], [0.5, 0.5]).passed
    assert not sample_ratio([5000, 5000, 1], [0.5, 0.5, 0.0]).passed


def test_the_first_subject_of_a_small_arm_does_not_break_the_split() -> None:
    assert sample_ratio([1, 0], [0.02, 0.98]).passed
    assert sample_ratio([2, 10], [0.02, 0.98]).passed
    assert not sample_ratio([60, 40], [0.02, 0.98]).passed
    # 3, 3 and 294 expected: the small arms are compared together, where many are expected each by itself
    assert chi_square_p_value([6, 0, 294], [0.01, 0.01, 0.98]) == 1.0
    assert not sample_ratio([200, 0, 9800], [0.01, 0.01, 0.98]).passed
    assert chi_square_p_value([4, 4, 4], [1, 1, 1]) == 1.0


@given(st.floats(1e-6, 500), st.integers(1, 60))
@settings(max_examples=150)
def test_chi_square_survival_is_scipys(statistic: float, degrees: int) -> None:
    expected = float(stats.chi2.sf(statistic, degrees))
    assert chi_square_survival(statistic, degrees) == pytest.approx(expected, rel=1e-8, abs=1e-13)


def test_arms_without_spread_give_no_effect() -> None:
    assert compare(proportion(50, 0), proportion(50, 0)) is None
    assert compare(Moments(1, 1.0, 1.0), Moments(50, 1.0, 1.0)) is None
    lone = compare(proportion(50, 0), proportion(50, 10))
    assert lone is not None
    assert lone.relative is None


def test_intervals_hold_at_every_look() -> None:
    """Of 300 A/A tests looked at 40 times each, at most the promised 5% (and chance) ever exclude zero."""
    generator = random.Random(7)
    alarms = 0
    for _ in range(300):
        successes, seen = [0, 0], [0, 0]
        for _ in range(40):
            for arm in (0, 1):
                seen[arm] += 50
                successes[arm] += sum(generator.random() < 0.2 for _ in range(50))
            effect = compare(proportion(seen[0], successes[0]), proportion(seen[1], successes[1]), 0.05, 2000)
            if effect is not None and effect.direction != 0:
                alarms += 1
                break
    assert alarms <= 0.05 * 300 + 8


def _sums(x: list[float], y: list[float]) -> Sums:
    xy = sum(a * b for a, b in zip(x, y, strict=True))
    return Sums(len(x), sum(x), sum(v * v for v in x), sum(y), sum(v * v for v in y), xy)

"""Intervals hold at every look also where arms are uneven and values are skewed, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from service.experiments.compare_arms import arm_moments, arm_spreads, compare_pair
from service.experiments.definition import Kind, Metric
from service.experiments.statistics import Effect, Sums

TRIALS, DAYS, A_DAY = 1_000, 30, 120
Draw = Callable[[np.random.Generator, tuple[int, ...]], tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]]


def converted(draw: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any]:
    return (draw.random(shape) < 0.02).astype(float), np.zeros(shape)


def bought(draw: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """One in twenty, for a sum with a long tail."""
    return (draw.random(shape) < 0.05) * np.exp(draw.normal(8, 1.2, shape)), np.zeros(shape)


def clicked_often(draw: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any]:
    return draw.negative_binomial(0.05, 0.1, shape).astype(float), np.zeros(shape)


def per_view(draw: np.random.Generator, shape: tuple[int, ...]) -> tuple[Any, Any]:
    views = draw.poisson(1.0, shape)
    return draw.binomial(views, 0.1) * np.exp(draw.normal(8, 1, shape)), views.astype(float)


def effect_of(kind: Kind, a: Sums, b: Sums) -> Effect | None:
    metric, sums = Metric("m", "e", kind=kind), {"A": a, "B": b}
    spread = arm_spreads(metric, sums, {key: arm_moments(metric, each) for key, each in sums.items()})
    return compare_pair(spread["A"], spread["B"], 0.05, 5_000)


def test_an_arm_without_a_measured_spread_has_that_of_the_widest_or_of_half_a_conversion() -> None:
    kinds: tuple[Kind, ...] = ("sum", "conversion")
    some = {"A": Sums(100), "B": Sums(100, 20.0, 40.0), "C": Sums(100, 20.0, 90.0), "D": Sums(0)}
    for kind in kinds:
        metric = Metric("m", "e", kind=kind)
        arms = {key: arm_moments(metric, each) for key, each in some.items()}
        spread = arm_spreads(metric, some, arms)
        assert {key: spread[key] for key in "BCD"} == {key: arms[key] for key in "BCD"}
        assert spread["A"].mean == 0.0
        half = 0.5 / 101
        assert spread["A"].variance == pytest.approx(half * (1 - half) if kind == "conversion" else arms["C"].variance)


@pytest.mark.parametrize(
    ("kind", "draws"), [("conversion", converted), ("sum", bought), ("count", clicked_often), ("ratio", per_view)]
)
@pytest.mark.parametrize("share", [0.5, 0.1, 0.9])
def test_looking_every_day_finds_a_difference_where_there_is_none_at_most_as_often_as_promised(
    kind: Kind, draws: Draw, share: float
) -> None:
    """1,000 A/A tests of 30 days, alpha .05."""
    draw = np.random.default_rng(11)
    alarms = 0
    for _ in range(TRIALS):
        x, y = draws(draw, (DAYS, A_DAY))
        treated = draw.random((DAYS, A_DAY)) < share
        days = {}
        for key, arm in (("A", ~treated), ("B", treated)):
            terms = [arm * term for term in (1, x, x * x, y, y * y, x * y)]
            days[key] = np.stack([term.sum(axis=1).cumsum() for term in terms], axis=1).tolist()
        alarms += any(
            effect is not None and (effect.direction != 0 or _relative_direction(effect) != 0)
            for a, b in zip(days["A"], days["B"], strict=True)
            for effect in [effect_of(kind, Sums(int(a[0]), *a[1:]), Sums(int(b[0]), *b[1:]))]
        )
    assert alarms <= 0.05 * TRIALS


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_a_mailing_whose_orders_come_for_weeks_is_no_exception(share: float) -> None:
    """All are exposed on the first day, so that subjects stay as many while what is known of them grows."""
    draw, alarms, people = np.random.default_rng(12), 0, 5_000
    for _ in range(500):
        treated = draw.random(people) < share
        amount = (draw.random(people) < 0.03) * np.exp(draw.normal(8, 1, people))
        day = draw.exponential(6, people)
        alarms += any(
            effect is not None and effect.direction != 0
            for today in range(1, DAYS)
            for x in [amount * (day < today)]
            for effect in [
                effect_of("sum", *(Sums(len(of), of.sum(), (of**2).sum()) for of in (x[~treated], x[treated])))
            ]
        )
    assert alarms <= 0.05 * 500


def test_a_difference_is_found() -> None:
    a, b = Sums(9_000, 900, 900), Sums(1_000, 40, 40)
    effect = effect_of("conversion", a, b)
    assert effect is not None
    assert effect.direction == -1


def test_an_arm_of_more_spread_keeps_its_own() -> None:
    a, b = Sums(1_000, 100.0, 1_000.0), Sums(100, 50.0, 5_000.0)
    effect = effect_of("sum", a, b)
    assert effect is not None
    assert effect.absolute.standard_error == pytest.approx(((5_000 - 25) / 99 / 100 + _pooled(a, b) / 1_000) ** 0.5)


def _relative_direction(effect: Effect) -> int:
    told = effect.relative
    return 0 if told is None else int(told.low > 0) - int(told.high < 0)


def _pooled(a: Sums, b: Sums) -> float:
    return ((a.n - 1) * a.var_x + (b.n - 1) * b.var_x) / (a.n + b.n - 2)

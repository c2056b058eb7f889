"""The Qini coefficient against scikit-uplift 0.5.1 (`sklift.metrics.qini_auc_score`, `qini_curve`) on a small test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.qini import qini, qini_curve, qini_estimate, qini_spread

OUTCOME = np.array([1, 0, 1, 0, 1, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1])
TREATED = np.array([0, 0, 1, 1, 0, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0, 1, 0, 1, 0, 1, 1, 0, 0, 1])
UPLIFT = np.array([-1.7, -0.7, 0.6, 1.0, 0.2, 1.1, 0.5, -1.1, 1.3, -0.5, -1.6, 0.4, 1.8, 1.0, 1.0, 0.2, -2.5, 0.7,
                   0.2, -2.6, -0.7, -0.9, 1.1, 0.1])  # fmt: skip
rows = st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(-4, 4)), min_size=8, max_size=60)


@pytest.mark.parametrize(
    ("uplift", "expected"),
    [(UPLIFT, -0.14289715886354543), (-UPLIFT, 0.0609158815041168), (UPLIFT > 0, -0.15126050420168066)],
)
def test_equals_scikit_uplift(uplift: np.ndarray, expected: float) -> None:
    assert qini(OUTCOME, uplift, TREATED) == pytest.approx(expected, rel=1e-12)


def test_the_curve_equals_scikit_uplifts() -> None:
    contacted, gained = qini_curve(OUTCOME, UPLIFT > 0, TREATED)
    np.testing.assert_allclose(contacted, [0, 15, 24])
    np.testing.assert_allclose(gained, [0, -1.5, 0], atol=1e-12)


@given(rows)
@settings(max_examples=60, deadline=None)
def test_outcomes_of_the_treated_first_and_of_the_others_last_is_one(told: list[tuple[bool, bool, int]]) -> None:
    outcome, treated, _ = (np.array(column, float) for column in zip(*told, strict=True))
    best = qini(outcome, outcome * treated - outcome * (1 - treated), treated)
    if np.isfinite(best):
        assert best == pytest.approx(1)


@given(rows, st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_neither_scale_nor_the_order_of_rows_matters(told: list[tuple[bool, bool, int]], seed: int) -> None:
    outcome, treated, score = (np.array(column, float) for column in zip(*told, strict=True))
    mixed = np.random.default_rng(seed).permutation(len(score))
    again = qini(outcome[mixed], 3 * score[mixed] - 1, treated[mixed])
    np.testing.assert_allclose(again, qini(outcome, score, treated), atol=1e-9)


def test_intervals_of_rows_and_of_customers_agree_where_each_has_one_row() -> None:
    random = np.random.default_rng(1)
    treated, score = random.integers(0, 2, 3000), random.normal(size=3000)
    outcome = random.random(3000) < 0.2 + 0.3 * treated * (score > 0)
    plain = qini_estimate(outcome, score, treated)
    pairs = qini_estimate(np.repeat(outcome, 2), np.repeat(score, 2), np.repeat(treated, 2), np.arange(6000) // 2)
    assert plain.value == pytest.approx(pairs.value)
    assert plain.low > 0
    assert (plain.low, plain.high) == pytest.approx((pairs.low, pairs.high), abs=0.015)
    assert qini_spread(outcome, score, score, treated) == 0
    assert 0 < qini_spread(outcome, score, -score, treated) < 0.2


def test_wrong_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="0 or 1"):
        qini([0, 2], [1, 2], [0, 1])
    with pytest.raises(ValueError, match="shapes"):
        qini([0, 1], [1], [0, 1])

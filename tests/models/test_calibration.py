"""Calibration: what holds of every kind, and that each mends the fault it is for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import (
    Calibration,
    _forward,
    _lasting,
    fit_calibration,
    fit_kind,
    logistic_regression,
    logit,
    sigmoid,
)

KINDS = ("identity", "platt", "beta", "isotonic")


def _distorted(seed: int, rows: int, slope: float, shift: float) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose true log-odds are slope * logit(score) + shift, and outcomes."""
    random = np.random.default_rng(seed)
    score = sigmoid(random.normal(-1, 1.5, rows))
    return score, (random.random(rows) < sigmoid(slope * logit(score) + shift)).astype(float)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 999), kind=st.sampled_from(KINDS), rows=st.integers(5, 300), share=st.floats(0, 1))
def test_every_kind_is_monotone_and_inside_0_and_1(seed: int, kind: str, rows: int, share: float) -> None:
    random = np.random.default_rng(seed)
    p, y = random.random(rows), (random.random(rows) < share).astype(float)
    fitted = fit_kind(kind, np.clip(p, 1e-6, 1 - 1e-6), y, np.ones(rows))
    out = fitted.apply(np.linspace(0, 1, 101))
    assert np.all((out > 0) & (out < 1))
    assert np.all(np.diff(out) >= -1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_writing_and_reading_back_changes_nothing(kind: str) -> None:
    p, y = _distorted(1, 500, 0.5, 0.3)
    fitted = fit_kind(kind, p, y, np.ones(500))
    np.testing.assert_array_equal(Calibration.from_dict(fitted.to_dict()).apply(p), fitted.apply(p))


def test_platt_finds_slope_and_shift() -> None:
    p, y = _distorted(2, 40_000, 0.6, 0.8)
    a, b, c = fit_kind("platt", p, y, np.ones(len(p))).coefficients
    assert a == b == pytest.approx(0.6, abs=0.05)
    assert c == pytest.approx(0.8, abs=0.06)


def test_isotonic_equals_the_shares_of_separate_blocks() -> None:
    p = np.repeat([0.1, 0.5, 0.9], 100)
    y = np.concatenate([np.arange(100) < n for n in (20, 40, 70)]).astype(float)
    fitted = fit_kind("isotonic", p, y, np.ones(300))
    np.testing.assert_allclose(fitted.apply([0.1, 0.5, 0.9]), [0.2, 0.4, 0.7])
    assert 0.2 < fitted.apply([0.3])[0] < 0.4  # joined between the blocks
    y = np.concatenate([np.arange(100) < n for n in (0, 40, 100)]).astype(float)
    fitted = fit_kind("isotonic", p, y, np.ones(300))  # half a case more at the ends: never 0, never 1
    np.testing.assert_allclose(fitted.apply([0.1, 0.5, 0.9]), [0.5 / 100.5, 0.4, 100 / 100.5])


def test_good_probabilities_are_left_alone_and_bad_ones_mended() -> None:
    good = _distorted(3, 2000, 1.0, 0.0)
    assert fit_calibration(*good).kind == "identity"
    p, y = _distorted(4, 2000, 0.5, 1.0)
    fitted = fit_calibration(p, y)
    assert fitted.kind in {"platt", "beta"}
    assert abs(fitted.apply(p).mean() - y.mean()) < 0.02


@pytest.mark.parametrize("forgetting", [False, True])
def test_a_few_rows_at_an_end_do_not_move_the_promises_of_all(forgetting: bool) -> None:
    """One row of low score without an outcome was promised a third, and so was everybody above it."""
    for seed in range(60):
        random = np.random.default_rng(seed)
        p = 0.05 + 0.3 * random.random(4000) ** 2
        y = (random.random(4000) < p).astype(float)
        w = 0.5 ** random.integers(0, 3, 4000) if forgetting else np.ones(4000)
        for fitted, labels in ((fit_kind("isotonic", p, y, w), y), (fit_kind("isotonic", 1 - p, 1 - y, w), 1 - y)):
            promised = fitted.apply(p if labels is y else 1 - p)
            assert np.average(promised, weights=w) == pytest.approx(np.average(labels, weights=w), abs=0.03)
            assert fitted.y[0] > 0
            assert fitted.y[-1] < 1
            assert list(fitted.y) == sorted(fitted.y)


def test_isotonic_is_tried_only_where_rows_are_many() -> None:
    random = np.random.default_rng(5)
    p = random.random(6000)
    y = (random.random(6000) < np.where(p < 0.5, 0.1, 0.6)).astype(float)  # a step, which no Platt curve fits
    assert fit_calibration(p, y).kind == "isotonic"
    assert fit_calibration(p[:600], y[:600]).kind != "isotonic"


def test_a_correction_that_no_longer_holds_is_not_made() -> None:
    p, y = _distorted(6, 6000, 1.0, 1.0)
    times = np.repeat([1, 2, 3], 2000)
    y[times == 3] = _distorted(6, 6000, 1.0, 0.0)[1][times == 3]
    assert fit_calibration(p, y, times=times).kind == "identity"
    assert fit_calibration(p[times < 3], y[times < 3], times=times[times < 3]).kind != "identity"


def test_too_few_separate_periods_correct_nothing() -> None:
    p, y = _distorted(6, 8000, 1.0, 1.0)
    times = np.repeat([0, 10, 20, 30, 40, 50, 60, 70], 1000)
    assert fit_calibration(p, y, times=times, embargo=40).kind == "identity"
    assert fit_calibration(p, y, times=times, embargo=10).kind != "identity"
    assert fit_calibration(p[:2000], y[:2000], times=times[:2000], embargo=40).kind == "identity"


def test_each_time_is_held_out_against_what_was_known_then() -> None:
    """An outcome takes 15 to be known; of 30, what came of 0 and 10 is, and the four held out are three periods."""
    times = np.array([0.0, 10, 20, 30, 40, 50])
    learnt = {float(times[held][0]): times[rest].tolist() for rest, held in _forward(times, 15.0)}
    assert learnt == {20: [0], 30: [0, 10], 40: [0, 10, 20], 50: [0, 10, 20, 30]}
    assert _forward(times, 16.0) == []


@pytest.mark.parametrize(
    ("gains", "lasting"),
    [([0.1, 0.1, 0.1, 0.1], True), ([0.1, 0.1, 0.1, -0.01], False), ([-0.1, 0.3, -0.1, 0.01], False)],
)
def test_a_gain_lasts_that_is_more_than_its_error_and_there_at_the_end(gains: list[float], lasting: bool) -> None:
    assert _lasting(np.array(gains)) is lasting


def test_one_class_or_a_score_that_ranks_the_wrong_way_is_no_crash() -> None:
    assert fit_calibration([0.2, 0.3], [0, 0]) == Calibration()
    p, y = _distorted(7, 2000, -1.0, 0.0)
    flat = fit_kind("platt", p, y, np.ones(2000)).apply([0.1, 0.9])
    assert flat[0] == pytest.approx(flat[1]) == pytest.approx(y.mean(), abs=0.01)


def test_regression_finds_the_weights_and_survives_separable_data() -> None:
    random = np.random.default_rng(8)
    x = random.normal(size=(30_000, 2))
    y = (random.random(30_000) < sigmoid(x @ [1.0, -0.5] + 0.2)).astype(float)
    np.testing.assert_allclose(logistic_regression(x, y, np.ones(30_000)), [1.0, -0.5, 0.2], atol=0.06)
    separable = logistic_regression(np.array([[-1.0], [1.0]]), np.array([0.0, 1.0]), np.ones(2), ridge=0.1)
    assert np.all(np.isfinite(separable))

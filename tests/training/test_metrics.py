"""Figures against scikit-learn's, and intervals that cover what they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from training.metrics import auc, estimates, figure, figures, log_losses, resamples


def _scores(seed: int, rows: int, levels: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    p = (random.integers(1, levels, rows) if levels < 50 else random.uniform(1, levels, rows)) / (levels + 1)
    y = (random.random(rows) < p).astype(float)
    y[:2] = 0, 1
    return y, p


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(3, 300), levels=st.sampled_from([2, 3, 10, 60]))
def test_figures_equal_scikit_learn(seed: int, rows: int, levels: int) -> None:
    y, p = _scores(seed, rows, levels)
    found = figures(y, p)
    assert found["auc"] == pytest.approx(sk.roc_auc_score(y, p))
    assert found["average_precision"] == pytest.approx(sk.average_precision_score(y, p))
    assert found["log_loss"] == pytest.approx(sk.log_loss(y, p))
    assert found["brier"] == pytest.approx(sk.brier_score_loss(y, p))
    weights = np.random.default_rng(seed).integers(0, 4, rows) + 1
    assert figure("auc", y, p, weights) == pytest.approx(sk.roc_auc_score(y, p, sample_weight=weights))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), rows=st.integers(3, 300), levels=st.sampled_from([2, 3, 10, 60]))
def test_rows_that_a_resample_has_not_count_for_nothing(seed: int, rows: int, levels: int) -> None:
    """Where the likeliest was not drawn precision was 0/0, and the interval knew resamples with it alone."""
    y, p = _scores(seed, rows, levels)
    weights = np.random.default_rng(seed).integers(0, 3, rows).astype(float)
    weights[:2] = 1
    weights[2:][p[2:] == p.max()] = 0
    there = weights > 0
    again = np.repeat(np.arange(rows), weights.astype(int))
    expected = sk.average_precision_score(y, p, sample_weight=weights)
    assert figure("average_precision", y, p, weights) == pytest.approx(expected)
    for name in ("average_precision", "top_decile_lift"):
        assert figure(name, y, p, weights) == pytest.approx(figure(name, y[there], p[there], weights[there]))
        assert figure(name, y, p, weights) == pytest.approx(figure(name, y[again], p[again]))


def test_lift_counts_the_best_tenth_and_shares_ties() -> None:
    y, p = np.r_[np.ones(10), np.zeros(90)], np.linspace(1, 0.01, 100)
    assert figures(y, p)["top_decile_lift"] == pytest.approx(10)
    assert figures(y, np.full(100, 0.5))["top_decile_lift"] == pytest.approx(1)


def test_calibration_error_of_a_constant_is_its_distance() -> None:
    y = np.r_[np.ones(300), np.zeros(700)]
    random = np.random.default_rng(0)
    random.shuffle(y)
    assert figures(y, np.full(1000, 0.9))["ece"] == pytest.approx(0.6)


def test_one_class_gives_no_number_and_no_warning() -> None:
    assert np.isnan(auc([1, 1, 1], [0.1, 0.2, 0.3]))
    assert np.isnan(estimates([0, 0], [0.1, 0.2])["auc"].low)


def test_nothing_to_measure_is_refused() -> None:
    with pytest.raises(ValueError, match="not empty"):
        figures([], [])


def test_intervals_cover_the_truth_and_are_the_same_again() -> None:
    hits = 0
    for seed in range(40):
        y, p = _scores(seed, 400, 60)
        truth = 0.25  # Brier of 0.5, whatever the labels
        interval = estimates(y, np.full(400, 0.5), draws=50)["brier"]
        assert interval.low == interval.high == pytest.approx(truth)
        share = estimates(y, p, draws=100, seed=seed)["log_loss"]
        expected = float(np.mean(-(p * np.log(p) + (1 - p) * np.log(1 - p))))
        hits += share.low <= expected <= share.high
    assert hits >= 32
    assert estimates(y, p) == estimates(y, p)


@pytest.mark.parametrize("off", [0.0, 0.02, 0.08])
def test_the_interval_of_the_calibration_error_holds_it_and_covers_the_true_one(off: float) -> None:
    """Of a model whose promises are all too low by `off`."""
    hits = 0
    for seed in range(60):
        random = np.random.default_rng(seed)
        p = random.beta(2, 6, 600) * 0.85
        found = estimates((random.random(600) < p + off).astype(float), p, draws=100, seed=seed)["ece"]
        assert 0 <= found.low <= found.value <= found.high
        hits += found.low <= off <= found.high
    assert hits >= 51


def test_customers_are_drawn_whole() -> None:
    clusters = np.array(["a", "b", "a", "c"])
    blocks = list(resamples(4, clusters, 30, seed=1))
    assert [block.shape for block in blocks] == [(30, 4)]
    for block in blocks:
        assert np.array_equal(block[:, 0], block[:, 2])
        assert np.all(block[:, [0, 1, 3]].sum(axis=1) == 3)


def test_a_certain_wrong_promise_costs_much_but_not_infinitely() -> None:
    assert np.isfinite(log_losses([1, 0], [0.0, 1.0])).all()

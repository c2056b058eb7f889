from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.shrinkage import LEAST, MOST, _weight, shrunk_rates

NAN = float("nan")


def test_nothing_tried_says_nothing() -> None:
    assert np.isnan(shrunk_rates(np.zeros(2), np.zeros(2), np.array([1.0, NAN]))).all()


def test_few_trials_are_drawn_to_their_groups_rate() -> None:
    trials = np.array([1000.0, 1000, 1000, 2, 1000, 1000])
    hits = np.array([100.0, 110, 90, 2, 500, 510])
    group = np.array([1.0, 1, 1, 1, 2, 2])
    rates = shrunk_rates(hits, trials, group)
    assert rates[:3] == pytest.approx([0.1, 0.11, 0.09], abs=0.01)
    assert 0.1 < rates[3] < 0.2  # two hits in two, in a group where one in ten does
    assert rates[4:] == pytest.approx([0.5, 0.51], abs=0.02)


@pytest.mark.parametrize("weight", [5.0, 50.0])
def test_the_priors_weight_is_found_again(weight: float) -> None:
    """Rates drawn from a Beta of a known weight, in binomials of a known size."""
    rng = np.random.default_rng(3)
    rates = rng.beta(0.2 * weight, 0.8 * weight, 4000)
    trials = rng.integers(20, 200, 4000).astype(np.float64)
    hits = rng.binomial(trials.astype(np.int64), rates).astype(np.float64)
    assert _weight(hits, trials, 0.0) == pytest.approx(weight, rel=0.1)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40), st.sampled_from([1.0, 2.0, NAN])), max_size=12))
def test_rates_are_rates(rows: list[tuple[int, int, float]]) -> None:
    hits, trials, group = np.array(rows, np.float64).reshape(-1, 3).T
    rates = shrunk_rates(hits, trials, group)
    if trials.sum() == 0:
        assert np.isnan(rates).all()
        return
    assert ((rates > 0) & (rates < 1)).all()
    untried = trials == 0
    ungrouped = untried & np.isnan(group)
    assert len(np.unique(rates[ungrouped])) <= 1  # the rate of all
    assert LEAST <= _weight(np.minimum(hits, trials), trials, LEAST) <= MOST

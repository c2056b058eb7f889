"""Traits that tell the outcome alone: by value, by being known at all, by code; and what does not count as one."""

from __future__ import annotations

import numpy as np
import pytest

from training.leaks import LEAST, newest, tell_alone

RANDOM = np.random.default_rng(3)
N = 2000
LABELS = (RANDOM.random(N) < 0.2).astype(np.float64)
KNOWN, LATER = np.arange(N) < N // 2, np.arange(N // 2, N)
CODES = np.where(LABELS > 0, RANDOM.choice([2.0, 5.0], N), RANDOM.choice([1.0, 4.0, 7.0], N))
NOISE = RANDOM.normal(0, 1, N)


def _alone(column: np.ndarray, name: str = "lead_score", labels: np.ndarray = LABELS) -> dict[str, float]:
    rows = np.column_stack([NOISE, column])
    return dict(tell_alone(rows, labels, ["age_band", name], KNOWN, LATER))


@pytest.mark.parametrize(
    "column",
    [
        LABELS,
        1 - LABELS,
        np.where(LABELS > 0, 3.0, np.nan),
        np.where(LABELS > 0, np.nan, NOISE),
        CODES,
        LABELS * 1000 + NOISE,
    ],
    ids=["it", "the contrary", "known of those alone", "of the others alone", "codes", "a number of many values"],
)
def test_what_is_set_after_the_outcome_is_found(column: np.ndarray) -> None:
    assert _alone(column) == {"lead_score": pytest.approx(1, abs=0.001)}


def test_what_helps_is_not_too_good() -> None:
    assert _alone(LABELS + NOISE) == {}  # an AUC of .76
    assert _alone(LABELS + 0.5 * NOISE) == {}  # .92
    assert _alone(LABELS + 0.35 * NOISE).keys() == {"lead_score"}  # .98


def test_counts_and_days_have_times_of_their_own() -> None:
    assert _alone(LABELS, "days_since_last_event") == {}


def test_a_value_that_meant_nothing_before_tells_nothing() -> None:
    assert _alone(np.where(KNOWN, 1.0, 1 + LABELS)) == {}


def test_a_few_outcomes_doubt_nobody() -> None:
    for seen, found in ((LEAST - 1, set()), (LEAST, {"lead_score"})):
        few = np.r_[LABELS[KNOWN], np.ones(seen), np.zeros(N // 2 - seen)]
        assert _alone(few, labels=few).keys() == found
        assert _alone(1 - few, labels=1 - few).keys() == found


def test_folds_are_added_until_there_are_enough_of_either_outcome() -> None:
    labels = np.tile(np.r_[np.ones(LEAST // 2), np.zeros(30)], 4)
    folds = np.split(np.arange(len(labels)), 4)
    assert newest(labels, folds) == 2
    assert newest(1 - labels, folds) == 2
    assert newest(np.r_[labels, np.ones(LEAST), np.zeros(LEAST)], [*folds, np.arange(160, 200)]) == 4
    assert newest(np.zeros_like(labels), folds) == 0

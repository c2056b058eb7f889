"""Columns that tell the date: found, and left out where later dates lie outside of what was known."""

from __future__ import annotations

import numpy as np

from training.steady import outside, tells_time

TIMES = np.repeat(np.arange("2026-01-01", "2026-01-11", dtype="datetime64[D]"), 50)
RANDOM = np.random.default_rng(1)


def test_a_column_that_is_the_same_for_all_at_a_time_tells_it() -> None:
    index = np.repeat(RANDOM.random(10), 50)
    person = RANDOM.random(500)
    columns = [index, person, index + 0.01 * person, np.full(500, 3.0), np.where(index > 0.5, index, np.nan)]
    rows = np.column_stack([*columns, person + 0.2 * index, np.full(500, np.nan)])
    assert tells_time(rows, TIMES).tolist() == [True, False, True, False, True, False, False]
    assert not tells_time(rows[:100], TIMES[:100]).any()  # two dates are too few to tell


def test_rows_outside_of_what_was_known_are_counted() -> None:
    known = np.array([[0.0, 1.0], [2.0, np.nan]])
    later = np.array([[1.0, 1.0], [3.0, 1.0], [1.0, 0.9], [np.nan, np.nan]])
    assert outside(known, later) == 0.5
    assert outside(known[:, :0], later[:, :0]) == 0.0


def test_a_column_that_was_collected_only_later_has_no_range_to_be_outside_of() -> None:
    """And nothing is printed about it (warnings are errors here)."""
    known, later = np.array([[np.nan, 1.0], [np.nan, 2.0]]), np.array([[5.0, 1.5], [6.0, 3.0]])
    assert outside(known, later) == 0.5

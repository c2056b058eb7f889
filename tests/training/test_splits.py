"""Cuts and folds: no outcome of a training cut may lie after its test cut."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from training.splits import EPOCH, Fold, folds, grid, mask, matured, spread

DAY = timedelta(days=1)
times = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@settings(max_examples=60, deadline=None)
@given(first=times, days=st.integers(-5, 500), step=st.integers(1, 40))
def test_grid_is_fixed_and_inside(first: datetime, days: int, step: int) -> None:
    cuts = grid(first, first + days * DAY, step * DAY)
    assert all(first <= cut <= first + days * DAY for cut in cuts)
    assert all(b - a == step * DAY for a, b in pairwise(cuts))
    assert len(cuts) >= days // step  # nothing left out
    wider = grid(first - 100 * DAY, first + (days + 100) * DAY, step * DAY)
    assert set(cuts) <= set(wider)  # more data moves no cut


def test_the_grid_has_both_its_ends() -> None:
    assert grid(EPOCH + 7 * DAY, EPOCH + 21 * DAY, 7 * DAY) == [EPOCH + days * DAY for days in (7, 14, 21)]


@settings(max_examples=60, deadline=None)
@given(
    first=times,
    n=st.integers(0, 40),
    step=st.integers(1, 30),
    horizon=st.integers(1, 90),
    at_least=st.integers(1, 4),
    order=st.randoms(use_true_random=False),
)
def test_each_cut_is_a_test_once_behind_an_embargo_of_one_horizon(
    first: datetime, n: int, step: int, horizon: int, at_least: int, order: Random
) -> None:
    cuts = [first + index * step * DAY for index in range(n)]
    known = {test: tuple(cut for cut in cuts if cut + horizon * DAY <= test) for test in cuts}
    expected = [Fold(train, test) for test, train in known.items() if len(train) >= at_least]
    assert folds(order.sample(cuts, n), horizon * DAY, at_least) == expected
    assert folds(cuts, horizon * DAY) == [Fold(train, test) for test, train in known.items() if train]


def test_only_matured_cuts_are_used() -> None:
    cuts = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 10, 20)]
    assert matured(cuts, 10 * DAY, datetime(2026, 1, 20, tzinfo=UTC)) == cuts[:2]


def test_spread_keeps_the_newest() -> None:
    some = [Fold((), datetime(2026, 1, day, tzinfo=UTC)) for day in range(1, 21)]
    kept = spread(some, 5)
    assert len(kept) == 5
    assert kept[-1] == some[-1]
    assert spread(some[:3], 5) == some[:3]


def test_mask_marks_the_rows_of_cuts() -> None:
    rows = np.array(["2026-01-01", "2026-01-02", "2026-01-01"], "datetime64[us]")
    assert mask(rows, [datetime(2026, 1, 1, tzinfo=UTC)]).tolist() == [True, False, True]

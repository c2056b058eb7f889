"""Population stability: the formula by hand, chance, missing values, what is kept with a version."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.reference import FILE, Bins, Reference, Shift
from tests.fakes.model_cases import FEATURES, propensity, propensity_rows

values = st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan), st.just(math.inf)), min_size=1, max_size=60)


def test_the_index_is_the_formula() -> None:
    bins = Bins((0.0, 1.0), (40, 40, 20, 0))
    shift = bins.shift(np.r_[np.zeros(10), np.full(20, 0.5), np.full(70, 2.0)])
    before = np.array([40.5, 40.5, 20.5]) / 101.5
    after = np.array([10.5, 20.5, 70.5]) / 101.5
    assert shift.psi == pytest.approx(float(((after - before) * np.log(after / before)).sum()))
    assert shift.shifted
    assert shift.chance == pytest.approx(0.02 * 13.82, rel=0.03)  # chi-square of 2 degrees at 99.9%: 13.816


def test_bins_are_the_deciles_and_equal_ones_are_joined() -> None:
    assert len(Bins.of(np.arange(1000.0)).edges) == 10
    counted = Bins.of(np.array([0.0] * 70 + [1.0] * 30))
    assert counted.edges[1:] == (0.0, 1.0)
    assert counted.counts == (0, 70, 30, 0, 0)


def test_values_below_all_of_training_are_seen() -> None:
    assert Bins.of(np.full(100, 30.0)).shift(np.full(100, 2.0)).shifted
    assert not Bins.of(np.full(100, 30.0)).shift(np.full(100, 30.0)).shifted


def test_the_same_population_is_no_shift_and_another_is() -> None:
    random = np.random.default_rng(1)
    bins = Bins.of(random.normal(size=5000))
    shifts = [bins.shift(random.normal(size=200)) for _ in range(200)]
    assert not any(shift.shifted for shift in shifts)
    assert np.mean([shift.psi > 0.1 for shift in shifts]) > 0.01  # the usual rule alone would ring
    assert bins.shift(random.normal(0.8, 1, 200)).shifted


def test_a_shift_is_more_than_chance_and_more_than_the_usual_rule_lets_pass() -> None:
    """Of millions of rows chance makes nothing, yet what moved so little moves no decision."""
    told = {(psi, chance): Shift(psi, chance, 100, 0.0, 0.0).shifted for psi in (0.05, 0.15) for chance in (0.01, 0.2)}
    assert [pair for pair, shifted in told.items() if shifted] == [(0.15, 0.01)]


def test_of_many_inputs_hardly_any_rings_by_chance() -> None:
    """Eighty checks of sixty inputs of a hundred customers; real change still rings."""
    random = np.random.default_rng(5)

    def drawn(rows: int) -> pl.DataFrame:
        counts = random.zipf(1.5, (rows, 60)).clip(0, 200).astype(np.float64)
        return pl.DataFrame(counts, schema=[f"input_{n}" for n in range(60)])

    first = drawn(1000)
    inputs = {name: Bins.of(first[name].to_numpy()) for name in first.columns}
    reference = Reference(inputs, Bins.of(first["input_1"].to_numpy()))
    checks = [drawn(100) for _ in range(80)]
    alone = sum(bins.shift(told[name].to_numpy()).shifted for told in checks for name, bins in inputs.items())
    together = sum(one.shifted for told in checks for one in reference.of_frame(told).values())
    assert alone >= 5
    assert together <= 1
    assert reference.of_frame(drawn(100).with_columns(input_1=pl.col("input_1") + 3.0))["input_1"].shifted


def test_missing_values_are_a_bin() -> None:
    bins = Bins.of(np.r_[np.arange(90.0), np.full(10, np.nan)])
    shift = bins.shift(np.r_[np.arange(90.0), np.full(90, np.nan)])
    assert (shift.missing_before, shift.missing) == (0.1, 0.5)
    assert shift.shifted
    nothing = Bins.of(np.full(30, np.nan))
    assert not nothing.shift(np.full(30, np.nan)).shifted
    assert nothing.shift(np.arange(30.0)).shifted


@given(values, values)
@settings(max_examples=60, deadline=None)
def test_the_index_is_finite_and_never_negative(told: list[float], now: list[float]) -> None:
    bins = Bins.of(np.array(told))
    assert sum(bins.counts) == len(told)
    shift = bins.shift(np.array(now))
    assert math.isfinite(shift.psi)
    assert shift.psi >= 0
    assert bins.shift(np.array(told)).psi == pytest.approx(0)


def test_a_reference_is_kept_with_its_model(tmp_path: Path) -> None:
    model, frame = propensity(), propensity_rows(4, 500)
    made = Reference.of(model, frame)
    made.save(tmp_path)
    assert Reference.read(tmp_path) == made
    assert set(made.inputs) == set(FEATURES)
    assert not any(shift.shifted for shift in made.of_frame(propensity_rows(5, 400)).values())
    moved = made.of_frame(propensity_rows(5, 400).with_columns(pl.col(FEATURES[0]) * 4))
    assert [name for name, shift in moved.items() if shift.shifted] == [FEATURES[0]]
    (tmp_path / FILE).unlink()
    assert Reference.read(tmp_path) is None

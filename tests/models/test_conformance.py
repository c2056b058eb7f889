"""Every model x every check: what callers may take for granted of any model. Models: tests/fakes/model_cases.py."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.store.declared import served_versions
from models.load import MissingColumns, ModelError, load, read_manifest, verify_golden, write_golden
from tests.fakes.model_cases import CASES, Case


@pytest.fixture(params=list(CASES))
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]()


@pytest.fixture(params=["frame", "odd"])
def frame(request: pytest.FixtureRequest, case: Case) -> pl.DataFrame:
    found: pl.DataFrame = getattr(case, request.param)
    return found


def test_one_probability_a_row(case: Case, frame: pl.DataFrame) -> None:
    found = case.model.predict(frame)
    assert found.dtype == np.float64
    assert found.shape == (frame.height,)
    assert np.all((found >= case.least) & (found <= 1))


@pytest.mark.parametrize("blank", [None, float("nan"), float("inf"), float("-inf")], ids=str)
def test_what_is_not_known_of_a_column_gives_a_probability_or_is_refused_by_name(
    case: Case, frame: pl.DataFrame, blank: float | None
) -> None:
    for name in case.model.columns:
        if blank is not None and not frame[name].dtype.is_numeric():
            continue
        kind = frame[name].dtype if blank is None else pl.Float64
        blanked = frame.with_columns(pl.lit(blank, kind).alias(name))
        if name in case.needed:
            with pytest.raises(ValueError, match=name):
                case.model.predict(blanked)
        else:
            found = case.model.predict(blanked)
            assert np.all((found >= case.least) & (found <= 1)), name


def test_same_input_same_output(case: Case, frame: pl.DataFrame) -> None:
    np.testing.assert_array_equal(case.model.predict(frame), case.model.predict(frame.clone()))


def test_a_row_alone_scores_as_in_company(case: Case, frame: pl.DataFrame) -> None:
    together = case.model.predict(frame)
    alone = [case.model.predict(frame[place : place + 1])[0] for place in range(frame.height)]
    np.testing.assert_array_equal(alone, together)


def test_the_order_of_rows_and_columns_and_further_columns_do_not_matter(case: Case, frame: pl.DataFrame) -> None:
    expected = case.model.predict(frame)
    shuffled = frame.select(reversed(frame.columns)).with_columns(another=pl.lit("x")).reverse()
    np.testing.assert_array_equal(case.model.predict(shuffled)[::-1], expected)


def test_no_rows_give_no_scores(case: Case) -> None:
    assert case.model.predict(case.frame.clear()).shape == (0,)


def test_inputs_are_not_changed(case: Case, frame: pl.DataFrame) -> None:
    before = frame.clone()
    case.model.predict(frame)
    assert frame.equals(before)


def test_monotone_where_declared(case: Case, frame: pl.DataFrame) -> None:
    declared = getattr(case.model, "declaration", None)
    for name, direction in (declared.directions if declared is not None else {}).items():
        steps = [frame.with_columns(pl.lit(value).alias(name)) for value in (-5.0, 0.0, 1.0, 3.0, 9.0, 40.0, 300.0)]
        told = np.array([case.model.predict(step) for step in steps])
        assert (direction * np.diff(told, axis=0) >= 0).all(), name


def test_a_missing_column_is_named(case: Case) -> None:
    for column in case.model.columns:
        with pytest.raises(MissingColumns, match=column) as refused:
            case.model.predict(case.frame.drop(column))
        assert refused.value.columns == [column]
        assert case.model.name in str(refused.value)


def test_reading_what_was_written_gives_the_same_model(case: Case, frame: pl.DataFrame, tmp_path: Path) -> None:
    case.model.save(tmp_path)
    again = load(tmp_path, "7")
    assert (again.name, again.version, again.columns) == (case.model.name, "7", case.model.columns)
    np.testing.assert_array_equal(again.predict(frame), case.model.predict(frame))
    again.save(tmp_path / "twice")
    assert read_manifest(tmp_path / "twice") == read_manifest(tmp_path)


def test_pickling_changes_nothing(case: Case, frame: pl.DataFrame) -> None:
    again = pickle.loads(pickle.dumps(case.model))
    np.testing.assert_array_equal(again.predict(frame), case.model.predict(frame))


def test_golden_rows_are_reproduced_or_refused(case: Case, tmp_path: Path) -> None:
    case.model.save(tmp_path)
    write_golden(case.model, tmp_path, case.odd)
    verify_golden(load(tmp_path), tmp_path)
    other = case.model.predict(case.odd) * 0.9
    case.odd.select(case.model.columns).with_columns(golden_expected=pl.Series(other)).write_parquet(
        tmp_path / "golden.parquet"
    )
    with pytest.raises(ModelError, match="golden rows"):
        verify_golden(load(tmp_path), tmp_path)


def test_a_damaged_folder_is_refused(case: Case, tmp_path: Path) -> None:
    case.model.save(tmp_path)
    parts = [path for path in sorted(tmp_path.iterdir()) if path.suffix in {".txt", ".json"}]
    for part in parts:
        text = part.read_text()
        part.write_text(text[: len(text) // 2])
        with pytest.raises(ModelError):
            load(tmp_path)
        part.write_text(text)
    load(tmp_path)


def test_mlflows_view_gives_the_same(case: Case, tmp_path: Path) -> None:
    from models.load import _load_pyfunc

    case.model.save(tmp_path)
    seen = _load_pyfunc(str(tmp_path)).predict(case.frame.to_pandas())
    np.testing.assert_array_equal(seen, case.model.predict(case.frame))


def test_feast_is_told_of_all_that_a_served_version_takes(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "served" / "one" / "5"
    folder.mkdir(parents=True)
    case.model.save(folder)
    write_golden(case.model, folder, case.odd)
    assert set(case.model.columns) <= set(served_versions(tmp_path)["one-5"])

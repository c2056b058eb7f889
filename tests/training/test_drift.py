"""Each training run keeps its training set's distributions and compares them with the champion's."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from models.reference import Reference
from tests.fakes.model_cases import FEATURES, propensity, propensity_rows
from training.drift import FIGURE, keep_reference


def test_a_plot_against_the_champions_training_set(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
    assert keep_reference(propensity(), first, propensity_rows(4), None) == {}
    moved = propensity_rows(5).with_columns(pl.col(FEATURES[1]) * 3)
    figures = keep_reference(propensity(), second, moved, ("1", first))
    axis = figures[FIGURE].axes[0]
    assert [label.get_text() for label in axis.get_yticklabels()][-1] in {FEATURES[1], "(the score)"}
    assert Reference.read(second) is not None
    assert keep_reference(propensity(), second, moved, ("0", tmp_path / "gone")) == {}

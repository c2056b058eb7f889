"""Every picture of a training run says what its axes are, and who is who."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from models.presence import Presence
from models.reference import Shift
from models.send_time import SendTimeModel
from models.week import HOURS
from training.plots import calibration_plot, drift_plot, effects_plot, propensity_plots, qini_plot
from training.send_time_report import presence_plot, send_time_plots

RNG = np.random.default_rng(1)
LABELS = RNG.random(200) < 0.3
SCORES = np.clip(LABELS * 0.3 + RNG.random(200) * 0.6, 0, 1)


def pictures() -> dict[str, Figure]:
    values, line = RNG.normal(size=(200, 3)), np.linspace(1, 9, 20)
    week = Presence(np.full((2, HOURS), 1 / HOURS), np.array([0.4, 0.6]), 10.0, np.full(24, 1 / 24))
    curves = {"ours": (LABELS, SCORES), "recency": (LABELS, SCORES[::-1])}
    return propensity_plots(curves, ("a", "b", "c"), values, values * 0.1) | {
        "qini.png": qini_plot({"ours": (line, line)}, "Qini"),
        "drift.png": drift_plot({"a": Shift(0.2, 0.1, 200, 0.0, 0.0)}, "Drift"),
        "presence.png": presence_plot(week),
    }


@pytest.mark.parametrize(("name", "picture"), pictures().items())
def test_every_axis_is_labelled_and_several_lines_have_a_legend(name: str, picture: Figure) -> None:
    axes: list[Any] = [axis for axis in picture.axes if axis.get_visible()]
    assert axes
    for axis in axes:
        assert axis.get_xlabel()
        assert axis.get_title()
        assert axis.get_ylabel() or len(axis.patches)  # bars carry their names
        named = [line for line in axis.lines if not line.get_label().startswith("_")]
        assert len(named) < 2 or axis.get_legend() or picture.legends


def test_the_model_stands_out_from_its_rivals() -> None:
    drawn = calibration_plot({"ours": (LABELS, SCORES), "recency": (LABELS, SCORES[::-1])}).axes[0]
    ours, rival = (bars.lines for bars in drawn.containers)
    assert ours[0].get_linewidth() > rival[0].get_linewidth()
    assert (len(ours[2]), len(rival[2])) == (1, 0), "intervals of all of them hide each other"


def test_a_few_extreme_customers_do_not_squeeze_a_features_effects() -> None:
    values = np.append(np.linspace(0, 10, 999), 40_000.0)[:, None]
    low, high = effects_plot(("a",), values, values * 0.1).axes[0].get_xlim()
    assert low < 0.1
    assert 9 < high < 12


def test_hours_without_a_message_are_no_empty_picture() -> None:
    assert set(send_time_plots(SendTimeModel.untrained())) == {"presence.png"}

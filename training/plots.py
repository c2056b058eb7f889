"""Figures for a training run: calibration, lift and gain, ROC and PR, feature effects. Drawn without pyplot's state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from models.reference import MODERATE, Shift

Floats = npt.NDArray[np.float64]
Curves = Mapping[str, tuple[npt.ArrayLike, npt.ArrayLike]]  # name -> (labels, probabilities)
BINS = 10
_MODEL: dict[str, Any] = {"linewidth": 1.8, "zorder": 3}
_RIVAL: dict[str, Any] = {"linewidth": 0.8, "alpha": 0.7}
"""Of several curves the first is the model; its rivals are lines behind it."""
_SHOWN = (0.005, 0.995)
"""Between these quantiles of a feature its effect is shown: a few customers of thousands squeeze all others."""


def _figure(columns: int = 1, rows: int = 1) -> tuple[Figure, npt.NDArray[Any]]:
    drawing = Figure(figsize=(4.8 * columns, 3.8 * rows), dpi=120, layout="constrained")
    FigureCanvasAgg(drawing)
    return drawing, np.atleast_1d(drawing.subplots(rows, columns)).ravel()


def calibration_plot(curves: Curves) -> Figure:
    """Promised against observed probability, in bins of equal mass; of the model with each bin's 95% interval."""
    drawing, (axis,) = _figure()
    top = 0.01
    for place, (name, (labels, probability)) in enumerate(curves.items()):
        y, p = _by_falling(labels, probability)
        bins = [part for part in np.array_split(np.arange(len(y)), BINS) if len(part)]
        promised = np.array([p[part].mean() for part in bins])
        observed = np.array([y[part].mean() for part in bins])
        error = 1.96 * np.sqrt(observed * (1 - observed) / np.array([len(part) for part in bins]))
        look = _RIVAL if place else {**_MODEL, "yerr": error, "elinewidth": 1}
        axis.errorbar(promised, observed, marker="o", markersize=2 if place else 4, label=name, **look)
        top = max(top, promised.max(), observed.max())
    axis.plot([0, top], [0, top], color="grey", linewidth=0.8, linestyle="--")
    axis.set(xlabel="promised probability", ylabel="observed share", title="Calibration")
    axis.legend(fontsize=7)
    return drawing


def lift_plot(curves: Curves) -> Figure:
    """Gain (share of all positives reached) and lift, by share of customers contacted, best first."""
    drawing, (gain, lift) = _figure(2)
    for place, (name, (labels, probability)) in enumerate(curves.items()):
        look = _RIVAL if place else _MODEL
        y, _ = _by_falling(labels, probability)
        contacted = np.arange(1, len(y) + 1) / len(y)
        reached = np.cumsum(y) / max(y.sum(), 1)
        keep = _thin(len(y))
        gain.plot(contacted[keep], reached[keep], label=name, **look)
        lift.plot(contacted[keep], (reached / contacted)[keep], label=name, **look)
    gain.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    gain.set(xlabel="share contacted", ylabel="share of positives reached", title="Gain")
    lift.axhline(1, color="grey", linewidth=0.8, linestyle="--")
    lift.set(xlabel="share contacted", ylabel="lift", title="Lift")
    gain.legend(fontsize=7)
    lift.legend(fontsize=7)
    return drawing


def roc_pr_plot(curves: Curves) -> Figure:
    """ROC and precision-recall curves."""
    drawing, (roc, pr) = _figure(2)
    for place, (name, (labels, probability)) in enumerate(curves.items()):
        look = _RIVAL if place else _MODEL
        y, _ = _by_falling(labels, probability)
        hits, misses = np.cumsum(y), np.cumsum(1 - y)
        keep = _thin(len(y))
        roc.plot((misses / max(misses[-1], 1))[keep], (hits / max(hits[-1], 1))[keep], label=name, **look)
        pr.plot((hits / max(hits[-1], 1))[keep], (hits / (hits + misses))[keep], label=name, **look)
    roc.plot([0, 1], [0, 1], color="grey", linewidth=0.8, linestyle="--")
    roc.set(xlabel="false positive rate", ylabel="true positive rate", title="ROC")
    pr.set(xlabel="recall", ylabel="precision", title="Precision and recall")
    roc.legend(fontsize=7)
    pr.legend(fontsize=7)
    return drawing


def importance_plot(features: Sequence[str], importance: Floats) -> Figure:
    """The features with the largest mean absolute effect on the score."""
    drawing, (axis,) = _figure()
    order = np.argsort(importance)[-15:]
    axis.barh([features[place] for place in order], importance[order], height=0.7)
    axis.tick_params(axis="y", labelsize=7)
    axis.set(xlabel="mean |effect| on the score, log-odds", title="Importance")
    return drawing


def effects_plot(features: Sequence[str], values: Floats, effects: Floats) -> Figure:
    """The effect on the score against the value, for the six strongest features.

    `values` and `effects` are (rows, features); the effect of a row is its contribution to the score.
    """
    strongest = np.argsort(np.abs(effects).mean(axis=0))[::-1][:6]
    drawing, axes = _figure(3, -(-len(strongest) // 3))
    for axis, place in zip(axes, strongest, strict=False):
        axis.scatter(values[:, place], effects[:, place], s=3, alpha=0.35, linewidths=0)
        axis.axhline(0, color="grey", linewidth=0.6)
        known = values[:, place][np.isfinite(values[:, place])]
        low, high = np.quantile(known, _SHOWN) if len(known) else (0, 0)
        if low < high:
            axis.set_xlim(low - 0.03 * (high - low), high + 0.03 * (high - low))
        axis.set_title(features[place], fontsize=8)
        axis.tick_params(labelsize=6)
        axis.set_xlabel("value of the feature", fontsize=7)
        axis.set_ylabel("effect, log-odds", fontsize=7)
    for axis in axes[len(strongest) :]:
        axis.set_visible(False)
    return drawing


def qini_plot(curves: Mapping[str, tuple[Floats, Floats]], title: str) -> Figure:
    """Outcomes added by share contacted, best first: each curve is (customers contacted, outcomes added)."""
    drawing, (axis,) = _figure()
    last = (0.0, 0.0)
    for name, (contacted, gained) in curves.items():
        keep, last = _thin(len(contacted)), (contacted[-1], gained[-1])
        axis.plot(contacted[keep] / contacted[-1], gained[keep], linewidth=1, label=name)
    axis.plot([0, 1], [0, last[1]], color="grey", linewidth=0.8, linestyle="--", label="by chance")
    axis.set(xlabel="share contacted", ylabel="outcomes added", title=title)
    axis.legend(fontsize=7)
    return drawing


def drift_plot(shifts: Mapping[str, Shift], title: str) -> Figure:
    """The population stability index of the inputs that moved most, beside what chance alone may make of each."""
    drawing, (axis,) = _figure()
    names = sorted(shifts, key=lambda name: shifts[name].psi)[-20:]
    axis.barh(names, [shifts[name].psi for name in names], height=0.7)
    axis.plot([shifts[name].chance for name in names], names, "k|", markersize=6, label="chance (99.9%)")
    axis.axvline(MODERATE, color="grey", linewidth=0.8, linestyle="--")
    axis.tick_params(axis="y", labelsize=6)
    axis.set(xlabel="population stability index", title=title)
    axis.title.set_fontsize(8)
    axis.legend(fontsize=7)
    return drawing


def propensity_plots(curves: Curves, features: Sequence[str], values: Floats, effects: Floats) -> dict[str, Figure]:
    """All figures of a model that promises probabilities, by file name."""
    return {
        "calibration.png": calibration_plot(curves),
        "lift.png": lift_plot(curves),
        "roc_pr.png": roc_pr_plot(curves),
        "importance.png": importance_plot(features, np.abs(effects).mean(axis=0)),
        "effects.png": effects_plot(features, values, effects),
    }


def _by_falling(labels: npt.ArrayLike, probability: npt.ArrayLike) -> tuple[Floats, Floats]:
    y, p = np.asarray(labels, np.float64), np.asarray(probability, np.float64)
    order = np.argsort(-p, kind="stable")
    return y[order], p[order]


def _thin(n: int) -> npt.NDArray[np.int64]:
    return np.unique(np.linspace(0, n - 1, min(n, 300)).astype(np.int64))

"""Keeps a training set's distributions with the model, and shows how they moved since the champion's training set."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import polars as pl

from models.load import Model
from models.reference import Reference, Shift
from training.plots import drift_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE, SCORE = "drift.png", "(the score)"
Floats = npt.NDArray[np.float64]


def keep_reference(
    model: Model,
    folder: Path,
    frame: pl.DataFrame,
    champion: tuple[str, Path] | None,
    scores: Floats | None = None,
) -> dict[str, Figure]:
    """Writes the reference of `model`, trained on `frame`, into its `folder`; `scores`: what it says of those whom it
    will be asked about, where `frame` does not tell all that it will know of them.

    Returns drift.png: the shift of inputs and scores against the training set of the champion (version, folder);
    empty where there is none to compare with.
    """
    Reference.of(model, frame, scores).save(folder)
    before = Reference.read(champion[1]) if champion is not None else None
    if champion is None or before is None:
        return {}
    told = model.predict(frame) if scores is None else scores
    return _plot({**before.of_frame(frame), SCORE: before.scores.shift(told)}, champion[0])


def keep_numbers(
    inputs: Mapping[str, Floats], scores: Floats, folder: Path, champion: tuple[str, Path] | None
) -> dict[str, Figure]:
    """`keep_reference` of a model whose inputs are no features of the catalogue: each (n,)."""
    Reference.of_numbers(inputs, scores).save(folder)
    before = Reference.read(champion[1]) if champion is not None else None
    if champion is None or before is None:
        return {}
    told = {name: bins for name, bins in before.inputs.items() if name in inputs}
    moved = {name: bins.shift(inputs[name], len(told)) for name, bins in told.items()}
    return _plot({**moved, SCORE: before.scores.shift(scores)}, champion[0])


def _plot(shifts: Mapping[str, Shift], version: str) -> dict[str, Figure]:
    return {FIGURE: drift_plot(dict(shifts), f"Against the training set of version {version}")}

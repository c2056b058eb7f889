"""Keeps a training set's distributions with the model, and shows how they moved since the champion's training set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from models.load import Model
from models.reference import Reference
from training.plots import drift_plot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURE = "drift.png"


def keep_reference(
    model: Model, folder: Path, frame: pl.DataFrame, champion: tuple[str, Path] | None
) -> dict[str, Figure]:
    """Writes the reference of `model`, trained on `frame`, into its `folder`.

    Returns drift.png: the shift of inputs and scores against the training set of the champion (version, folder);
    empty where there is none to compare with.
    """
    reference = Reference.of(model, frame)
    reference.save(folder)
    before = Reference.read(champion[1]) if champion is not None else None
    if champion is None or before is None:
        return {}
    shifts = {**before.of_frame(frame), "(the score)": before.scores.shift(model.predict(frame))}
    return {FIGURE: drift_plot(shifts, f"Against the training set of version {champion[0]}")}

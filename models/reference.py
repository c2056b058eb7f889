"""What a model was trained on, kept with its version, and how far other data has moved from it.

The population stability index over bins b, with shares q_b in training and p_b now, is

    PSI = sum_b (p_b - q_b) ln(p_b / q_b)

(Siddiqi 2006, "Credit risk scorecards", chapter 9). Bins lie between the deciles of the training set, equal deciles
joined; one more lies below all of it, and one holds what is missing. Half a row is added to each bin, so that an empty
one stays finite. Of two samples of the same population, of n and m rows, PSI is about (1/n + 1/m) times chi-square
with B - 1 degrees of freedom (Yurdakul and Naranjo 2020, "Statistical properties of the population stability index"):
small samples show some by chance. A shift counts when it is above 0.1, the usual rule, and above the 99.9% quantile of
chance, of all inputs that are compared together: of a hundred at 99.9% each one rang in 5 to 17% of checks of 50 to 200
customers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import FEATURE_NAMES
from models.load import Model

Floats = npt.NDArray[np.float64]
FILE = "reference.json"
DECILES = np.linspace(0.1, 0.9, 9)
MODERATE = 0.1
_BY_CHANCE = 0.001
ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Shift:
    """How far some data is from the reference: `psi`, what chance alone may make of it, missing shares then and now."""

    psi: float
    chance: float
    rows: int
    missing_before: float
    missing: float

    @property
    def shifted(self) -> bool:
        return self.psi > max(MODERATE, self.chance)

    def to_dict(self) -> dict[str, Any]:
        return {
            "psi": self.psi,
            "chance": self.chance,
            "rows": self.rows,
            "missing_before": self.missing_before,
            "missing": self.missing,
            "shifted": self.shifted,
        }


@dataclass(frozen=True, slots=True)
class Bins:
    """A distribution: `counts` (k + 2,) of the training rows between the `edges` (k,), the last of missing ones.

    A value on an edge belongs below it.
    """

    edges: tuple[float, ...]
    counts: tuple[int, ...]

    @classmethod
    def of(cls, values: Floats) -> Self:
        """The bins of training values (n,); NaN and infinities are missing."""
        known = values[np.isfinite(values)]
        deciles = np.quantile(known, DECILES, method="lower") if len(known) else known
        below = [np.nextafter(known.min(), -np.inf)] if len(known) else []
        edges = tuple(np.unique(np.r_[below, deciles]).tolist())
        return cls(edges, tuple(_counts(values, edges).tolist()))

    @property
    def mean_missing(self) -> float:
        return self.counts[-1] / max(sum(self.counts), 1)

    def shift(self, values: Floats, among: int = 1) -> Shift:
        """How far `values` (n,) are from these, one of so many inputs that are compared."""
        then, now = np.array(self.counts, np.float64), _counts(values, self.edges).astype(np.float64)
        used = (then + now) > 0
        before, after = _shares(then[used]), _shares(now[used])
        psi = float(((after - before) * np.log(after / before)).sum())
        freedom = max(int(used.sum()) - 1, 1)
        noise = 1 / max(then.sum(), 1) + 1 / max(now.sum(), 1)
        missing = float(now[-1] / max(now.sum(), 1))
        return Shift(
            psi,
            float(noise) * _chi_square(freedom, _BY_CHANCE / max(among, 1)),
            len(values),
            self.mean_missing,
            missing,
        )

    def to_dict(self) -> dict[str, Any]:
        return {"edges": list(self.edges), "counts": list(self.counts)}


@dataclass(frozen=True, slots=True)
class Reference:
    """The training set's distributions: `inputs` by feature of the catalogue, and the model's `scores` on it."""

    inputs: Mapping[str, Bins]
    scores: Bins

    @classmethod
    def of(cls, model: Model, frame: pl.DataFrame, scores: Floats | None = None) -> Self:
        """Of a model and (at most ROWS of) the rows that it was trained on; `scores` where those are told otherwise.

        Raises MissingColumns.
        """
        rows = frame if frame.height <= ROWS else frame.sample(ROWS, seed=9)
        named = [name for name in model.columns if name in FEATURE_NAMES]
        inputs = {name: Bins.of(_numbers(rows, name)) for name in named}
        return cls(inputs, Bins.of(model.predict(rows) if scores is None else scores))

    @classmethod
    def of_numbers(cls, inputs: Mapping[str, Floats], scores: Floats) -> Self:
        """Of a model whose inputs are no features of the catalogue: each (n,)."""
        return cls({name: Bins.of(values) for name, values in inputs.items()}, Bins.of(scores))

    def of_frame(self, frame: pl.DataFrame) -> dict[str, Shift]:
        """How far each input that `frame` has is from here."""
        told = {name: bins for name, bins in self.inputs.items() if name in frame.columns}
        return {name: bins.shift(_numbers(frame, name), len(told)) for name, bins in told.items()}

    def save(self, folder: Path) -> None:
        inputs = {name: bins.to_dict() for name, bins in self.inputs.items()}
        (folder / FILE).write_text(json.dumps({"inputs": inputs, "scores": self.scores.to_dict()}))

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """What `save` wrote; None for a version without one (trained before there were references)."""
        path = folder / FILE
        if not path.exists():
            return None
        raw = json.loads(path.read_text())
        return cls({name: _bins(one) for name, one in raw["inputs"].items()}, _bins(raw["scores"]))


def _bins(raw: Mapping[str, Any]) -> Bins:
    return Bins(tuple(raw["edges"]), tuple(raw["counts"]))


def _numbers(frame: pl.DataFrame, name: str) -> Floats:
    return frame[name].cast(pl.Float64).fill_null(math.nan).to_numpy()


def _counts(values: Floats, edges: tuple[float, ...]) -> npt.NDArray[np.int64]:
    known = np.isfinite(values)
    places = np.searchsorted(np.array(edges), values[known], side="left")
    counts = np.bincount(places, minlength=len(edges) + 1)
    return np.append(counts, int((~known).sum())).astype(np.int64)


def _shares(counts: Floats) -> Floats:
    return np.asarray((counts + 0.5) / (counts.sum() + 0.5 * len(counts)), np.float64)


def _chi_square(freedom: int, above: float) -> float:
    """What chi-square passes this often, by Wilson and Hilferty 1931 (at most a seventh too high)."""
    part, high = 2 / (9 * freedom), NormalDist().inv_cdf(1 - above)
    return float(freedom * (1 - part + high * math.sqrt(part)) ** 3)

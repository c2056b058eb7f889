"""How likely a customer is to do something within a horizon: one model, declared many times (lead, churn, winback)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import FEATURE_NAMES
from features.rows import CustomerRow
from models.calibration import Calibration, sigmoid
from models.declaration import Declaration, column
from models.linear import Linear
from models.load import MANIFEST, need
from models.reasons import SENTENCES, Reason, strongest
from models.trees import TreeModel, parse_trees

Floats = npt.NDArray[np.float64]

FORMAT = 1
REASONS = 3


@dataclass(frozen=True, slots=True)
class Tier:
    """Customers with at least `least` probability (and less than the tier above); `expected` share converts."""

    name: str
    least: float
    expected: float


@dataclass(frozen=True, slots=True)
class Score:
    """A customer's score. `probability` is None where the model does not apply; `why` then says why not."""

    probability: float | None
    tier: str | None
    reasons: tuple[Reason, ...]
    why: str | None
    model_version: str


@dataclass(frozen=True, slots=True)
class PropensityModel:
    """Boosted trees and a logistic regression, mixed on the log-odds scale (`mix` is the trees' share), calibrated.

    `trained` says on what: cuts, rows, labels_until. `tree_text` is LightGBM's own model file.
    """

    declaration: Declaration
    features: tuple[str, ...]
    trees: TreeModel
    tree_text: str
    linear: Linear
    mix: float
    calibration: Calibration
    tiers: tuple[Tier, ...] = ()
    trained: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def name(self) -> str:
        return self.declaration.name

    @property
    def columns(self) -> tuple[str, ...]:
        return self.features

    def predict(self, frame: pl.DataFrame) -> Floats:
        """Calibrated probabilities, shape (n,), of the goal within the horizon, whoever belongs to the population.

        `frame` has the model's features in any order, null or NaN where unknown. Raises MissingColumns.
        """
        return self.predict_rows(self.matrix(frame))

    def matrix(self, frame: pl.DataFrame) -> Floats:
        """The model's inputs as (n, features). Raises MissingColumns."""
        need(frame, self.features, self.name)
        if not self.features:
            return np.zeros((frame.height, 0))
        return np.column_stack([column(frame, name) for name in self.features])

    def predict_rows(self, rows: Floats) -> Floats:
        return self.calibration.apply(sigmoid(self.raw_score(rows)))

    def raw_score(self, rows: Floats) -> Floats:
        """Log-odds before calibration, shape (n,)."""
        if not len(rows):
            return np.zeros(0)
        return self.mix * self.trees.raw_score(rows) + (1 - self.mix) * self.linear.raw_score(rows)

    def effects(self, rows: Floats) -> Floats:
        """Each feature's part of the log-odds, (n, features): path contributions mixed with linear effects."""
        return self.mix * self.trees.contributions(rows)[:, :-1] + (1 - self.mix) * self.linear.effects(rows)

    def score(self, row: CustomerRow) -> Score:
        """The score of one customer with reasons. Raises KeyError if the row lacks one of the model's features."""
        why = self.declaration.why_not(row.values)
        if why is not None:
            return Score(None, None, (), why or f"not in the population of {self.name}", self.version)
        values = np.array([[row.values[name] for name in self.features]], np.float64)
        probability = float(self.predict_rows(values)[0])
        reasons = strongest(self.features, self.effects(values)[0], row.values, REASONS, alike=SENTENCES)
        return Score(probability, self.tier(probability), reasons, None, self.version)

    def probabilities(self, rows: Sequence[CustomerRow]) -> list[float | None]:
        """The probability of each customer, None for those outside the population: `score` without its reasons.

        Raises KeyError if a row lacks one of the model's features.
        """
        inside = [place for place, row in enumerate(rows) if self.declaration.why_not(row.values) is None]
        found: list[float | None] = [None] * len(rows)
        if inside:
            names = self.features
            lines = np.array([[rows[place].values[name] for name in names] for place in inside], np.float64)
            told = self.predict_rows(lines.reshape(-1, len(names))).tolist()
            for place, probability in zip(inside, told, strict=True):
                found[place] = probability
        return found

    def tier(self, probability: float) -> str | None:
        """The tier of a probability; None for a model without tiers."""
        return next((tier.name for tier in self.tiers if probability >= tier.least), None)

    def save(self, folder: Path) -> None:
        """Writes model.json and model.txt into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.txt").write_text(self.tree_text)
        manifest = {
            "format": FORMAT,
            "kind": "propensity",
            "name": self.name,
            "declaration": self.declaration.to_dict(),
            "features": list(self.features),
            "linear": self.linear.to_dict(),
            "mix": self.mix,
            "calibration": self.calibration.to_dict(),
            "tiers": [[tier.name, tier.least, tier.expected] for tier in self.tiers],
            "trained": dict(self.trained),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1))

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any], version: str) -> Self:
        """The model in `folder`. Raises ValueError for features that the catalogue no longer has."""
        features = tuple(manifest["features"])
        unknown = [name for name in features if name not in FEATURE_NAMES]
        if unknown:
            raise ValueError(f"the catalogue has no feature {', '.join(unknown)}; train the model again")
        text = (folder / "model.txt").read_text()
        return cls(
            Declaration.from_dict(manifest["declaration"]),
            features,
            parse_trees(text),
            text,
            Linear.from_dict(manifest["linear"]),
            float(manifest["mix"]),
            Calibration.from_dict(manifest["calibration"]),
            tuple(Tier(*tier) for tier in manifest["tiers"]),
            manifest["trained"],
            version,
        )

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
from features.rows import CustomerRow, feature_matrix
from models.bgnbd import INPUTS, Buying
from models.calibration import Calibration, sigmoid
from models.declaration import Declaration, column
from models.linear import Linear
from models.load import MANIFEST, need
from models.reasons import Reason, strongest
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

    Where the goal is an order, `buying` (BG/NBD) may have a share beside the two of them.

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
    buying: Buying | None = None
    buying_share: float = 0.0
    columns: tuple[str, ...] = field(init=False, repr=False, compare=False)
    _told: tuple[int, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """`columns`: the features, and behind them what `buying` needs beside them."""
        needed = () if self.buying is None else INPUTS
        columns = tuple(dict.fromkeys((*self.features, *needed)))
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "_told", tuple(columns.index(name) for name in needed))

    @property
    def name(self) -> str:
        return self.declaration.name

    def predict(self, frame: pl.DataFrame) -> Floats:
        """Calibrated probabilities, shape (n,), of the goal within the horizon, whoever belongs to the population.

        `frame` has the model's features in any order, null or NaN where unknown. Raises MissingColumns.
        """
        return self.predict_rows(self.matrix(frame))

    def matrix(self, frame: pl.DataFrame) -> Floats:
        """The model's inputs as (n, columns). Raises MissingColumns."""
        need(frame, self.columns, self.name)
        if not self.columns:
            return np.zeros((frame.height, 0))
        return np.column_stack([column(frame, name) for name in self.columns])

    def predict_rows(self, rows: Floats) -> Floats:
        return self.calibration.apply(sigmoid(self.raw_score(rows)))

    def raw_score(self, rows: Floats) -> Floats:
        """Log-odds before calibration, shape (n,)."""
        if not len(rows):
            return np.zeros(0)
        seen = rows[:, : len(self.features)]
        both = self.mix * self.trees.raw_score(seen) + (1 - self.mix) * self.linear.raw_score(seen)
        if self.buying is None:
            return both
        return (1 - self.buying_share) * both + self.buying_share * self.buying.raw_score(rows[:, self._told])

    def effects(self, rows: Floats) -> Floats:
        """Each column's part of the log-odds, (n, columns): path contributions mixed with linear effects, and with what
        BG/NBD makes of the last order and of their number."""
        return self.blended(self.trees.contributions(rows[:, : len(self.features)])[:, :-1], rows)

    def blended(self, trees: Floats, rows: Floats) -> Floats:
        """As `effects`, with other effects of the trees (n, features), such as exact SHAP values."""
        both = self.mix * trees + (1 - self.mix) * self.linear.effects(rows[:, : len(self.features)])
        if self.buying is None:
            return both
        found = np.zeros(rows.shape)
        found[:, : len(self.features)] = (1 - self.buying_share) * both
        last, number = self.buying.effects(rows[:, self._told])
        found[:, self.columns.index("days_since_last_order")] += self.buying_share * last
        found[:, self.columns.index("orders_total")] += self.buying_share * number
        return found

    def score(self, row: CustomerRow) -> Score:
        """The score of one customer with reasons. Raises KeyError if the row lacks one of the model's features."""
        why = self.declaration.why_not(row.values)
        if why is not None:
            return Score(None, None, (), why or f"not in the population of {self.name}", self.version)
        values = np.array([[row.values[name] for name in self.columns]], np.float64)
        probability = float(self.predict_rows(values)[0])
        reasons = strongest(self.columns, self.effects(values)[0], row.values, REASONS)
        return Score(probability, self.tier(probability), reasons, None, self.version)

    def probabilities(self, rows: Sequence[CustomerRow]) -> list[float | None]:
        """The probability of each customer, None for those outside the population: `score` without its reasons.

        Raises KeyError if a row lacks one of the model's features.
        """
        asked = self.declaration.asked
        if not asked:
            return list(self.predict_rows(feature_matrix(rows, self.columns, strict=True)).tolist())
        columns = dict(zip(asked, feature_matrix(rows, asked).T, strict=True))
        inside = np.flatnonzero(self.declaration.inside(columns, len(rows))).tolist()
        lines = feature_matrix([rows[place] for place in inside], self.columns, strict=True)
        found: list[float | None] = [None] * len(rows)
        for place, probability in zip(inside, self.predict_rows(lines).tolist(), strict=True):
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
            "buying": None if self.buying is None else self.buying.to_dict(),
            "buying_share": self.buying_share,
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
            None if manifest.get("buying") is None else Buying.from_dict(manifest["buying"]),
            float(manifest.get("buying_share", 0.0)),
        )

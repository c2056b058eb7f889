"""How likely a customer is to do something within a horizon: one model, declared many times (lead, churn, winback)."""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import FEATURE_NAMES
from features.rows import CustomerRow
from models.calibration import Calibration, sigmoid
from models.load import MANIFEST, need
from models.reasons import SENTENCES, Reason, strongest
from models.trees import TreeModel, parse_trees

Floats = npt.NDArray[np.float64]

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
RULE = re.compile(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*(-?\d+(?:\.\d+)?)\s*")
FORMAT = 1
REASONS = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition of belonging to a population, such as `days_since_last_order < 56`.

    A missing feature (NaN) meets no rule. `otherwise` says why a customer is left out: a format string over features.
    """

    condition: str
    otherwise: str
    feature: str = field(init=False)
    compare: str = field(init=False)
    value: float = field(init=False)

    def __post_init__(self) -> None:
        match = RULE.fullmatch(self.condition)
        if match is None:
            raise ValueError(f"the rule {self.condition!r} is not of the form `feature < number` (also <= > >= = !=)")
        if match[1] not in FEATURE_NAMES:
            raise ValueError(f"the rule {self.condition!r} names no feature of the catalogue")
        for name, value in (("feature", match[1]), ("compare", match[2]), ("value", float(match[3]))):
            object.__setattr__(self, name, value)

    def holds(self, values: Floats) -> npt.NDArray[np.bool_]:
        """For each value (n,), whether the rule is met."""
        met: npt.NDArray[np.bool_] = OPERATORS[self.compare](values, self.value) & ~np.isnan(values)
        return met

    def why_not(self, values: Mapping[str, float]) -> str | None:
        """None where the rule is met, else the reason in words."""
        value = values.get(self.feature, math.nan)
        if not math.isnan(value) and OPERATORS[self.compare](value, self.value):
            return None
        return "" if self.otherwise == "" else _fill(self.otherwise, values) or self.condition


@dataclass(frozen=True, slots=True)
class Goal:
    """What is predicted: that an event happens in the horizon (or that it does not, `happens=False`).

    `event` is a verb of features/vocabulary.py (`ordered`, `redeemed`, …) or an event's own name.
    """

    event: str
    happens: bool = True
    noun: str = "conversions"


@dataclass(frozen=True, slots=True)
class Declaration:
    """A propensity model, declared: who is scored, what is predicted, how far ahead, and its plain baseline.

    `baseline` is the one feature whose logistic regression the model must beat. `features` narrows the inputs
    (empty: the whole catalogue). `tiers` are names with their share of the population, best first. `learns_from` may
    name a wider population to learn from where the scored one is small; it is judged on the scored one alone.
    """

    name: str
    title: str
    population: tuple[Rule, ...]
    goal: Goal
    horizon_days: int
    baseline: str
    features: tuple[str, ...] = ()
    tiers: tuple[tuple[str, float], ...] = ()
    learns_from: tuple[Rule, ...] = ()

    @property
    def horizon(self) -> timedelta:
        """Also the embargo between training and test cuts."""
        return timedelta(days=self.horizon_days)

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.features or FEATURE_NAMES

    def applies(self, frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Which rows of a feature frame belong to the population, shape (n,). Raises MissingColumns."""
        return self._meets(frame, self.population)

    def teaches(self, frame: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Which rows are learnt from, shape (n,). Raises MissingColumns."""
        return self._meets(frame, self.learns_from or self.population)

    def _meets(self, frame: pl.DataFrame, rules: tuple[Rule, ...]) -> npt.NDArray[np.bool_]:
        need(frame, tuple(rule.feature for rule in rules), self.name)
        inside = np.ones(frame.height, bool)
        for rule in rules:
            inside &= rule.holds(_column(frame, rule.feature))
        return inside

    def why_not(self, values: Mapping[str, float]) -> str | None:
        """Why a customer is outside the population, in words; None for one inside."""
        return next((why for rule in self.population if (why := rule.why_not(values)) is not None), None)

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "population": [[rule.condition, rule.otherwise] for rule in self.population],
            "goal": {"event": self.goal.event, "happens": self.goal.happens, "noun": self.goal.noun},
            "horizon_days": self.horizon_days,
            "baseline": self.baseline,
            "features": list(self.features),
            "tiers": [list(tier) for tier in self.tiers],
            "learns_from": [[rule.condition, rule.otherwise] for rule in self.learns_from],
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Declaration:
        """From a manifest or a TOML table. Raises ValueError or KeyError naming what is wrong."""

        def rules(key: str) -> tuple[Rule, ...]:
            return tuple(Rule(*((rule, "") if isinstance(rule, str) else rule)) for rule in raw.get(key, ()))

        return cls(
            raw["name"],
            raw.get("title", raw["name"]),
            rules("population"),
            Goal(**raw["goal"]),
            int(raw["horizon_days"]),
            raw["baseline"],
            tuple(raw.get("features", ())),
            tuple((str(name), float(share)) for name, share in raw.get("tiers", ())),
            rules("learns_from"),
        )


@dataclass(frozen=True, slots=True)
class Linear:
    """Logistic regression on squeezed, standardized features; a missing value counts as average plus its own effect.

    Squeezing is sign(x) log(1 + |x|), which tames counts and money. All arrays are (features,).
    """

    center: Floats
    scale: Floats
    weight: Floats
    missing: Floats
    intercept: float

    def effects(self, rows: Floats) -> Floats:
        """Each feature's part of the log-odds, (n, features); with `intercept` they sum to the score."""
        absent = np.isnan(rows)
        standard = (squeeze(np.where(absent, 0.0, rows)) - self.center) / self.scale
        return np.where(absent, self.missing, standard * self.weight)

    def raw_score(self, rows: Floats) -> Floats:
        # Summed feature by feature, not by matrix product: a row's score must not depend on its neighbours.
        return np.asarray(np.cumsum(self.effects(rows), axis=1)[:, -1] + self.intercept, np.float64)

    def to_dict(self) -> dict[str, Any]:
        lists = {name: getattr(self, name).tolist() for name in ("center", "scale", "weight", "missing")}
        return {**lists, "intercept": self.intercept}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Linear:
        names = ("center", "scale", "weight", "missing")
        center, scale, weight, missing = (np.array(raw[name], np.float64) for name in names)
        return cls(center, scale, weight, missing, float(raw["intercept"]))


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
        return np.column_stack([_column(frame, name) for name in self.features])

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


def squeeze(values: Floats) -> Floats:
    """sign(x) log(1 + |x|); infinities become the largest finite number first."""
    finite = np.nan_to_num(values, nan=np.nan, posinf=1e300, neginf=-1e300)
    return np.asarray(np.sign(finite) * np.log1p(np.abs(finite)), np.float64)


def _column(frame: pl.DataFrame, name: str) -> Floats:
    return frame[name].cast(pl.Float64).fill_null(math.nan).to_numpy()


def _fill(template: str, values: Mapping[str, float]) -> str | None:
    known = {name: value for name, value in values.items() if math.isfinite(value)}
    for text in (template, template.split(":")[0]):
        try:
            return text.format(**known)
        except KeyError:
            continue
    return None

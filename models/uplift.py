"""What contacting a customer changes: the uplift of an outcome's probability, and whom that makes worth contacting."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from xxhash import xxh3_64_hexdigest

from features.catalogue import FEATURE_NAMES
from features.rows import CustomerRow
from models.calibration import sigmoid
from models.linear import Linear
from models.load import MANIFEST, need
from models.trees import TreeModel, parse_trees

Floats = npt.NDArray[np.float64]
FORMAT = 1
PREFIX = "uplift-"

PERSUADABLE, SURE_THING, LOST_CAUSE, DO_NOT_DISTURB = SEGMENTS = (
    "persuadable",
    "sure_thing",
    "lost_cause",
    "do_not_disturb",
)


@lru_cache(maxsize=1024)
def uplift_name(placement: str) -> str:
    """The name of the model that was learnt from a placement's randomized arms, as the registry and files take it.

    What they do not take becomes a dash; a few letters more then tell `a/b` from `a-b`.
    """
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", placement).strip(".-") or "test"
    return PREFIX + (plain if plain == placement else f"{plain}-{xxh3_64_hexdigest(placement.encode())[:8]}")


@dataclass(frozen=True, slots=True)
class Input:
    """One number that the model reads: a column, or whether a column of texts holds `level`."""

    column: str
    level: str | None = None

    @property
    def name(self) -> str:
        return self.column if self.level is None else f"{self.column}={self.level}"

    def read(self, frame: pl.DataFrame) -> Floats:
        """Shape (n,); NaN where unknown. A text that is no number is unknown, and so is what is infinite: a handful of
        such rows would make all others alike."""
        column = frame[self.column]
        if self.level is not None:
            return (column.cast(pl.String) == self.level).fill_null(False).cast(pl.Float64).to_numpy()
        told = column.cast(pl.Float64, strict=False).fill_null(math.nan).to_numpy()
        return np.where(np.isfinite(told), told, math.nan)


@dataclass(frozen=True)
class Part:
    """A term of the uplift: `weight` times a linear score or trees, as it is or (`logistic`) as a probability."""

    weight: float
    linear: Linear | None = None
    tree_text: str = ""
    logistic: bool = False

    @cached_property
    def trees(self) -> TreeModel:
        return parse_trees(self.tree_text)

    def apply(self, rows: Floats) -> Floats:
        """The term of each row, (n,)."""
        score = self.trees.raw_score(rows) if self.linear is None else self.linear.raw_score(rows)
        return self.weight * (sigmoid(score) if self.logistic else score)

    def to_dict(self) -> dict[str, Any]:
        linear = None if self.linear is None else self.linear.to_dict()
        return {"weight": self.weight, "logistic": self.logistic, "linear": linear, "trees": self.tree_text}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Part:
        linear = None if raw["linear"] is None else Linear.from_dict(raw["linear"])
        made = cls(float(raw["weight"]), linear, raw["trees"], bool(raw["logistic"]))
        if linear is None:
            made.trees  # noqa: B018  a text that is no model is refused when it is loaded, not when it is asked
        return made


@dataclass(frozen=True, slots=True)
class Money:
    """What one outcome earns and one contact costs, in the same currency."""

    value: float
    cost: float

    @property
    def worthwhile(self) -> float:
        """The uplift from which contacting pays."""
        return self.cost / self.value


def segment_of(uplift: npt.ArrayLike, untreated: npt.ArrayLike, money: Money, usual: float) -> npt.NDArray[np.str_]:
    """The segment of each customer, (n,), by predicted uplift and probability without contact.

    Contact pays for persuadables (uplift above cost / value), harms do-not-disturbs (uplift below 0). In between it is
    not worth its cost: sure things act anyway (at least as often as `usual`), lost causes do not. After Kane, Lo and
    Zheng 2014, "Mining for the truly responsive customers and prospects using true-lift modeling".
    """
    change, before = np.asarray(uplift, np.float64), np.asarray(untreated, np.float64)
    between = np.where(before >= usual, SURE_THING, LOST_CAUSE)
    return np.select([change < 0, change > money.worthwhile], [DO_NOT_DISTURB, PERSUADABLE], between)


@dataclass(frozen=True)
class UpliftModel:
    """Uplift is the sum of its `parts`; `untreated` gives the log-odds of the outcome without contact.

    `average` is the mean uplift of all (what is said of somebody unknown), `usual` the outcome's rate without contact.
    `trained` says on what. `outcome` within `horizon_days` is what contact at `placement` changes.
    """

    placement: str
    inputs: tuple[Input, ...]
    parts: tuple[Part, ...]
    untreated: Linear
    average: float
    usual: float
    money: Money
    outcome: str = "ordered"
    horizon_days: float | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def name(self) -> str:
        return PREFIX + self.placement

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(one.column for one in self.inputs))

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(one.name for one in self.inputs)

    @property
    def serves(self) -> bool:
        """Whether every input is a feature of the catalogue, so that any customer can be scored."""
        return all(one.level is None and one.column in FEATURE_NAMES for one in self.inputs)

    def predict(self, frame: pl.DataFrame) -> Floats:
        """The change of the outcome's probability by contact, (n,), in [-1, 1]. Raises MissingColumns."""
        return self.predict_rows(self.matrix(frame))

    def matrix(self, frame: pl.DataFrame) -> Floats:
        """The model's inputs as (n, inputs). Raises MissingColumns."""
        need(frame, self.columns, self.name)
        return np.column_stack([one.read(frame) for one in self.inputs])

    def predict_rows(self, rows: Floats) -> Floats:
        if not len(rows):
            return np.zeros(0)
        # Added part by part: a row's uplift must not depend on its neighbours.
        return np.clip(sum((part.apply(rows) for part in self.parts), np.zeros(len(rows))), -1.0, 1.0)

    def untreated_rows(self, rows: Floats) -> Floats:
        """The outcome's probability without contact, (n,)."""
        return sigmoid(self.untreated.raw_score(rows)) if len(rows) else np.zeros(0)

    def segments(self, rows: Floats) -> npt.NDArray[np.str_]:
        """The segment of each row of inputs, (n,); see `segment_of`."""
        return segment_of(self.predict_rows(rows), self.untreated_rows(rows), self.money, self.usual)

    def uplifts(self, rows: Sequence[CustomerRow | None]) -> Floats:
        """The uplift of each customer, (n,); the average of all for those of whom nothing is known.

        Raises KeyError if a row lacks one of the model's features.
        """
        return np.where(self._known(rows), self.predict_rows(self._of(rows)), self.average)

    def caused(self, rows: Sequence[CustomerRow | None]) -> Floats:
        """The share of a contacted customer's outcomes that contact causes, (n,), in [-1, 1].

        uplift / P(outcome | contact). Times an action's probability of the outcome it is the action's own effect, which
        arbitration can put in the probability's place. Raises KeyError as `uplifts` does.
        """
        known, lines = self._known(rows), self._of(rows)
        uplift = np.where(known, self.predict_rows(lines), self.average)
        contacted = uplift + np.where(known, self.untreated_rows(lines), self.usual)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(contacted > 0, uplift / contacted, np.sign(uplift))
        return np.clip(share, -1.0, 1.0)

    def _known(self, rows: Sequence[CustomerRow | None]) -> npt.NDArray[np.bool_]:
        return np.array([row is not None for row in rows], bool)

    def _of(self, rows: Sequence[CustomerRow | None]) -> Floats:
        nothing = [math.nan] * len(self.inputs)
        lines = [nothing if row is None else [row.values[one.column] for one in self.inputs] for row in rows]
        return np.array(lines, np.float64).reshape(-1, len(self.inputs))

    def save(self, folder: Path) -> None:
        """Writes model.json into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        manifest = {
            "format": FORMAT,
            "kind": "uplift",
            "name": self.name,
            "placement": self.placement,
            "inputs": [[one.column, one.level] for one in self.inputs],
            "parts": [part.to_dict() for part in self.parts],
            "untreated": self.untreated.to_dict(),
            "average": self.average,
            "usual": self.usual,
            "money": [self.money.value, self.money.cost],
            "outcome": self.outcome,
            "horizon_days": self.horizon_days,
            "trained": dict(self.trained),
        }
        (folder / MANIFEST).write_text(json.dumps(manifest))

    @classmethod
    def read(cls, folder: Path, manifest: Mapping[str, Any], version: str) -> Self:
        """The model in `folder`."""
        return cls(
            manifest["placement"],
            tuple(Input(column, level) for column, level in manifest["inputs"]),
            tuple(Part.from_dict(raw) for raw in manifest["parts"]),
            Linear.from_dict(manifest["untreated"]),
            float(manifest["average"]),
            float(manifest["usual"]),
            Money(*manifest["money"]),
            manifest["outcome"],
            manifest["horizon_days"],
            manifest["trained"],
            version,
        )

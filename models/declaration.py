"""What a propensity model is, declared: who is scored, which event is the goal, how far ahead, who is left out."""

from __future__ import annotations

import difflib
import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from features.catalogue import FEATURE_NAMES
from models.left_out import filled
from models.load import need

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
COMPARISON = re.compile(r"\s*([A-Za-z_]\w*)\s*(<=|>=|!=|<|>|=)\s*(-?\d+(?:\.\d+)?)\s*")
TIERS = (("A", 0.1), ("B", 0.2), ("C", 0.3), ("D", 0.4))
"""Shares of those who are scored, the most likely first, where a declaration wants no others."""
PROBES = 8
"""Made-up customers on whom an expression is tried together and one by one."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition of belonging to a population: SQL over features, such as `days_since_last_order < 56`.

    A missing feature is null: what cannot be said to hold does not. `otherwise` says why a customer is left out: a
    format string over features. Raises ValueError where the condition is none, or looks at other customers.
    """

    condition: str
    otherwise: str = ""
    features: tuple[str, ...] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", _features_of(self.condition))

    def holds(self, frame: pl.DataFrame) -> Bools:
        """For each row of a frame with the rule's features, shape (n,), whether it is met."""
        return self.met({name: column(frame, name) for name in self.features})

    def met(self, columns: Mapping[str, Floats]) -> Bools:
        """For each place of these columns (the rule's features, NaN where unknown), whether it is met."""
        simple = _simple(self.condition)
        if simple is None:
            return _asked(self.condition, pl.DataFrame({name: columns[name] for name in self.features}))
        name, compare, bound = simple
        met: Bools = OPERATORS[compare](columns[name], bound) & ~np.isnan(columns[name])
        return met

    def met_by(self, values: Mapping[str, float]) -> bool:
        """Whether one customer's values meet the rule."""
        simple = _simple(self.condition)
        if simple is not None:
            name, compare, bound = simple
            value = values.get(name, math.nan)
            return not math.isnan(value) and bool(OPERATORS[compare](value, bound))
        row = {name: [values.get(name, math.nan)] for name in self.features}
        return bool(_asked(self.condition, pl.DataFrame(row, schema=dict.fromkeys(self.features, pl.Float64)))[0])

    def said(self, values: Mapping[str, float]) -> str:
        """Why this customer does not meet the rule (or, of an exclusion, does), in words; "" where nothing is said."""
        return "" if self.otherwise == "" else filled(self.otherwise, values) or self.condition


@dataclass(frozen=True, slots=True)
class Goal:
    """What is predicted: that an event happens in the horizon (or that it does not, `happens=False`).

    `event` is a verb of features/vocabulary.py (`ordered`, `redeemed`, …) or an event's own name. `where` narrows it:
    SQL over the event's columns (features/tables.py, EVENTS; money in the home currency) and its `properties.NAME`.
    """

    event: str
    happens: bool = True
    noun: str = "conversions"
    where: str = ""


@dataclass(frozen=True, slots=True)
class Declaration:
    """A propensity model, declared.

    `baseline` is the one feature whose logistic regression the model must beat. `features` narrows the inputs
    (empty: the whole catalogue); those that are `categories` hold codes without an order. `tiers` are names with their
    share of the population, best first. `learns_from` may name a wider population to learn from where the scored one
    is small; it is judged on the scored one alone. Whoever meets one of `exclusions` is neither scored nor learnt
    from. With `attribution_days` the goal counts only within so many days of a delivered message. The probability never
    falls as a `rising` feature grows, and never rises as a `falling` one does, where these are known.
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
    exclusions: tuple[Rule, ...] = ()
    attribution_days: float | None = None
    categories: tuple[str, ...] = ()
    purpose: str = ""
    rising: tuple[str, ...] = ()
    falling: tuple[str, ...] = ()

    @property
    def directions(self) -> dict[str, int]:
        """1 of each rising feature, -1 of each falling one."""
        return dict.fromkeys(self.rising, 1) | dict.fromkeys(self.falling, -1)

    @property
    def horizon(self) -> timedelta:
        """Also the embargo between training and test cuts."""
        return timedelta(days=self.horizon_days)

    @property
    def inputs(self) -> tuple[str, ...]:
        return self.features or FEATURE_NAMES

    def applies(self, frame: pl.DataFrame) -> Bools:
        """Which rows of a feature frame belong to the population, shape (n,). Raises MissingColumns."""
        return self._meets(frame, self.population)

    def teaches(self, frame: pl.DataFrame) -> Bools:
        """Which rows are learnt from, shape (n,). Raises MissingColumns."""
        return self._meets(frame, self.learns_from or self.population)

    def _meets(self, frame: pl.DataFrame, rules: tuple[Rule, ...]) -> Bools:
        asked = _features_asked((*rules, *self.exclusions))
        need(frame, asked, self.name)
        return self._met({name: column(frame, name) for name in asked}, frame.height, rules)

    @property
    def asked(self) -> tuple[str, ...]:
        """The features that belonging to the population hangs on."""
        return _features_asked((*self.population, *self.exclusions))

    def inside(self, columns: Mapping[str, Floats], n: int) -> Bools:
        """Which of n customers belong to the population, by the columns of `asked` (NaN: unknown); see `why_not`."""
        return self._met(columns, n, self.population)

    def _met(self, columns: Mapping[str, Floats], n: int, rules: tuple[Rule, ...]) -> Bools:
        inside = np.ones(n, bool)
        for rule in rules:
            inside &= rule.met(columns)
        for rule in self.exclusions:
            inside &= ~rule.met(columns)
        return inside

    def why_not(self, values: Mapping[str, float]) -> str | None:
        """Why a customer is outside the population, in words ("" where the rule has none); None for one inside."""
        for rule in self.population:
            if not rule.met_by(values):
                return rule.said(values)
        for rule in self.exclusions:
            if rule.met_by(values):
                return rule.said(values) or f"is left out: {rule.condition}"
        return None

    def to_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "title": self.title,
            "population": _written(self.population),
            "goal": {name: getattr(self.goal, name) for name in ("event", "happens", "noun", "where")},
            "horizon_days": self.horizon_days,
            "baseline": self.baseline,
            "features": list(self.features),
            "tiers": [list(tier) for tier in self.tiers],
            "learns_from": _written(self.learns_from),
            "exclusions": _written(self.exclusions),
            "attribution_days": self.attribution_days,
            "categories": list(self.categories),
            "purpose": self.purpose,
            "rising": list(self.rising),
            "falling": list(self.falling),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> Declaration:
        """From a manifest. Raises ValueError or KeyError naming what is wrong."""

        def rules(key: str) -> tuple[Rule, ...]:
            return tuple(Rule(*((rule,) if isinstance(rule, str) else rule)) for rule in raw.get(key, ()))

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
            rules("exclusions"),
            raw.get("attribution_days"),
            tuple(raw.get("categories", ())),
            raw.get("purpose", ""),
            tuple(raw.get("rising", ())),
            tuple(raw.get("falling", ())),
        )


@lru_cache(maxsize=256)
def _features_asked(rules: tuple[Rule, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for rule in rules for name in rule.features))


def column(frame: pl.DataFrame, name: str) -> Floats:
    """A column as numbers, NaN where unknown."""
    return frame[name].cast(pl.Float64).fill_null(math.nan).to_numpy()


def near(name: str, known: Sequence[str]) -> str:
    """ "; do you mean …?" with what is written alike, else nothing."""
    found = difflib.get_close_matches(name, known, 3)
    return f"; do you mean {', '.join(found)}?" if found else ""


def _written(rules: Sequence[Rule]) -> list[list[str]]:
    return [[rule.condition, rule.otherwise] for rule in rules]


@lru_cache(maxsize=256)
def _simple(condition: str) -> tuple[str, str, float] | None:
    """A comparison of one feature with a number, which needs no engine."""
    match = COMPARISON.fullmatch(condition)
    return None if match is None else (match[1], match[2], float(match[3]))


@lru_cache(maxsize=256)
def _expression(condition: str) -> pl.Expr:
    return pl.sql_expr(condition)


def _asked(condition: str, frame: pl.DataFrame) -> Bools:
    known = frame.select(pl.all().fill_nan(None))
    answers: Bools = known.select(told=_expression(condition))["told"].fill_null(False).to_numpy()
    return answers


def _features_of(condition: str) -> tuple[str, ...]:
    simple = _simple(condition)
    if simple is not None:
        return _known(condition, (simple[0],))
    try:
        names = _known(condition, tuple(dict.fromkeys(_expression(condition).meta.root_names())))
        _try_out(condition, names)
    except pl.exceptions.PolarsError as wrong:
        raise ValueError(
            f"the rule {condition!r} is not understood ({str(wrong).splitlines()[0]}); write SQL over features, such "
            "as `orders_90d >= 2 AND (tenure_days > 30 OR NOT complaints_365d > 0)`"
        ) from None
    return names


def _known(condition: str, names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise ValueError(f"the rule {condition!r} names no feature; write SQL over features, such as `orders_90d >= 2`")
    for name in names:
        if name not in FEATURE_NAMES:
            raise ValueError(f"the rule {condition!r} names {name}, which is no feature{near(name, FEATURE_NAMES)}")
    return names


def _try_out(condition: str, names: tuple[str, ...]) -> None:
    """The answer must be true or false, and the same for a customer alone as among others."""
    random = np.random.default_rng(1)
    probes = pl.DataFrame({name: random.integers(0, 9, PROBES).astype(float) for name in names})
    probes = pl.concat([probes, probes.head(1).select(pl.all().fill_nan(None) * math.nan)])
    told = probes.select(told=_expression(condition))["told"]
    if told.dtype != pl.Boolean:
        raise ValueError(f"the rule {condition!r} is neither true nor false; compare it with something")
    alone = [_asked(condition, probes[place])[0] for place in range(probes.height)]
    if len(told) != probes.height or _asked(condition, probes).tolist() != alone:
        raise ValueError(f"the rule {condition!r} looks at other customers too; it must hold for each one alone")

"""All propensities: the three that come with the product and those that an installation declares in TOML.

An installation's own stand in the file that the variable `OPPORTUNE_PROPENSITIES_FILE` names, a table [[propensity]]
each. It is read when this module is imported, in every process alike, so that what is trained is what is served.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from features.catalogue import CATALOGUE, FEATURE_NAMES
from features.declare import DeclarationError
from features.tables import EVENTS
from models import churn, lead, winback
from models.declaration import Declaration, Goal, Rule, near
from models.left_out import check_sentence

SHIPPED = (lead.DECLARATION, churn.DECLARATION, winback.DECLARATION)
VARIABLE = "OPPORTUNE_PROPENSITIES_FILE"
"""Names the file of an installation's own propensities."""
RESERVED = ("all",)
LONGEST_DAYS = 365
_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}")
_KEYS = {
    "name": 'a name of small letters, digits and _, such as name = "upgrade"',
    "title": 'a sentence, such as title = "Upgrades within 30 days"',
    "purpose": 'what it may be used for, such as purpose = "Shown to people, used in journeys."',
    "population": 'a list of conditions over features, such as population = ["orders_total >= 1"]',
    "exclusions": 'a list of conditions over features, such as exclusions = ["complaints_365d > 0"]',
    "learns_from": 'a list of conditions over features, such as learns_from = ["orders_total >= 1"]',
    "goal": 'a table, such as goal = { event = "Plan Upgraded", noun = "upgrades" }',
    "horizon_days": f"a whole number of days from 1 to {LONGEST_DAYS}, such as horizon_days = 30",
    "attribution_days": f"a number of days from 0 to {LONGEST_DAYS}, such as attribution_days = 7",
    "baseline": 'the name of a feature, such as baseline = "days_since_last_order"',
    "features": 'a list of features, such as features = ["orders_90d", "tenure_days"]',
    "categories": 'a list of features that hold codes, such as categories = ["plan"]',
    "rising": 'a list of features with which the probability may only rise, such as rising = ["clicks_human_90d"]',
    "falling": 'a list of features with which it may only fall, such as falling = ["days_since_last_order"]',
    "tiers": "shares of customers, best first, such as tiers = { A = 0.1, B = 0.3, C = 0.6 }",
}
_GOAL_KEYS = {
    "event": 'a verb or the name of an event, such as event = "Plan Upgraded"',
    "happens": "true or false: whether the event is to happen",
    "noun": 'what to call them, such as noun = "upgrades"',
    "where": "SQL over the event, such as where = \"properties.plan = 'pro'\"",
}


class _Wrong(Exception):
    """What is wrong with a key of a table."""


def read_propensities(path: Path) -> tuple[Declaration, ...]:
    """The declarations of a TOML file of [[propensity]] tables. Raises DeclarationError naming table and key."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as cause:
        raise DeclarationError(f"the propensities of {path} cannot be read: {cause}") from cause
    tables = content.pop("propensity", [])
    if content or not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise DeclarationError(f"{path}: declare each propensity as a table [[propensity]], and nothing beside them")
    found = tuple(declared(table, str(path)) for table in tables)
    names = [one.name for one in found]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DeclarationError(f"{path}: declared twice: {', '.join(twice)}")
    return found


def declared(table: Mapping[str, Any], where: str) -> Declaration:
    """One table as a declaration. Raises DeclarationError."""
    named = table.get("name", "a propensity without a name")
    try:
        return _declaration(table)
    except _Wrong as wrong:
        raise DeclarationError(f"{where}: {named}: {wrong}") from None


def _declaration(table: Mapping[str, Any]) -> Declaration:
    _only(table, _KEYS)
    name = _text(table, "name")
    if not _NAME.fullmatch(name) or name in RESERVED:
        raise _wrong("name")
    horizon = _days(table, "horizon_days", whole=True)
    goal = _goal(table)
    does = "has" if goal.happens else "has no"
    baseline = _text(table, "baseline", "days_since_last_order" if goal.event == "ordered" else "days_since_last_event")
    features = _features(table, "features")
    if features and baseline not in features:
        features = (*features, baseline)
    return Declaration(
        name,
        _text(table, "title", f"{does} '{goal.event}' within {horizon:g} days"),
        _rules(table, "population"),
        goal,
        int(horizon),
        _feature(baseline, "baseline"),
        features,
        _tiers(table.get("tiers", {})),
        _rules(table, "learns_from"),
        _rules(table, "exclusions"),
        _days(table, "attribution_days", whole=False) if "attribution_days" in table else None,
        _features(table, "categories"),
        _text(table, "purpose", ""),
        *_directions(table),
    )


def _wrong(key: str, detail: str = "", keys: Mapping[str, str] = _KEYS, of: str = "") -> _Wrong:
    return _Wrong(f"{of}{key}: {detail + '; ' if detail else ''}write {keys[key]}")


def _only(table: Mapping[str, Any], keys: Mapping[str, str], of: str = "") -> None:
    for key in table:
        if key not in keys:
            raise _Wrong(f"{of}{key}: there is no such key{near(key, list(keys))}; there are {', '.join(keys)}")


def _text(table: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = table.get(key, default)
    if not isinstance(value, str):
        raise _wrong(key, "" if value is None else f"{value!r} is no text")
    return value


def _days(table: Mapping[str, Any], key: str, *, whole: bool) -> float:
    value = table.get(key)
    fits = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if value is None or not fits or not (1 if whole else 0) <= value <= LONGEST_DAYS:
        raise _wrong(key, "" if value is None else f"{value!r} does not fit")
    return float(value)


def _goal(table: Mapping[str, Any]) -> Goal:
    goal = table.get("goal")
    if not isinstance(goal, dict):
        raise _wrong("goal")
    _only(goal, _GOAL_KEYS, "goal.")
    for key in _GOAL_KEYS:
        kind = bool if key == "happens" else str
        if (key == "event" and not goal.get(key)) or not isinstance(goal.get(key, kind()), kind):
            raise _wrong(key, keys=_GOAL_KEYS, of="goal.")
    _check_where(goal.get("where", ""))
    return Goal(**goal)


def _check_where(condition: str) -> None:
    if not condition:
        return
    try:
        columns = pl.sql_expr(condition).meta.root_names()
    except pl.exceptions.PolarsError as wrong:
        raise _wrong("where", str(wrong).splitlines()[0], _GOAL_KEYS, "goal.") from None
    unknown = next((name for name in columns if name not in EVENTS.columns), None)
    if unknown is not None:
        detail = f"events have no column {unknown}{near(unknown, list(EVENTS.columns))}"
        raise _wrong("where", detail, _GOAL_KEYS, "goal.")


def _rules(table: Mapping[str, Any], key: str) -> tuple[Rule, ...]:
    value = table.get(key, [])
    conditions = [value] if isinstance(value, str) else value
    if not isinstance(conditions, list):
        raise _wrong(key)
    return tuple(_rule(one, key) for one in conditions)


def _rule(one: Any, key: str) -> Rule:
    fields = {"condition": one} if isinstance(one, str) else one
    if not isinstance(fields, dict) or not {"condition"} <= fields.keys() <= {"condition", "otherwise"}:
        raise _wrong(key, f'{one!r} is no condition nor {{ condition = "…", otherwise = "…" }}')
    if not all(isinstance(part, str) for part in fields.values()):
        raise _wrong(key, f"{one!r} holds what is no text")
    try:
        rule = Rule(**fields)
        check_sentence(rule.otherwise)
    except ValueError as wrong:
        raise _Wrong(f"{key}: {wrong}") from None
    return rule


def _features(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list):
        raise _wrong(key)
    return tuple(_feature(name, key) for name in dict.fromkeys(map(str, value)))


def _feature(name: str, key: str) -> str:
    if name not in FEATURE_NAMES:
        raise _wrong(key, f"there is no feature {name}{near(name, CATALOGUE.names)}")
    return name


def _directions(table: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    rising, falling = _features(table, "rising"), _features(table, "falling")
    both = sorted({*rising} & {*falling, *_features(table, "categories")}) or sorted(
        {*falling} & {*_features(table, "categories")}
    )
    if both:
        raise _wrong("rising", f"{both[0]} cannot be rising, falling or a code at the same time")
    return rising, falling


def _tiers(tiers: Any) -> tuple[tuple[str, float], ...]:
    fits = isinstance(tiers, dict) and all(isinstance(one, int | float) and 0 < one <= 1 for one in tiers.values())
    if not fits:
        raise _wrong("tiers")
    whole = sum(tiers.values())
    if tiers and abs(whole - 1) > 1e-6:
        raise _wrong("tiers", f"the shares sum to {whole:g}, not to 1")
    return tuple((str(name), float(share)) for name, share in tiers.items())


def propensities(path: Path | None) -> dict[str, Declaration]:
    """By name: the shipped ones, and those of the file at `path`; a table of a shipped name takes its place."""
    own = () if path is None else read_propensities(path)
    return {one.name: one for one in (*SHIPPED, *own)}


SOURCE = os.environ.get(VARIABLE) or None
PROPENSITIES: Mapping[str, Declaration] = propensities(None if SOURCE is None else Path(SOURCE))

"""What happened after a cut: labels over [cut, cut + horizon), never before it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from itertools import product
from typing import Any

import orjson
import polars as pl

from features.currencies import CURRENCIES
from features.numbers import in_home
from features.tables import EVENTS
from features.vocabulary import NAMES, TYPES, VERBS
from models.declaration import Goal

DELIVERED = "delivered"
_MONEY = ("revenue_cents", "discount_cents")
_PROPERTY = re.compile(r"\bproperties\.(\w+)")


def goal_events(events: pl.DataFrame, goal: Goal, attribution_days: float | None = None) -> pl.DataFrame:
    """Times at which the goal's event happened (customer_id, timestamp), by people, not by machines.

    With `attribution_days`, only those within so many days of a message delivered to the customer. Raises ValueError
    where `goal.where` cannot be asked of the events.
    """
    found = events.filter(_matches(goal.event) & pl.col("machine").fill_null(False).not_())
    if goal.where:
        found = _where(found, goal.where)
    if attribution_days is not None:
        found = _attributed(found, events.filter(_matches(DELIVERED)), timedelta(days=attribution_days))
    return found.select("customer_id", "timestamp")


def _where(events: pl.DataFrame, condition: str) -> pl.DataFrame:
    """The events of which the condition holds.

    Where it cannot be asked of properties as they are, a number told as text (or text as a number) is read as what the
    condition compares it with: one such event among thousands must not stop all training.
    """
    told = events.with_columns(in_home(events[name], events["currency"], CURRENCIES) for name in _MONEY)
    asked = sorted(set(_PROPERTY.findall(condition)))
    wrong: pl.exceptions.PolarsError | None = None
    for properties in _readings(events["properties"], asked):
        try:
            return told.with_columns(properties=properties).filter(pl.sql_expr(condition).fill_null(False))
        except pl.exceptions.PolarsError as unfit:
            wrong = wrong or unfit
    raise ValueError(
        f"goal.where: {condition!r} cannot be asked of the events ({str(wrong).splitlines()[0]}); write SQL over "
        f"their columns ({', '.join(EVENTS.columns)}) and properties.NAME, with text in single quotes"
    )


def _readings(texts: pl.Series, names: Sequence[str]) -> Iterator[pl.Series]:
    """The named properties of events (JSON text) as a struct: first as they are, then as each kind that they can be."""
    if not names:
        yield texts
        return
    rows = [orjson.loads(text or "{}") for text in texts]
    told = {name: [row.get(name) for row in rows] for name in names}
    yield pl.DataFrame({name: _values(values) for name, values in told.items()}).to_struct("properties")
    for columns in product(*map(_as_kinds, told.values())):
        yield pl.DataFrame(dict(zip(names, columns, strict=True))).to_struct("properties")


def _values(values: list[Any]) -> pl.Series:
    """Numbers where all values are, else text."""
    known = [value for value in values if value is not None]
    if known and all(isinstance(value, bool) for value in known):
        return pl.Series(values, dtype=pl.Boolean)
    if known and all(isinstance(value, int | float) for value in known):
        return pl.Series(values, dtype=pl.Float64, strict=False)
    return pl.Series([_text(value) for value in values], dtype=pl.String if known else pl.Null)


def _as_kinds(values: list[Any]) -> list[pl.Series]:
    """The values as each kind, null where one is none of it: first what loses fewest of them, none that loses all."""
    found = [pl.Series([read(value) for value in values], dtype=kind) for kind, read in _KINDS]
    kept = [one for one in found if one.null_count() < len(one)]
    return sorted(kept, key=lambda one: one.null_count()) or [_values(values)]


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _flag(value: Any) -> bool | None:
    return {"true": True, "false": False}.get(_text(value) or "")


_KINDS: tuple[tuple[pl.DataType, Callable[[Any], Any]], ...] = (
    (pl.String(), _text),
    (pl.Float64(), _number),
    (pl.Boolean(), _flag),
)


def _attributed(events: pl.DataFrame, delivered: pl.DataFrame, within: timedelta) -> pl.DataFrame:
    return events.sort("timestamp").join_asof(
        delivered.select("customer_id", "timestamp", delivered_at="timestamp").sort("timestamp"),
        on="timestamp",
        by="customer_id",
        strategy="backward",
        tolerance=within,
        check_sortedness=False,
    ).filter(pl.col("delivered_at").is_not_null())  # fmt: skip


def label(cuts: pl.DataFrame, happened: pl.DataFrame, goal: Goal, horizon: timedelta) -> pl.DataFrame:
    """`cuts` (customer_id, as_of, …) in their order with `label` (0/1) and `goal_at`, the goal event's time if any.

    The label looks at cut <= time < cut + horizon. With `goal.happens` False it is 1 where nothing happened.
    """
    numbered = cuts.with_row_index("row").sort("as_of")
    found = numbered.join_asof(
        happened.sort("timestamp").with_columns(goal_at="timestamp"),
        left_on="as_of",
        right_on="timestamp",
        by="customer_id",
        strategy="forward",
        check_sortedness=False,
    )
    within = (pl.col("goal_at") < pl.col("as_of") + horizon).fill_null(False)
    return (
        found.with_columns(
            label=(within if goal.happens else ~within).cast(pl.Int8),
            goal_at=pl.when(within).then("goal_at"),
        )
        .sort("row")
        .select(*cuts.columns, "label", "goal_at")
    )


def _matches(event: str) -> pl.Expr:
    """By verb, or a track call by its own name: a page's name is no event's (as features and journeys have it)."""
    if event not in VERBS:
        return ((pl.col("type") == "track") & (pl.col("event") == event)).fill_null(False)
    names = [name for name, meaning in NAMES.items() if meaning.verb == event]
    kinds = [kind for kind, verb in TYPES.items() if verb == event]
    named = (pl.col("type") == "track") & pl.col("event").is_in(names)
    return (named | pl.col("type").is_in(kinds)).fill_null(False)

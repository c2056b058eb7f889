"""What happened after a cut: labels over [cut, cut + horizon), never before it."""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from features.vocabulary import NAMES, TYPES, VERBS
from models.propensity import Goal


def goal_events(events: pl.DataFrame, goal: Goal) -> pl.DataFrame:
    """Times at which the goal's event happened (customer_id, timestamp), by people, not by machines."""
    return events.filter(_matches(goal.event) & pl.col("machine").fill_null(False).not_()).select(
        "customer_id", "timestamp"
    )


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
    if event not in VERBS:
        return (pl.col("event") == event).fill_null(False)
    names = [name for name, meaning in NAMES.items() if meaning.verb == event]
    kinds = [kind for kind, verb in TYPES.items() if verb == event]
    named = (pl.col("type") == "track") & pl.col("event").is_in(names)
    return (named | pl.col("type").is_in(kinds)).fill_null(False)

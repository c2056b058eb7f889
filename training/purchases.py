"""What BG/NBD needs to know of each customer at a cut: repeat order days, the last of them, and since when."""

from __future__ import annotations

import polars as pl

from models.bgnbd import Purchases
from models.declaration import Declaration

ORDERED = "ordered"
COLUMNS = ("repeat_order_days", "last_order_after", "observed_for")
"""x, t_x and T, in days."""


def are_purchases(declaration: Declaration) -> bool:
    """Whether the goal is an order, of whatever kind, which is what BG/NBD is about."""
    return declaration.goal.event == ORDERED and not declaration.goal.where and declaration.attribution_days is None


def purchases_at(happened: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """COLUMNS of `cuts` (customer_id, as_of), in their order; null where there was no order before the cut.

    `happened` are orders (customer_id, timestamp). Several on one day (UTC) are one purchase.
    """
    days = (
        happened.group_by("customer_id", day=pl.col("timestamp").dt.truncate("1d"))
        .agg(at=pl.col("timestamp").min())
        .sort("customer_id", "at")
        .with_columns(
            repeat=pl.int_range(pl.len()).over("customer_id").cast(pl.Float64),
            first=pl.col("at").first().over("customer_id"),
        )
        .sort("at")
    )
    found = (
        cuts.select("customer_id", "as_of")
        .with_row_index("row")
        .sort("as_of")
        .join_asof(
            days.select("customer_id", "at", "first", "repeat", since=pl.col("at")),
            left_on="as_of",
            right_on="at",
            by="customer_id",
            strategy="backward",
            allow_exact_matches=False,
            check_sortedness=False,
        )
        .sort("row")
    )
    day = 86_400_000_000.0
    spans = {"last_order_after": pl.col("since") - pl.col("first"), "observed_for": pl.col("as_of") - pl.col("first")}
    return found.select(
        pl.col("repeat").alias("repeat_order_days"),
        *(span.dt.total_microseconds().cast(pl.Float64).truediv(day).alias(name) for name, span in spans.items()),
    )


def purchases_of(frame: pl.DataFrame) -> Purchases:
    """A frame's COLUMNS as arrays."""
    x, t_x, t = (frame[name].to_numpy() for name in COLUMNS)
    return Purchases(x, t_x, t)

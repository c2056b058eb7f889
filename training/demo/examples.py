"""Households worth looking at, by what they did in the year."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

import polars as pl

STOPPED = 12


def behaviour(baskets: pl.DataFrame, tables: Mapping[str, pl.DataFrame], last_day: date) -> pl.DataFrame:
    """household_id, baskets, idle (days without a basket at the end of the year), reached, redeemed; busiest first."""
    reached = tables["campaigns"].group_by("household_id").agg(reached=pl.len())
    redeemed = tables["coupon_redemptions"].group_by("household_id").agg(redeemed=pl.len())
    return (
        baskets.group_by("household_id")
        .agg(baskets=pl.len(), idle=(pl.lit(last_day) - pl.max("day")).dt.total_days())
        .join(reached, on="household_id", how="left")
        .join(redeemed, on="household_id", how="left")
        .with_columns(pl.col("reached", "redeemed").fill_null(0))
        .sort("baskets", "household_id", descending=[True, False])
    )


def examples(known: pl.DataFrame) -> dict[str, str]:
    """One customer of each kind, where there is one."""
    active = known.filter(pl.col("idle") <= 10)
    kinds = {
        "a regular who redeems coupons": active.filter(pl.col("redeemed") > 0).sort(
            "redeemed", "household_id", descending=[True, False]
        ),
        "a regular whom campaigns reached in vain": active.filter(pl.col("redeemed") == 0).sort(
            "reached", "baskets", "household_id", descending=[True, True, False]
        ),
        "one who orders now and then": active.filter(pl.col("baskets").is_between(8, 15)),
        "a former regular who has stopped": _stopped(known),
    }
    return {kind: _ids(found)[0] for kind, found in kinds.items() if found.height}


def stopped(known: pl.DataFrame) -> tuple[str, ...]:
    """The busiest of those who ordered at least five times and then no more for eight weeks to half a year."""
    return tuple(_ids(_stopped(known).filter(pl.col("baskets") >= 5).head(STOPPED)))


def _stopped(known: pl.DataFrame) -> pl.DataFrame:
    return known.filter(pl.col("idle").is_between(56, 180))


def _ids(known: pl.DataFrame) -> list[str]:
    return [f"household-{household}" for household in known["household_id"]]

"""The log of decisions as training reads it."""

from __future__ import annotations

import polars as pl


def asked_in_time(decisions: pl.LazyFrame) -> pl.LazyFrame:
    """Without decisions asked for as of a time at which nothing was sent (`another_time`): nothing could come of them.

    Tables of before tell of none.
    """
    if "another_time" not in decisions.collect_schema():
        return decisions
    return decisions.filter(~pl.col("another_time").fill_null(False))


def of_another_time(decisions: pl.LazyFrame) -> int:
    """How many decisions `asked_in_time` leaves out."""
    if "another_time" not in decisions.collect_schema():
        return 0
    left = decisions.filter(pl.col("another_time").fill_null(False)).select(pl.col("decision_id").n_unique())
    return int(left.collect().item())

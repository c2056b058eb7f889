"""The policies that `opportune evaluate` knows: how probably each would choose each logged candidate.

A policy looks at the whole log first, and returns what adds `target` to its pieces (rows of `MaturedLog.pieces`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import polars as pl

from training.challenger import challenger_of, challenger_values, learnt_until
from training.matured_log import MaturedLog, NoEstimate

Aim = Callable[[pl.DataFrame], pl.DataFrame]
_PLACE = pl.int_range(pl.len()).over("decision_id")
"""Of a candidate within its decision."""


def uniform(_: MaturedLog) -> Aim:
    """The same for every candidate."""
    return lambda piece: piece.with_columns(target=1.0 / pl.len().over("decision_id"))


def greedy(_: MaturedLog) -> Aim:
    """1 for the first of the highest expected value; for sending nothing where that is one of them."""
    return lambda piece: best(piece, pl.col("expected_value"))


def business_as_usual(log: MaturedLog) -> Aim:
    """1 for what that arm sends most in the placement, and on nothing where that is no candidate."""
    sent = (pl.col("arm") == "business_as_usual") & pl.col("chosen") & pl.col("offer_id").is_not_null()
    usual = (
        log.rows()
        .filter(sent)
        .group_by("placement", "offer_id", "channel")
        .agg(times=pl.len())
        .sort("times", "offer_id", "channel", descending=[True, False, False])
        .group_by("placement", maintain_order=True)
        .first()
        .select("placement", usual_offer="offer_id", usual_channel="channel")
        .collect()
    )
    if usual.is_empty():
        raise NoEstimate("The log has no decision of the business_as_usual arm; give that arm a share first.")
    same = (pl.col("offer_id") == pl.col("usual_offer")) & (pl.col("channel") == pl.col("usual_channel"))
    wanted = same.fill_null(False).cast(pl.Float64) + pl.col("offer_id").is_null().cast(pl.Float64) * 0.5
    return lambda piece: best(piece.join(usual, on="placement", how="left", maintain_order="left"), wanted)


def challenger(log: MaturedLog) -> Aim:
    """1 for the highest expected value by the challenger's probabilities."""
    try:
        chosen = pl.concat(
            best(piece, pl.col("again")).filter(pl.col("target") == 1.0).select("decision_id", wanted="place")
            for piece in challenger_values(log.pieces(), log.home)
        )
    except LookupError as why:
        raise NoEstimate(str(why)) from None
    wanted = (pl.col("wanted") == _PLACE).fill_null(False).cast(pl.Float64)
    return lambda piece: piece.join(chosen, on="decision_id", how="left", maintain_order="left").select(
        pl.exclude("wanted"), target=wanted
    )


def unseen_from(policy: str, home: Path) -> datetime | None:
    """From when on decisions are of which a policy has not learnt what came; None where it may be asked of all.

    What it has learnt from it would choose too well: the actions that happened to be answered. Raises NoEstimate.
    """
    if policy != "challenger":
        return None
    try:
        return learnt_until(challenger_of(home))
    except LookupError as why:
        raise NoEstimate(str(why)) from None


def best(piece: pl.DataFrame, worth: pl.Expr) -> pl.DataFrame:
    """`target`: 1 for the first of the highest worth; for sending nothing where that is one of them. And `place`."""
    told = piece.with_columns(worth=worth.fill_nan(None), nothing=pl.col("offer_id").is_null())
    highest = pl.col("worth") == pl.col("worth").max().over("decision_id")
    told = told.with_columns(rank=pl.when(highest).then(1 + pl.col("nothing").cast(pl.Int8)).otherwise(0))
    told = told.with_columns(place=_PLACE)
    first = pl.col("place") == pl.col("rank").arg_max().over("decision_id")
    return told.with_columns(target=first.cast(pl.Float64)).drop("nothing", "rank", "worth")


POLICIES: dict[str, Callable[[MaturedLog], Aim]] = {
    "uniform": uniform,
    "greedy": greedy,
    "business-as-usual": business_as_usual,
    "challenger": challenger,
}

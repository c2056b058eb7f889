"""Offers shown on a channel, and whether the customer converted: from the decision log and from events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from features.build import compute, hours, interest
from features.products import PRODUCTS_AT, Ints, ManyProducts, products
from features.vocabulary import NAMES
from models.offer_features import CUSTOMER

UTC_TIME = pl.Datetime("us", "UTC")
ROWS = 24_000
HEAVIEST = 10.0
SHOWN = pl.Schema(
    {
        "customer_id": pl.String(),
        "as_of": UTC_TIME,
        "offer_id": pl.String(),
        "channel": pl.String(),
        "weight": pl.Float64(),
        "label": pl.Float64(),
    }
)
KEYS = ("customer_id", "as_of")


@dataclass(frozen=True, slots=True)
class Exposures:
    """`rows`: SHOWN and the customer's features as of then; `liked`: orders by category; `answers`: deliveries and
    human responses by channel (customer_id, as_of, channel, sends, responses); `bought`: orders by product, at the
    rows' PRODUCTS_AT.
    """

    rows: pl.DataFrame
    liked: pl.DataFrame
    answers: pl.DataFrame
    bought: ManyProducts

    @classmethod
    def joined(cls, parts: Sequence[Exposures]) -> Exposures:
        """All parts together, by time; the newest ROWS of them."""
        counts = [len(part.bought.start) - 1 for part in parts]
        placed = [part.rows.with_columns(pl.col(PRODUCTS_AT) + sum(counts[:n])) for n, part in enumerate(parts)]
        rows = pl.concat(placed).sort("as_of", "customer_id", "offer_id", "channel").tail(ROWS)
        bought = ManyProducts.of([one for part in parts for one in part.bought.each()])
        return cls(rows, pl.concat([part.liked for part in parts]), pl.concat([part.answers for part in parts]), bought)


def read_log(home: Path, matured: datetime) -> pl.DataFrame:
    """SHOWN from the decision log: what was put first before `matured`, and whether it converted, by people alone.

    The weight is 1/propensity (at most 10), so that the rows stand for all candidates and not for the policy's taste.
    """
    decisions, outcomes = (home / "tables" / f"{name}.parquet" for name in ("decisions", "outcomes"))
    if not decisions.exists() or not outcomes.exists():
        return pl.DataFrame(schema=SHOWN)
    shown = (
        pl.scan_parquet(decisions)
        .filter(pl.col("chosen") & pl.col("offer_id").is_not_null() & (pl.col("arm") != "holdout"))
        .filter((pl.col("propensity") > 0) & (pl.col("decided_at") < matured))
        .select("decision_id", "customer_id", "offer_id", "channel", "propensity", as_of="decided_at")
        .collect()
    )
    good = (
        pl.scan_parquet(outcomes)
        .filter(pl.col("kind").is_in(["converted", "redeemed"]) & ~pl.col("machine"))
        .group_by("decision_id")
        .agg(at=pl.col("at").min())
        .collect()
    )
    label = (pl.col("at") < pl.col("as_of") + timedelta(days=14)).fill_null(False).cast(pl.Float64)
    weight = (1 / pl.col("propensity")).clip(upper_bound=HEAVIEST)
    marked = shown.join(good, on="decision_id", how="left").with_columns(label=label, weight=weight)
    return marked.select(list(SHOWN)).cast(SHOWN)


def exposures_of(
    events: pl.DataFrame, logged: pl.DataFrame, matured: datetime, horizon: timedelta, keys: Ints
) -> Exposures:
    """The exposures of one bucket's customers: `logged` ones, and deliveries of an offer without a decision."""
    shown = pl.concat([logged, delivered(events, matured, horizon)]).sort("as_of", "customer_id").tail(ROWS)
    cuts = shown.select(KEYS).unique().sort(KEYS)
    features = compute(events, cuts).select(*KEYS, *CUSTOMER)
    counts = hours(events, cuts).filter(pl.col("channel").is_not_null())
    answers = counts.group_by(*KEYS, "channel").agg(
        sends=pl.col("count").filter(pl.col("kind") == "sends").sum().cast(pl.Float64),
        responses=pl.col("count").filter(pl.col("kind").is_in(["clicks", "opens"])).sum().cast(pl.Float64),
    )
    features = features.with_columns(pl.int_range(pl.len()).alias(PRODUCTS_AT))
    bought = ManyProducts.of([one.of(keys) for one in products(events, cuts).each()])
    return Exposures(shown.join(features, on=list(KEYS), how="left"), interest(events, cuts), answers, bought)


def delivered(events: pl.DataFrame, matured: datetime, horizon: timedelta) -> pl.DataFrame:
    """SHOWN from events: an offer's delivery outside of decisions; redeemed or ordered with it within the horizon."""
    sends, goals = _names("delivered"), _names("redeemed", "ordered")
    implied = {name: meaning.channel for name, meaning in NAMES.items() if meaning.channel}
    with_offer = events.filter((pl.col("type") == "track") & pl.col("offer_id").is_not_null())
    channel = pl.coalesce("channel", pl.col("event").replace_strict(implied, default=None, return_dtype=pl.String))
    shown = with_offer.filter(
        pl.col("event").is_in(sends) & pl.col("decision_id").is_null() & (pl.col("timestamp") < matured)
    ).select("customer_id", "offer_id", as_of="timestamp", channel=channel)
    goal = with_offer.filter(pl.col("event").is_in(goals)).select("customer_id", "offer_id", at="timestamp")
    found = shown.drop_nulls("channel").sort("as_of").join_asof(
        goal.sort("at"), left_on="as_of", right_on="at", by=["customer_id", "offer_id"], strategy="forward",
        tolerance=horizon, check_sortedness=False,
    )  # fmt: skip
    marked = found.with_columns(weight=pl.lit(1.0), label=pl.col("at").is_not_null().cast(pl.Float64))
    return marked.select(list(SHOWN)).cast(SHOWN)


def _names(*verbs: str) -> list[str]:
    return [name for name, meaning in NAMES.items() if meaning.verb in verbs]

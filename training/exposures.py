"""Offers shown on a channel, and whether the customer clicked and converted: from the decision log and from events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl

from features.build import compute, hours, interest
from features.products import PRODUCTS_AT, Ints, ManyProducts, products
from features.vocabulary import NAMES
from models.offer_features import CUSTOMER
from training.datasets import known_since
from training.decision_log import asked_in_time

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
        "clicked": pl.Float64(),
    }
)
"""What was shown when; `label` and `clicked`: whether a person then converted and clicked, 0 or 1."""
PROOFS = ("delivered", "opened", "clicked", "converted", "redeemed", "returned")
"""Outcomes that show that an offer came to its customer."""
MATURES = timedelta(days=14)
"""After so long it is known what came of a showing."""
TELLS = 0.02
"""The share of a week's decisions with a delivery from which on those without one did not go out."""
KEYS = ("customer_id", "as_of")
KNOWN = "known"
"""Whether anything was known of the customer then. Of strangers all is missing, as where they are served."""


@dataclass(frozen=True, slots=True)
class Exposures:
    """`rows`: SHOWN, KNOWN and the customer's features as of then; `liked`: orders by category; `answers`: deliveries
    and human responses by channel (customer_id, as_of, channel, sends, responses); `bought`: orders by product, at
    the rows' PRODUCTS_AT.
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
    """SHOWN from the decision log: what was put first before `matured` and reached its customer, and what came of that
    very offer, by people alone: who answers another offer of the same decision does not answer the first. An order that
    was given back by the time at which all this had matured is none.

    The weight is 1/propensity (at most 10), so that the rows stand for all candidates and not for the policy's taste.
    """
    decisions, outcomes = (home / "tables" / f"{name}.parquet" for name in ("decisions", "outcomes"))
    if not decisions.exists() or not outcomes.exists():
        return pl.DataFrame(schema=SHOWN)
    shown = (
        asked_in_time(pl.scan_parquet(decisions))
        .filter(pl.col("chosen") & pl.col("offer_id").is_not_null() & (pl.col("arm") != "holdout"))
        .filter((pl.col("propensity") > 0) & (pl.col("decided_at") < matured))
        .select("decision_id", "customer_id", "offer_id", "channel", "propensity", "placement", as_of="decided_at")
        .collect()
    )
    shown = _reached(shown, pl.scan_parquet(outcomes))
    human = pl.scan_parquet(outcomes).filter(~pl.col("machine"))
    given_back = pl.col("at").filter(pl.col("kind") == "refunded").max()
    unknown = (pl.col("kind") == "returned") & (given_back >= matured + MATURES)
    first = human.group_by("decision_id", "offer_id").agg(
        converted=pl.col("at").filter(pl.col("kind").is_in(["converted", "redeemed"]) | unknown).min(),
        clicked=pl.col("at").filter(pl.col("kind") == "clicked").min(),
    )
    until = pl.col("as_of") + MATURES
    marked = shown.join(first.collect(), on=["decision_id", "offer_id"], how="left").with_columns(
        label=(pl.col("converted") < until).fill_null(False).cast(pl.Float64),
        clicked=(pl.col("clicked") < until).fill_null(False).cast(pl.Float64),
        weight=(1 / pl.col("propensity")).clip(upper_bound=HEAVIEST),
    )
    return marked.select(list(SHOWN)).cast(SHOWN)


def _reached(shown: pl.DataFrame, outcomes: pl.LazyFrame) -> pl.DataFrame:
    """Those that were delivered, as an answer proves, too. Where deliveries are not told all count as shown: on a
    channel of a placement in a week, for who begins to tell, or cannot for a while, has answers of that time alone.
    """
    told = outcomes.filter(pl.col("kind").is_in(PROOFS)).group_by("decision_id", "offer_id")
    found = told.agg(told=(pl.col("kind") == "delivered").any()).with_columns(proven=True).collect()
    marked = shown.join(found, on=["decision_id", "offer_id"], how="left").with_columns(pl.col("told").fill_null(False))
    weekly = pl.col("told").mean().over("placement", "channel", pl.col("as_of").dt.truncate("1w"))
    return marked.filter(pl.col("proven").fill_null(False) | (weekly < TELLS)).select(shown.columns)


def put_down(events: pl.DataFrame, home: Path) -> pl.DataFrame:
    """The events with `decision_id` also where the service has found out to which decision they belong: what the log of
    decisions tells is not to be told by them as well.
    """
    path = home / "tables" / "outcomes.parquet"
    if not path.exists():
        return events
    mine = pl.col("customer_id").is_in(events["customer_id"].unique().implode())
    told = pl.scan_parquet(path).filter(mine).select("message_id", _found="decision_id")
    found = told.unique("message_id").collect()
    return events.join(found, on="message_id", how="left", maintain_order="left").select(
        pl.exclude("decision_id", "_found"), pl.coalesce("decision_id", "_found")
    )


def exposures_of(
    events: pl.DataFrame,
    logged: pl.DataFrame,
    matured: datetime,
    horizon: timedelta,
    keys: Ints,
    gone: datetime | None = None,
) -> Exposures:
    """The exposures of one bucket's customers: `logged` ones, and deliveries of an offer without a decision. None of
    before `gone`: of visitors of that time only who came again are still there.
    """
    shown = pl.concat([logged, delivered(events, matured, horizon)])
    shown = shown if gone is None else shown.filter(pl.col("as_of") >= gone)
    shown = shown.sort("as_of", "customer_id").tail(ROWS)
    cuts = shown.select(KEYS).unique().sort(KEYS)
    first = events.group_by("customer_id").agg(first=known_since())
    known = (pl.col("first") <= pl.col("as_of")).fill_null(False)
    features = compute(events, cuts).select(*KEYS, *CUSTOMER)
    features = features.join(first, on="customer_id", how="left", maintain_order="left").select(
        *KEYS, known.alias(KNOWN), *(pl.when(known).then(name).otherwise(math.nan).alias(name) for name in CUSTOMER)
    )
    counts = hours(events, cuts).filter(pl.col("channel").is_not_null())
    answers = counts.group_by(*KEYS, "channel").agg(
        sends=pl.col("count").filter(pl.col("kind") == "sends").sum().cast(pl.Float64),
        responses=pl.col("count").filter(pl.col("kind").is_in(["clicks", "opens"])).sum().cast(pl.Float64),
    )
    features = features.with_columns(pl.int_range(pl.len()).alias(PRODUCTS_AT))
    bought = ManyProducts.of([one.of(keys) for one in products(events, cuts).each()])
    return Exposures(shown.join(features, on=list(KEYS), how="left"), interest(events, cuts), answers, bought)


def delivered(events: pl.DataFrame, matured: datetime, horizon: timedelta) -> pl.DataFrame:
    """SHOWN from events: an offer's delivery outside of decisions; clicked, and redeemed or ordered with it, within
    the horizon. What a decision led to is no answer to it."""
    sends, goals, clicks = _names("delivered"), _names("redeemed", "ordered"), _names("clicked")
    implied = {name: meaning.channel for name, meaning in NAMES.items() if meaning.channel}
    with_offer = events.filter((pl.col("type") == "track") & pl.col("offer_id").is_not_null())
    with_offer = with_offer.sort("received_at").unique("message_id", keep="first", maintain_order=True)  # as features
    channel = pl.coalesce("channel", pl.col("event").replace_strict(implied, default=None, return_dtype=pl.String))
    shown = with_offer.filter(
        pl.col("event").is_in(sends) & pl.col("decision_id").is_null() & (pl.col("timestamp") < matured)
    ).select("customer_id", "offer_id", as_of="timestamp", channel=channel)
    answers = with_offer.filter(pl.col("decision_id").is_null()).select(
        "customer_id", "offer_id", "event", "machine", at="timestamp", channel=channel
    )
    found = shown.drop_nulls("channel").sort("as_of")
    goal = answers.filter(pl.col("event").is_in(goals))
    click = answers.filter(pl.col("event").is_in(clicks) & ~pl.col("machine").fill_null(False))
    found = _followed(found, goal, ("customer_id", "offer_id"), "label", horizon)
    found = _followed(found, click, ("customer_id", "offer_id", "channel"), "clicked", horizon)
    return found.with_columns(weight=pl.lit(1.0)).select(list(SHOWN)).cast(SHOWN)


def _followed(
    shown: pl.DataFrame, answers: pl.DataFrame, by: Sequence[str], name: str, horizon: timedelta
) -> pl.DataFrame:
    """`shown`, sorted by `as_of`, with the column `name`: 1 where an answer with the same `by` followed, else 0.

    An answer counts for the last showing before it alone: who is shown an offer twice and buys once was won once.
    """
    numbered = shown.with_row_index("row")
    last = answers.select(*by, "at").sort("at").join_asof(
        numbered.select("row", *by, "as_of"), left_on="at", right_on="as_of", by=list(by), strategy="backward",
        tolerance=horizon, check_sortedness=False,
    )  # fmt: skip
    won = pl.col("row").is_in(last["row"].drop_nulls().implode())
    return numbered.with_columns(won.cast(pl.Float64).alias(name)).drop("row")


def _names(*verbs: str) -> list[str]:
    return [name for name, meaning in NAMES.items() if meaning.verb in verbs]

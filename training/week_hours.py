"""What send-time training looks at: local hours of orders, sends and human responses, as of a time and after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt
import polars as pl
from xxhash import xxh3_64_intdigest

from features.build import hours
from features.catalogue import CATALOGUE
from features.facts import gather_facts
from features.plan import GRID_CHANNELS, VISITED, plan_of
from models.send_time import HOURS, OPEN_WORTH

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

RESPONSE_WITHIN = timedelta(hours=48)
NEEDED = ("message_id", "type", "event", "customer_id", "timestamp", "received_at", "channel", "machine",
          "timezone", "decision_id")  # fmt: skip
MOMENTS = pl.Schema(
    [
        ("customer_id", pl.String()),
        ("timestamp", pl.Datetime("us", "UTC")),
        ("kind", pl.String()),
        ("channel", pl.String()),
        ("hour", pl.Int64()),
        ("worth", pl.Float64()),
        ("delay", pl.Float64()),
    ]
)


@dataclass(frozen=True, slots=True)
class Grids:
    """Counts by local hour of the week (customers, 168), as customers' rows hold them as of a time.

    `channels`: deliveries, and responses (clicks, and opens at OPEN_WORTH).
    """

    place: dict[str, int]
    orders: Floats
    visits: Floats
    channels: dict[str, tuple[Floats, Floats]]

    def activity(self, visits: float) -> Floats:
        """Orders, and visits at this weight."""
        return self.orders + visits * self.visits

    @property
    def sends(self) -> Floats:
        return sum((sent for sent, _ in self.channels.values()), np.zeros_like(self.orders))

    @property
    def responses(self) -> Floats:
        return sum((answered for _, answered in self.channels.values()), np.zeros_like(self.orders))


def grids(counts: pl.DataFrame, customers: Iterable[str]) -> Grids:
    """From `features.build.hours` of one cut."""
    place = {name: index for index, name in enumerate(customers)}
    orders, visits = np.zeros((len(place), HOURS)), np.zeros((len(place), HOURS))
    channels: dict[str, tuple[Floats, Floats]] = {}
    for (kind, channel), part in counts.partition_by("kind", "channel", as_dict=True).items():
        rows = np.array([place[name] for name in part["customer_id"]], np.int64)
        target = orders if kind == "orders" else visits
        if channel is not None:
            pair = channels.setdefault(str(channel), (np.zeros_like(orders), np.zeros_like(orders)))
            target = pair[0 if kind == "sends" else 1]
        worth = OPEN_WORTH if kind == "opens" else 1.0
        np.add.at(target, (rows, part["hour"].to_numpy()), worth * part["count"].to_numpy())
    return Grids(place, orders, visits, channels)


def counts_as_of(events: pl.DataFrame, customers: pl.Series, as_of: datetime) -> pl.DataFrame:
    """`hours` of these customers as of one time."""
    cuts = pl.DataFrame({"customer_id": customers}).with_columns(pl.lit(as_of, pl.Datetime("us", "UTC")).alias("as_of"))
    return hours(events, cuts)


def chosen(customers: pl.Series, limit: int) -> pl.Series:
    """At most `limit` distinct customers: always the same ones, and no particular kind of ids."""
    names = customers.unique().sort()
    if len(names) <= limit:
        return names
    order = np.argsort([xxh3_64_intdigest(f"hours:{name}".encode()) for name in names], kind="stable")
    return names[np.sort(order[:limit])]


def moments(events: pl.DataFrame, customers: pl.Series) -> pl.DataFrame:
    """Orders, visits and sends of these customers (MOMENTS), with the local hour of the week of each.

    A send's `worth` is what came of it within 48 hours: 1 for a human click or a conversion that names the same
    decision, OPEN_WORTH for a human open, else 0; `delay` in hours until the first human open or click, else null.
    """
    marked = _marked(events, customers)
    orders = marked.filter(pl.col("verb") == "ordered")
    sends = marked.filter(pl.col("verb") == "delivered").sort("timestamp")
    answers = marked.filter(pl.col("verb").is_in(["opened", "clicked"]) & ~pl.col("is_machine")).sort("timestamp")
    bought = marked.filter(pl.col("verb").is_in(["ordered", "redeemed"]) & pl.col("decision_id").is_not_null())
    answered = _answered(sends, answers)
    judged = sends.join(answered, on="message_id", how="left").with_columns(
        worth=pl.max_horizontal(
            pl.col("worth").fill_null(0.0),
            pl.col("decision_id").is_in(bought["decision_id"].implode()).fill_null(False).cast(pl.Float64),
        )
    )
    nothing = {"worth": pl.lit(0.0), "delay": pl.lit(None, pl.Float64)}
    visits = marked.filter(pl.col("verb").is_in(list(VISITED.verbs)) & ~pl.col("is_machine")).with_columns(**nothing)
    kinds = (("order", orders.with_columns(**nothing)), ("visit", visits), ("send", judged))
    return pl.concat([part.with_columns(kind=pl.lit(kind)).select(list(MOMENTS)) for kind, part in kinds]).cast(MOMENTS)


def _marked(events: pl.DataFrame, customers: pl.Series) -> pl.DataFrame:
    """Events with verb, channel, is_machine and local hour, as features see them."""
    plan = plan_of(CATALOGUE)
    facts = gather_facts(events, customers, plan).facts
    codes = np.unique(facts.code)
    parts = [plan.vocabulary.parts(int(code)) for code in codes]
    meaning = pl.DataFrame(
        {
            "code": codes,
            "verb": [verb for verb, *_ in parts],
            "channel": [channel or GRID_CHANNELS[-1] for _, channel, *_ in parts],
            "is_machine": [machine for _, _, machine, _ in parts],
        },
        schema={"code": pl.Int64, "verb": pl.String, "channel": pl.String, "is_machine": pl.Boolean},
    )
    seen = pl.DataFrame({"message_id": facts.message, "hour": facts.hour, "code": facts.code})
    told = events.select("message_id", "customer_id", "timestamp", "decision_id").unique("message_id", keep="first")
    return seen.join(meaning, on="code").join(told, on="message_id")


def _answered(sends: pl.DataFrame, answers: pl.DataFrame) -> pl.DataFrame:
    """message_id of each send that was answered, the best worth of its answers and the hours until the first.

    An answer belongs to the latest send before it to the same customer on the same channel.
    """
    found = answers.select("customer_id", "channel", "verb", at="timestamp").join_asof(
        sends.select("customer_id", "channel", "message_id", sent="timestamp"),
        left_on="at",
        right_on="sent",
        by=["customer_id", "channel"],
        strategy="backward",
        tolerance=RESPONSE_WITHIN,
        check_sortedness=False,
    )
    worth = pl.when(pl.col("verb") == "clicked").then(1.0).otherwise(OPEN_WORTH)
    delay = (pl.col("at") - pl.col("sent")).dt.total_seconds() / 3600
    return (
        found.drop_nulls("message_id")
        .with_columns(worth=worth, delay=delay)
        .group_by("message_id")
        .agg(pl.max("worth"), pl.min("delay"))
    )

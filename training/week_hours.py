"""What send-time training looks at: local hours of orders, sends and human responses, as of a time and after it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
from xxhash import xxh3_64_intdigest

from features.build import hours
from features.catalogue import CATALOGUE
from features.channel_hours import ChannelHours
from features.facts import gather_facts
from features.plan import GRID_CHANNELS, VISITED, plan_of
from features.rows import CustomerRow
from models.presence import OPEN_WORTH
from models.week import HOURS

Floats = npt.NDArray[np.float64]

RESPONSE_WITHIN = timedelta(hours=48)
NEEDED = ("message_id", "type", "event", "customer_id", "timestamp", "received_at", "channel", "machine",
          "timezone", "decision_id", "properties")  # fmt: skip
MOMENTS = pl.Schema(
    [
        ("customer_id", pl.String()),
        ("timestamp", pl.Datetime("us", "UTC")),
        ("kind", pl.String()),
        ("channel", pl.String()),
        ("hour", pl.Int64()),
        ("worth", pl.Float64()),
        ("delay", pl.Float64()),
        ("drawn", pl.Float64()),
    ]
)
DRAWN = pl.Schema(
    [
        ("decision_id", pl.String()),
        ("channel", pl.String()),
        ("send_at", pl.Datetime("us", "UTC")),
        ("send_at_probability", pl.Float64()),
    ]
)
_TOLD = r'"send_at_probability":\s*([0-9.eE+-]+)'


class ChannelGrid(NamedTuple):
    """What happened on a channel (customers, 168)."""

    sends: Floats
    clicks: Floats
    opens: Floats

    @property
    def responses(self) -> Floats:
        """Clicks, and opens at OPEN_WORTH."""
        return self.clicks + OPEN_WORTH * self.opens


@dataclass(frozen=True, slots=True)
class Grids:
    """Counts by local hour of the week (customers, 168), as customers' rows hold them as of a time."""

    place: dict[str, int]
    orders: Floats
    visits: Floats
    channels: dict[str, ChannelGrid]

    def activity(self, visits: float) -> Floats:
        """Orders, and visits at this weight."""
        return self.orders + visits * self.visits

    @property
    def sends(self) -> Floats:
        return sum((one.sends for one in self.channels.values()), np.zeros_like(self.orders))

    @property
    def responses(self) -> Floats:
        return sum((one.responses for one in self.channels.values()), np.zeros_like(self.orders))

    def row(self, name: str, as_of: datetime) -> CustomerRow:
        """A customer's row, as far as hours go."""
        at = self.place[name]
        channels = {
            channel: ChannelHours(*(part[at] for part in grid))
            for channel, grid in self.channels.items()
            if any(part[at].any() for part in grid)
        }
        return CustomerRow(name, as_of, {}, {}, self.orders[at], channels, visit_hours=self.visits[at])


def grids(counts: pl.DataFrame, customers: Iterable[str]) -> Grids:
    """From `features.build.hours` of one cut."""
    place = {name: index for index, name in enumerate(customers)}
    orders, visits = np.zeros((len(place), HOURS)), np.zeros((len(place), HOURS))
    channels: dict[str, ChannelGrid] = {}
    for (kind, channel), part in counts.partition_by("kind", "channel", as_dict=True).items():
        rows = np.array([place[name] for name in part["customer_id"]], np.int64)
        target = orders if kind == "orders" else visits
        if channel is not None:
            empty = ChannelGrid(*np.zeros((3, *orders.shape)))
            target = getattr(channels.setdefault(str(channel), empty), str(kind))
        target[rows, part["hour"].to_numpy()] = part["count"].to_numpy()
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


def read_drawn(home: Path) -> pl.DataFrame:
    """DRAWN: the hours that decisions chose, each with the probability it was drawn with; empty without a log."""
    path = home / "tables" / "decisions.parquet"
    if not path.exists() or "send_at_probability" not in (log := pl.scan_parquet(path)).collect_schema():
        return pl.DataFrame(schema=DRAWN)
    return log.select(list(DRAWN)).drop_nulls().unique(["decision_id", "channel", "send_at"]).collect()


def moments(events: pl.DataFrame, customers: pl.Series, drawn: pl.DataFrame | None = None) -> pl.DataFrame:
    """Orders, visits and sends of these customers (MOMENTS), with the local hour of the week of each.

    A send's `worth` is what came of it within 48 hours: 1 for a human click or a conversion that names the same
    decision, OPEN_WORTH for a human open, else 0; `delay` in hours until the first human open or click, else null. What
    came later is no answer to the hour, nor known where training takes all answers for known (`send_time.answered`).
    `drawn` is the probability with which its hour was drawn, where the delivery or the log of decisions (DRAWN) says.
    """
    marked = _marked(events, customers)
    orders = marked.filter(pl.col("verb") == "ordered")
    sends = marked.filter(pl.col("verb") == "delivered").sort("timestamp")
    answers = marked.filter(pl.col("verb").is_in(["opened", "clicked"]) & ~pl.col("is_machine")).sort("timestamp")
    bought = marked.filter(pl.col("verb").is_in(["ordered", "redeemed"]) & pl.col("decision_id").is_not_null())
    answered = _answered(sends, answers)
    led_to = bought.group_by("decision_id").agg(bought=pl.col("timestamp").min())
    judged = sends.join(answered, on="message_id", how="left").join(led_to, on="decision_id", how="left")
    soon = (pl.col("bought") <= pl.col("timestamp") + RESPONSE_WITHIN).fill_null(False).cast(pl.Float64)
    judged = judged.with_columns(worth=pl.max_horizontal(pl.col("worth").fill_null(0.0), soon))
    judged = _with_drawn(judged, drawn)
    nothing = {"worth": pl.lit(0.0), "delay": pl.lit(None, pl.Float64), "drawn": pl.lit(None, pl.Float64)}
    visits = marked.filter(pl.col("verb").is_in(list(VISITED.verbs)) & ~pl.col("is_machine")).with_columns(**nothing)
    kinds = (("order", orders.with_columns(**nothing)), ("visit", visits), ("send", judged))
    return pl.concat([part.with_columns(kind=pl.lit(kind)).select(list(MOMENTS)) for kind, part in kinds]).cast(MOMENTS)


def recent_sends(sends: pl.DataFrame, within: timedelta) -> Floats:
    """(n,): how many of these sends, sorted by customer and time, went to the same customer in `within` before each."""
    customer = sends["customer_id"].rank("dense").to_numpy().astype(np.int64)
    at, length = sends["timestamp"].dt.epoch("us").to_numpy(), within // timedelta(microseconds=1)
    key = customer * (int(np.ptp(at)) + length + 1) + at - at.min()
    return np.asarray(np.arange(len(key)) - np.searchsorted(key, key - length), np.float64)


def _with_drawn(sends: pl.DataFrame, drawn: pl.DataFrame | None) -> pl.DataFrame:
    """Sends with `drawn`: told by the delivery, else by the decision, if it went out in the hour that was chosen."""
    log = (pl.DataFrame(schema=DRAWN) if drawn is None else drawn).sort("send_at")
    found = sends.join_asof(
        log.rename({"send_at_probability": "logged"}),
        left_on="timestamp",
        right_on="send_at",
        by=["decision_id", "channel"],
        strategy="backward",
        tolerance=timedelta(hours=1),
        check_sortedness=False,
    )
    told = pl.col("properties").str.extract(_TOLD).cast(pl.Float64, strict=False)
    return found.with_columns(drawn=pl.coalesce(told, "logged"))


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
    kept = ("message_id", "customer_id", "timestamp", "decision_id", "properties")
    told = events.select(kept).unique("message_id", keep="first")
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

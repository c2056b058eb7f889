"""Events as numbers: what every partial sum is made of, for many events at once and for one.

Both halves of this file must say the same; tests/features/test_no_skew.py compares them on random events.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from features.plan import Plan
from features.tables import UTC_TIME
from features.values import read_traits
from features.zones import hour_of_week, hours_of_week, known_zone

Ints = NDArray[np.int64]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
WEEKEND = 5 * 24
_NEEDED = (
    "message_id",
    "type",
    "event",
    "customer_id",
    "timestamp",
    "received_at",
    "channel",
    "revenue_cents",
    "discount_cents",
    "products",
    "timezone",
    "machine",
    "traits",
)


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970 of an aware time."""
    return (moment - _EPOCH) // _MICROSECOND


@dataclass(frozen=True, slots=True)
class Ragged:
    """For each row, any number of (key, value) pairs: those of row i are start[i] to start[i + 1]."""

    start: Ints
    key: Ints
    value: NDArray[np.float64]

    def take(self, rows: Ints) -> Ragged:
        lengths = self.start[rows + 1] - self.start[rows]
        start = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(start[-1]) + np.repeat(self.start[rows] - start[:-1], lengths)
        return Ragged(start, self.key[places], self.value[places])

    def rows(self) -> Ints:
        """The row of each pair."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


@dataclass(frozen=True, slots=True)
class Facts:
    """Events sorted by customer and time. `customer` is a place in the caller's list of customers."""

    customer: Ints
    time: Ints
    known: Ints
    code: Ints
    hour: Ints
    columns: Mapping[str, Ints]
    categories: Ragged
    traits: Ragged
    message: pl.Series
    arrival: Ints  # order in which the events were received

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: Ints, customer: Ints) -> Facts:
        """These rows, as events of other customers."""
        return Facts(
            customer,
            self.time[rows],
            self.known[rows],
            self.code[rows],
            self.hour[rows],
            {name: column[rows] for name, column in self.columns.items()},
            self.categories.take(rows),
            self.traits.take(rows),
            self.message,
            self.arrival,
        )


def without_repeats(events: pl.DataFrame) -> pl.DataFrame:
    """Events with each message id once (the earliest received), in the order in which they were received."""
    ordered = events.sort("received_at", "timestamp", "message_id", maintain_order=True)
    return ordered.unique("message_id", keep="first", maintain_order=True)


def facts_of(
    events: pl.DataFrame, customers: pl.Series, plan: Plan, names: pl.Series
) -> tuple[Facts, list[str | None]]:
    """Facts of these customers' events (EVENTS-shaped; other columns than the needed may lack).

    `names`: the product categories, whose places become keys; give `category_names(events)`. Also returns each
    customer's last known zone.
    """
    ranks = pl.DataFrame({"customer_id": customers, "_customer": np.arange(len(customers))})
    rows = without_repeats(_complete(events).join(ranks, on="customer_id", how="inner", maintain_order="left")).sort(
        "_customer", maintain_order=True
    )
    customer = rows["_customer"].to_numpy().astype(np.int64)
    zones, last_zones = _zones(rows["timezone"], customer, len(customers))
    time = _micro(rows["timestamp"])
    hour = _local_hours(time, zones)
    arrival = np.arange(rows.height)
    order = np.lexsort((arrival, time, customer))
    rows = rows[order]
    facts = Facts(
        customer[order],
        time[order],
        _micro(rows["received_at"]),
        _codes(rows, plan),
        hour[order],
        _columns(rows, hour[order]),
        _categories(rows["products"], names),
        _traits(rows["traits"], plan),
        rows["message_id"],
        arrival[order],
    )
    return facts, last_zones


def category_names(events: pl.DataFrame) -> pl.Series:
    """The distinct product categories of these events, sorted."""
    if "products" not in events.columns or events["products"].dtype == pl.Null:
        return pl.Series([], dtype=pl.String)
    products = events["products"].explode(empty_as_null=False, keep_nulls=False)
    return products.struct.field("category").drop_nulls().unique().sort()


def _complete(events: pl.DataFrame) -> pl.DataFrame:
    missing = [n for n in ("message_id", "type", "event", "customer_id", "timestamp") if n not in events.columns]
    if missing:
        raise ValueError(f"events lack the column {', '.join(missing)}")
    added = [pl.lit(None).alias(n) for n in _NEEDED if n not in events.columns and n != "received_at"]
    received = pl.col("received_at") if "received_at" in events.columns else pl.col("timestamp")
    return events.with_columns(*added, received_at=received.fill_null(pl.col("timestamp"))).select(_NEEDED)


def _micro(times: pl.Series) -> Ints:
    return times.cast(UTC_TIME).cast(pl.Int64).to_numpy()


def _zones(told: pl.Series, customer: Ints, count: int) -> tuple[pl.Series, list[str | None]]:
    """Each row's zone (its own, else the customer's last one received before) and each customer's last."""
    names = told.cast(pl.String)
    broken = [name for name in names.unique() if name is not None and known_zone(name) is None]
    if broken:
        names = names.set(names.is_in(broken), None)
    said = np.where(names.is_not_null().to_numpy(), np.arange(len(names)), -1)
    latest = np.maximum.accumulate(said) if len(said) else said
    first = np.searchsorted(customer, customer)
    source = np.where(latest >= first, latest, len(names))
    zones = pl.concat([names, pl.Series([None], dtype=pl.String)])[source]
    bounds = np.searchsorted(customer, np.arange(count + 1)).tolist()
    last = [zones[end - 1] if start < end else None for start, end in pairwise(bounds)]
    return zones, last


def _local_hours(time: Ints, zones: pl.Series) -> Ints:
    hours = hours_of_week(time, None)
    for zone in zones.unique().drop_nulls():
        here = (zones == zone).fill_null(False).to_numpy()
        hours[here] = hours_of_week(time[here], zone)
    return hours


def _codes(rows: pl.DataFrame, plan: Plan) -> Ints:
    keys = ("type", "event", "channel", "machine")
    rows = rows.select(pl.col("type", "event", "channel").cast(pl.String), pl.col("machine").cast(pl.Boolean))
    distinct = rows.unique()
    codes = [plan.vocabulary.code(*row) for row in distinct.iter_rows()]
    return rows.join(
        distinct.with_columns(_code=pl.Series(codes, dtype=pl.Int64)),
        on=keys,
        how="left",
        nulls_equal=True,
        maintain_order="left",
    )["_code"].to_numpy()


def _columns(rows: pl.DataFrame, hour: Ints) -> dict[str, Ints]:
    revenue = _integers(rows["revenue_cents"])
    lines, quantity, saved = _product_sums(rows["products"])
    told = rows["discount_cents"].cast(pl.Int64)
    discount = np.where(told.is_not_null().to_numpy(), _integers(told), saved)
    return {
        "revenue_cents": revenue,
        "discount_cents": discount,
        "gross_cents": revenue + discount,
        "quantity": quantity,
        "lines": lines,
        "weekend": (hour >= WEEKEND).astype(np.int64),
        "discounted": (discount > 0).astype(np.int64),
    }


def _integers(column: pl.Series) -> Ints:
    return column.cast(pl.Int64).fill_null(0).to_numpy()


def _lines(products: pl.Series) -> tuple[Ints, pl.DataFrame]:
    """The row of each product line, and the lines."""
    if products.dtype == pl.Null:
        return np.empty(0, dtype=np.int64), pl.DataFrame(schema={"category": pl.String})
    lengths = products.list.len().fill_null(0).to_numpy().astype(np.int64)
    lines = products.explode(empty_as_null=False, keep_nulls=False).struct.unnest()
    return np.repeat(np.arange(len(products)), lengths), lines


def _product_sums(products: pl.Series) -> tuple[Ints, Ints, Ints]:
    row, lines = _lines(products)
    count = np.zeros(len(products), dtype=np.int64)
    quantity, saved = count.copy(), count.copy()
    np.add.at(count, row, 1)
    if len(row):
        bought = lines["quantity"] if "quantity" in lines.columns else pl.repeat(1, len(row), eager=True)
        np.add.at(quantity, row, bought.cast(pl.Int64).fill_null(1).to_numpy())
        if "discount_cents" in lines.columns:
            np.add.at(saved, row, _integers(lines["discount_cents"]))
    return count, quantity, saved


def _categories(products: pl.Series, names: pl.Series) -> Ragged:
    row, lines = _lines(products)
    pairs = pl.DataFrame({"row": row, "name": lines["category"].cast(pl.String)}).drop_nulls().unique()
    places = pl.DataFrame({"name": names, "key": np.arange(len(names))}, schema={"name": pl.String, "key": pl.Int64})
    found = pairs.join(places, on="name", how="inner").sort("row", "key")
    return _ragged(found["row"].to_numpy(), found["key"].to_numpy(), np.ones(found.height), len(products))


def _traits(traits: pl.Series, plan: Plan) -> Ragged:
    told = traits.cast(pl.String)
    rows = np.flatnonzero(told.is_not_null().to_numpy())
    read: dict[str, list[tuple[int, float]]] = {}
    found = []
    for row, text in zip(rows.tolist(), told.drop_nulls(), strict=True):
        if text not in read:
            read[text] = read_traits(text, plan.traits)
        found += [(row, place, number) for place, number in read[text]]
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    return _ragged(table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2], len(traits))


def _ragged(row: Ints, key: Ints, value: NDArray[np.float64], count: int) -> Ragged:
    return Ragged(np.searchsorted(row, np.arange(count + 1)), key, value)


@dataclass(frozen=True, slots=True)
class Fact:
    """One event as numbers, as in Facts."""

    time: int
    known: int
    code: int
    hour: int
    columns: Mapping[str, int]
    categories: tuple[str, ...]
    traits: tuple[tuple[int, float], ...]


def fact_of(event: Mapping[str, Any], zone: str | None, plan: Plan) -> tuple[Fact, str | None]:
    """One event as numbers, and the customer's last known zone after it."""
    told = event.get("timezone")
    zone = told if told and known_zone(told) else zone
    time = microseconds(event["timestamp"])
    hour = hour_of_week(time, zone)
    products = event.get("products") or ()
    revenue = event.get("revenue_cents") or 0
    discount = event.get("discount_cents")
    if discount is None:
        discount = sum(p.get("discount_cents") or 0 for p in products)
    quantities = (p.get("quantity") for p in products)
    columns = {
        "revenue_cents": revenue,
        "discount_cents": discount,
        "gross_cents": revenue + discount,
        "quantity": sum(1 if q is None else q for q in quantities),
        "lines": len(products),
        "weekend": int(hour >= WEEKEND),
        "discounted": int(discount > 0),
    }
    fact = Fact(
        time,
        microseconds(event.get("received_at") or event["timestamp"]),
        plan.vocabulary.code(event["type"], event.get("event"), event.get("channel"), event.get("machine")),
        hour,
        columns,
        tuple(sorted({p["category"] for p in products if p.get("category") is not None})),
        tuple(read_traits(event.get("traits"), plan.traits)),
    )
    return fact, zone

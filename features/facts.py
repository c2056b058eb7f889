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
from features.zones import hour_of_week, hours_of_week, known_zone, offset_hour, offset_hours

Ints = NDArray[np.int64]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
WEEKEND = 5 * 24
NEEDED = (
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
    arrival: Ints  # the rows in the order of their receipt, customer by customer

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


@dataclass(frozen=True, slots=True)
class Gathered:
    """Facts, the names whose places are the keys of `facts.categories`, and each customer's last known zone."""

    facts: Facts
    categories: pl.Series
    zones: list[str | None]


def gather_facts(events: pl.DataFrame, customers: pl.Series, plan: Plan) -> Gathered:
    """Facts of these customers' events (EVENTS-shaped, any order; columns that features do not need may lack).

    Of repeated message ids the earliest received counts.
    """
    ranks = pl.DataFrame({"customer_id": customers, "_customer": np.arange(len(customers))})
    rows = _complete(events).join(ranks, on="customer_id", how="inner", maintain_order="left")
    if rows["message_id"].n_unique() < rows.height:
        rows = rows.sort("received_at", "timestamp", "message_id", maintain_order=True)
        rows = rows.unique("message_id", keep="first", maintain_order=True)
    order = np.lexsort((_micro(rows["timestamp"]), rows["_customer"].to_numpy()))
    rows = rows[order]
    customer, time = rows["_customer"].to_numpy().astype(np.int64), _micro(rows["timestamp"])
    known = _micro(rows["received_at"])
    arrival = _arrival(customer, time, known, rows["message_id"])
    zones, last_zones = _zones(rows["timezone"], customer, arrival, len(customers))
    hour = _local_hours(time, zones)
    names = category_names(rows)
    facts = Facts(
        customer,
        time,
        known,
        _codes(rows, plan),
        hour,
        _columns(rows, hour),
        _categories(rows["products"], names),
        _traits(rows["traits"], rows["timezone"], time, plan),
        rows["message_id"],
        arrival,
    )
    return Gathered(facts, names, last_zones)


def _arrival(customer: Ints, time: Ints, known: Ints, message: pl.Series) -> Ints:
    """The rows (sorted by customer and time) in the order of receipt: customer, received, happened, message id."""
    new = customer[1:] != customer[:-1]
    if len(known) < 2 or np.all(new | (known[1:] > known[:-1])):
        return np.arange(len(known))
    order = np.lexsort((time, known, customer))
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = (np.diff(customer[order]) == 0) & (np.diff(known[order]) == 0) & (np.diff(time[order]) == 0)
    run = np.cumsum(~same)
    tied = np.flatnonzero(same | np.append(same[1:], False))
    if len(tied):
        ties = pl.DataFrame({"run": run[tied], "row": order[tied], "message": message[order[tied]]})
        order[tied] = ties.sort("run", "message", maintain_order=True)["row"].to_numpy()
    return order


def category_names(events: pl.DataFrame) -> pl.Series:
    """The distinct product categories of these events, sorted."""
    if events["products"].null_count() == events.height:
        return pl.Series([], dtype=pl.String)
    products = events["products"].explode(empty_as_null=False, keep_nulls=False)
    return products.struct.field("category").drop_nulls().unique().sort()


def _complete(events: pl.DataFrame) -> pl.DataFrame:
    missing = [n for n in ("message_id", "type", "event", "customer_id", "timestamp") if n not in events.columns]
    if missing:
        raise ValueError(f"events lack the column {', '.join(missing)}")
    added = [pl.lit(None).alias(n) for n in NEEDED if n not in events.columns and n != "received_at"]
    received = pl.col("received_at") if "received_at" in events.columns else pl.col("timestamp")
    return events.with_columns(*added, received_at=received.fill_null(pl.col("timestamp"))).select(NEEDED)


def _micro(times: pl.Series) -> Ints:
    return times.cast(UTC_TIME).cast(pl.Int64).to_numpy()


def _zones(told: pl.Series, customer: Ints, arrival: Ints, count: int) -> tuple[pl.Series, list[str | None]]:
    """Each row's zone (its own, else the customer's last one received before) and each customer's last."""
    names = told.cast(pl.String)
    if names.null_count() == len(names):
        return names, [None] * count
    broken = [name for name in names.unique() if name is not None and known_zone(name) is None]
    if broken:
        names = names.set(names.is_in(broken), None)
    names = names[arrival]
    said = np.where(names.is_not_null().to_numpy(), np.arange(len(names)), -1)
    latest = np.maximum.accumulate(said)
    source = np.where(latest >= np.searchsorted(customer, customer), latest, len(names))
    filled = pl.concat([names, pl.Series([None], dtype=pl.String)])[source]
    bounds = np.searchsorted(customer, np.arange(count + 1)).tolist()
    last = [filled[end - 1] if start < end else None for start, end in pairwise(bounds)]
    place = np.empty_like(arrival)
    place[arrival] = np.arange(len(arrival))
    return filled[place], last


def _local_hours(time: Ints, zones: pl.Series) -> Ints:
    hours = hours_of_week(time, None)
    if zones.null_count() < len(zones):
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
    if products.null_count() == len(products):
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


def _traits(traits: pl.Series, zones: pl.Series, time: Ints, plan: Plan) -> Ragged:
    told = traits.cast(pl.String)
    rows = np.flatnonzero(told.is_not_null().to_numpy())
    read: dict[str, list[tuple[int, float]]] = {}
    found = []
    for row, text in zip(rows.tolist(), told.drop_nulls(), strict=True):
        if text not in read:
            read[text] = read_traits(text, plan.traits)
        found += [(row, place, number) for place, number in read[text]]
    table = np.array(found, dtype=np.float64).reshape(-1, 3)
    owner, place, number = table[:, 0].astype(np.int64), table[:, 1].astype(np.int64), table[:, 2]
    if plan.offset is not None:
        zoned, offset = _offsets(zones.cast(pl.String), time)
        owner, place = np.concatenate([owner, zoned]), np.concatenate([place, np.full(len(zoned), plan.offset)])
        number = np.concatenate([number, offset])
        order = np.argsort(owner, kind="stable")
        owner, place, number = owner[order], place[order], number[order]
    return _ragged(owner, place, number, len(traits))


def _offsets(zones: pl.Series, time: Ints) -> tuple[Ints, NDArray[np.float64]]:
    """The rows that tell a zone, and its hours ahead of UTC then."""
    offset = np.full(len(time), np.nan)
    for zone in zones.unique().drop_nulls():
        if known_zone(zone) is not None:
            here = (zones == zone).fill_null(False).to_numpy()
            offset[here] = offset_hours(time[here], zone)
    told = np.flatnonzero(offset == offset)
    return told, offset[told]


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
    traits = read_traits(event.get("traits"), plan.traits)
    if plan.offset is not None and told and known_zone(told):
        traits.append((plan.offset, offset_hour(time, told)))
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
        tuple(traits),
    )
    return fact, zone

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

from features.currencies import CURRENCIES
from features.default_zone import DEFAULT_ZONE, known_zone
from features.numbers import numbers_of
from features.plan import Plan
from features.values import read_traits, with_location
from features.zones import hour_of_week, hours_of_week, offset_hour, offset_hours

Ints = NDArray[np.int64]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
WEEKEND = 5 * 24
_AMOUNTS = ("revenue_cents", "discount_cents", "quantity", "lines")


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


class Columns(dict[str, Ints]):
    """The numbers of events by name; those that others give are made when they are first asked for."""

    def __init__(self, told: Mapping[str, Ints], time: Ints, zones: pl.Series) -> None:
        super().__init__(told)
        self._time, self._zones = time, zones

    def __missing__(self, name: str) -> Ints:
        self[name] = made = self._made(name)
        return made

    def _made(self, name: str) -> Ints:
        match name:
            case "hour":
                return _local_hours(self._time, self._zones)
            case "gross_cents":
                return self["revenue_cents"] + self["discount_cents"]
            case "weekend":
                return (self["hour"] >= WEEKEND).astype(np.int64)
            case "discounted":
                return (self["discount_cents"] > 0).astype(np.int64)
        raise KeyError(name)

    def take(self, rows: Ints) -> Columns:
        """These rows."""
        zones = self._zones if self._zones.dtype == pl.Null else self._zones[rows]
        return Columns({name: column[rows] for name, column in self.items()}, self._time[rows], zones)


@dataclass(frozen=True, slots=True)
class Facts:
    """Events sorted by customer and time. `customer` is a place in the caller's list of customers."""

    customer: Ints
    time: Ints
    known: Ints
    code: Ints
    columns: Columns
    categories: Ragged
    traits: Ragged
    message: pl.Series
    arrival: Ints  # the rows in the order of their receipt, customer by customer

    def __len__(self) -> int:
        return len(self.time)

    @property
    def hour(self) -> Ints:
        """Local hours of the week."""
        return self.columns["hour"]

    def take(self, rows: Ints, customer: Ints) -> Facts:
        """These rows, as events of other customers."""
        return Facts(
            customer,
            self.time[rows],
            self.known[rows],
            self.code[rows],
            self.columns.take(rows),
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
    return gather_numbers(numbers_of(events, plan), customers, plan)


def gather_numbers(numbers: pl.DataFrame, customers: pl.Series, plan: Plan) -> Gathered:
    """`gather_facts` of events that are NUMBERS already."""
    numbers, customer = _first_told(*_of_customers(numbers, customers))
    order = _by_time(customer, _integers(numbers["time"]))
    if order is not None:
        customer = customer[order]
    time, known, code, *amounts = (_integers(numbers[n], order) for n in ("time", "known", "code", *_AMOUNTS))
    message, zone, traits = (_in_order(numbers[n], order) for n in ("message_id", "zone", "traits"))
    bought = _in_order(numbers["categories"], order)
    arrival = _arrival(customer, time, known, message)
    zones, last_zones = _zones(zone, customer, arrival, len(customers))
    names = _category_names(bought)
    facts = Facts(
        customer,
        time,
        known,
        code,
        Columns(dict(zip(_AMOUNTS, amounts, strict=True)), time, zones),
        _categories(bought, names),
        _traits(traits, zone, time, plan),
        message,
        arrival,
    )
    return Gathered(facts, names, last_zones)


def _of_customers(numbers: pl.DataFrame, customers: pl.Series) -> tuple[pl.DataFrame, Ints]:
    """The rows of these customers, and each one's place among them."""
    ranks = pl.DataFrame({"customer_id": customers, "_customer": np.arange(len(customers))})
    rank = numbers.select("customer_id").join(ranks, on="customer_id", how="left", maintain_order="left")["_customer"]
    if rank.null_count():
        numbers, rank = numbers.filter(rank.is_not_null()), rank.drop_nulls()
    return numbers, rank.to_numpy()


def _first_told(numbers: pl.DataFrame, customer: Ints) -> tuple[pl.DataFrame, Ints]:
    """Without repeated message ids: the earliest received stays."""
    ids = numbers["message_id"]
    if ids.hash().n_unique() == len(ids) or ids.n_unique() == len(ids):
        return numbers, customer
    rows = numbers.select("known", "time", "message_id").with_row_index("row")
    rows = rows.sort("known", "time", "message_id", maintain_order=True).unique("message_id", keep="first")
    kept = rows["row"].sort()
    return numbers[kept], customer[kept.to_numpy()]


def _by_time(customer: Ints, time: Ints) -> Ints | None:
    """The rows sorted by customer and time; None if they are."""
    if not len(time):
        return None
    first = int(time.min())
    span = int(time.max()) - first + 1
    if span * (int(customer.max()) + 1) >= 1 << 63:
        return np.lexsort((time, customer))
    key = customer * span + (time - first)
    return None if np.all(key[1:] >= key[:-1]) else np.argsort(key, kind="stable")


def _arrival(customer: Ints, time: Ints, known: Ints, message: pl.Series) -> Ints:
    """The rows (sorted by customer and time) in the order of receipt: customer, received, happened, message id."""
    if len(known) < 2:
        return np.arange(len(known))
    new = customer[1:] != customer[:-1]
    in_order = bool(np.all(new | (known[1:] >= known[:-1])))
    order = np.arange(len(known)) if in_order else np.lexsort((time, known, customer))
    customer, time, known = (customer, time, known) if in_order else (customer[order], time[order], known[order])
    same = np.zeros(len(order) + 1, dtype=np.bool_)
    same[1:-1] = (known[1:] == known[:-1]) & (time[1:] == time[:-1]) & (customer[1:] == customer[:-1])
    if same.any():
        run = np.cumsum(~same[:-1])
        tied = np.flatnonzero(same[:-1] | same[1:])
        ties = pl.DataFrame({"run": run[tied], "row": order[tied], "message": message[order[tied]]})
        order[tied] = ties.sort("run", "message", maintain_order=True)["row"].to_numpy()
    return order


def _category_names(bought: pl.Series) -> pl.Series:
    if bought.null_count() == len(bought):
        return pl.Series([], dtype=pl.String)
    return bought.explode(empty_as_null=False, keep_nulls=False).unique().sort()


def _zones(told: pl.Series, customer: Ints, arrival: Ints, count: int) -> tuple[pl.Series, list[str | None]]:
    """Each row's zone (its own, else the customer's last one received before) and each customer's last."""
    if told.null_count() == len(told):
        return pl.repeat(None, len(told), dtype=pl.Null, eager=True), [None] * count
    names = told
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
    hours = hours_of_week(time, DEFAULT_ZONE)
    if zones.null_count() < len(zones):
        for zone in zones.unique().drop_nulls():
            here = (zones == zone).fill_null(False).to_numpy()
            hours[here] = hours_of_week(time[here], zone)
    return hours


def _integers(column: pl.Series, order: Ints | None = None) -> Ints:
    """Numbers in an order, 0 where there is none."""
    if column.null_count() == len(column):
        return np.zeros(len(column), dtype=np.int64)
    numbers = column.cast(pl.Int64).fill_null(0).to_numpy()
    return numbers if order is None else numbers[order]


def _in_order(column: pl.Series, order: Ints | None) -> pl.Series:
    return column if order is None or column.dtype == pl.Null else column[order]


def _categories(bought: pl.Series, names: pl.Series) -> Ragged:
    if not len(names):
        return _ragged(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty(0), len(bought))
    pairs = pl.DataFrame({"row": np.arange(len(bought)), "name": bought})
    pairs = pairs.explode("name", empty_as_null=False, keep_nulls=False)
    places = pl.DataFrame({"name": names, "key": np.arange(len(names))})
    found = pairs.join(places, on="name", how="inner").sort("row", "key")
    return _ragged(found["row"].to_numpy(), found["key"].to_numpy(), np.ones(found.height), len(bought))


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
    hour = hour_of_week(time, zone or DEFAULT_ZONE)
    traits = read_traits(with_location(event.get("traits"), event.get("context")), plan.traits)
    if plan.offset is not None and told and known_zone(told):
        traits.append((plan.offset, offset_hour(time, told)))
    products = event.get("products") or ()
    currency = event.get("currency")
    told_revenue = CURRENCIES.in_home(event.get("revenue_cents"), currency)
    revenue = told_revenue or 0
    discount = event.get("discount_cents")
    if discount is None:
        discount = sum(p.get("discount_cents") or 0 for p in products)
    discount = CURRENCIES.in_home(discount, currency) or 0
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
        plan.vocabulary.code(
            event["type"], event.get("event"), event.get("channel"), event.get("machine"), told_revenue is not None
        ),
        hour,
        columns,
        tuple(sorted({p["category"] for p in products if p.get("category") is not None})),
        tuple(traits),
    )
    return fact, zone

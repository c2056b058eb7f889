"""How many orders of a customer had each product: a map in the row beside categories, over all time.

Products go by a hash of 31 bits. A customer's further products beyond `PRODUCTS` are left out: the ones with the
largest hashes, so that what is kept hangs neither on the order of events nor on when they were folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_intdigest

from features.tables import UTC_TIME
from features.vocabulary import NAMES

Ints = NDArray[np.int64]
PRODUCTS = 2048
ORDERS = tuple(name for name, meaning in NAMES.items() if meaning.verb == "ordered")
_BITS = 31
_MASK = (1 << _BITS) - 1
PRODUCTS_AT = "products_at"
"""The column in which a frame of customers tells the place of each in a `ManyProducts`."""


def _ints() -> Ints:
    return np.empty(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class ProductOrders:
    """Hashes of products, ascending, and how many orders had each; equal lengths."""

    key: Ints = field(default_factory=_ints)
    orders: Ints = field(default_factory=_ints)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ProductOrders):
            return NotImplemented
        return np.array_equal(self.key, other.key) and np.array_equal(self.orders, other.orders)

    def __hash__(self) -> int:
        return hash((self.key.tobytes(), self.orders.tobytes()))

    def of(self, keys: Ints) -> ProductOrders:
        """Only these products; `keys` ascending."""
        if not len(keys):
            return ProductOrders()
        here = keys[np.minimum(np.searchsorted(keys, self.key), len(keys) - 1)] == self.key
        return ProductOrders(self.key[here], self.orders[here])


NO_PRODUCTS = ProductOrders()


@dataclass(frozen=True, slots=True)
class ManyProducts:
    """The products of n customers, one after another: those of customer i are start[i] to start[i + 1]."""

    start: Ints
    key: Ints
    orders: Ints

    @classmethod
    def of(cls, told: Sequence[ProductOrders]) -> ManyProducts:
        start = np.cumsum([0, *(len(one.key) for one in told)])
        if not len(told):
            return cls(start, _ints(), _ints())
        return cls(start, np.concatenate([one.key for one in told]), np.concatenate([one.orders for one in told]))

    def each(self) -> Iterator[ProductOrders]:
        """One after another."""
        for begin, end in pairwise(self.start.tolist()):
            yield ProductOrders(self.key[begin:end], self.orders[begin:end])

    def take(self, customers: Ints) -> ManyProducts:
        """Those of these customers, by their places."""
        lengths = self.start[customers + 1] - self.start[customers]
        start = np.concatenate([[0], np.cumsum(lengths)])
        places = np.arange(start[-1]) + np.repeat(self.start[customers] - start[:-1], lengths)
        return ManyProducts(start, self.key[places], self.orders[places])

    def owner(self) -> Ints:
        """The customer of each entry."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


@dataclass(frozen=True, slots=True)
class Bought:
    """Products ordered lately, an entry a product and order: hash, time of the order and of its receipt."""

    key: Ints = field(default_factory=_ints)
    time: Ints = field(default_factory=_ints)
    known: Ints = field(default_factory=_ints)

    def __len__(self) -> int:
        return len(self.key)

    def at(self, rows: Ints | NDArray[np.bool_] | slice) -> Bought:
        return Bought(self.key[rows], self.time[rows], self.known[rows])

    def and_(self, keys: Sequence[int], time: int, known: int) -> Bought:
        count = len(keys)
        return Bought(
            np.concatenate([self.key, np.array(keys, np.int64)]),
            np.concatenate([self.time, np.full(count, time)]),
            np.concatenate([self.known, np.full(count, known)]),
        )


def product_key(product_id: str) -> int:
    """The hash that stands for a product: the low 31 bits of xxh3_64 of its id."""
    return xxh3_64_intdigest(product_id.encode()) & _MASK


def product_keys(names: pl.Series) -> Ints:
    """`product_key` of each name, in their order."""
    told = names.unique()
    hashed = pl.Series([product_key(name) for name in told.to_list()], dtype=pl.Int64)
    keys = pl.DataFrame({"name": told, "key": hashed})
    return pl.DataFrame({"name": names}).join(keys, on="name", how="left", maintain_order="left")["key"].to_numpy()


def distinct(values: Ints) -> Ints:
    """The distinct values, ascending; a sort takes a fifth of the time of np.unique, which hashes."""
    ordered = np.sort(values)
    new = np.ones(len(ordered), dtype=np.bool_)
    new[1:] = ordered[1:] != ordered[:-1]
    return ordered[new]


def counted(held: ProductOrders, bought: Bought) -> ProductOrders:
    """`held` and these further orders together."""
    if not len(bought):
        return held
    keys = np.concatenate([held.key, bought.key])
    orders = np.concatenate([held.orders, np.ones(len(bought), dtype=np.int64)])
    told, place = np.unique(keys, return_inverse=True)
    total = np.zeros(len(told), dtype=np.int64)
    np.add.at(total, place, orders)
    return ProductOrders(told[:PRODUCTS], total[:PRODUCTS])


def fold_products(
    held: ProductOrders, bought: Bought, watermark: int, hold: int, crowd: int
) -> tuple[ProductOrders, Bought]:
    """Counts what is older than `hold` before the last receipt; with more than `crowd` entries all that happened."""
    if not len(bought):
        return held, bought
    horizon = watermark - (hold if len(bought) <= crowd else 0)
    old = (bought.time < horizon) & (bought.known <= horizon)
    return counted(held, bought.at(old)), bought.at(~old)


def as_of(held: ProductOrders, bought: Bought, time: int) -> ProductOrders:
    """What had been ordered before a time, and was received by then."""
    if not len(bought):
        return held
    return counted(held, bought.at((bought.time < time) & (bought.known <= time)))


def bought_in(events: pl.DataFrame, customers: pl.Series) -> tuple[Ints, Bought]:
    """(customer, bought): every product of every order of these customers, by their places, ascending.

    `events` are EVENTS-shaped, any order; of repeated message ids the earliest received counts.
    """
    if "products" not in events.columns or events["products"].null_count() == events.height:
        return _ints(), Bought()
    received = pl.col("received_at") if "received_at" in events.columns else pl.col("timestamp")
    places = pl.DataFrame({"customer_id": customers, "customer": np.arange(len(customers))})
    told = events.select("message_id", "customer_id", "timestamp", "type", "event", "products", known=received)
    orders = told.with_columns(pl.col("known").fill_null(pl.col("timestamp"))).join(places, on="customer_id")
    if orders["message_id"].n_unique() < orders.height:
        orders = orders.sort("known", "timestamp").unique("message_id", keep="first", maintain_order=True)
    wanted = (pl.col("type") == "track") & pl.col("event").is_in(ORDERS) & (pl.col("products").list.len() > 0)
    orders = orders.filter(wanted).sort("customer", "timestamp")
    order = np.repeat(np.arange(orders.height), orders["products"].list.len().to_numpy())
    names = orders["products"].explode(empty_as_null=False, keep_nulls=False).struct.field("product_id")
    named = (names.is_not_null() & (names != "")).to_numpy()
    pairs = distinct(order[named] << _BITS | product_keys(names.filter(named)))
    order = pairs >> _BITS
    times = (orders[name].cast(UTC_TIME).cast(pl.Int64).to_numpy()[order] for name in ("timestamp", "known"))
    return orders["customer"].to_numpy().astype(np.int64)[order], Bought(pairs & _MASK, *times)


def products(events: pl.DataFrame, cuts: pl.DataFrame) -> ManyProducts:
    """Orders by product as of each cut (customer_id, as_of), over all time, in the cuts' order."""
    frame = cuts.select(pl.col("customer_id").cast(pl.String), pl.col("as_of").cast(UTC_TIME).cast(pl.Int64))
    customers = frame["customer_id"].unique(maintain_order=True)
    customer, bought = bought_in(events, customers)
    bounds = np.searchsorted(customer, np.arange(len(customers) + 1)).tolist()
    place = {name: number for number, name in enumerate(customers.to_list())}
    found = []
    for name, time in frame.iter_rows():
        number = place[name]
        found.append(as_of(NO_PRODUCTS, bought.at(slice(bounds[number], bounds[number + 1])), time))
    return ManyProducts.of(found)

"""Every table that passes between the parts: columns, types, ranges and keys, declared once."""

from __future__ import annotations

import random
import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import polars as pl

from features.channels import CHANNELS

UTC_TIME = pl.Datetime("us", "UTC")
PRODUCT = pl.Struct(
    {
        "product_id": pl.String,
        "category": pl.String,
        "price_cents": pl.Int64,
        "quantity": pl.Int64,
        "discount_cents": pl.Int64,
    }
)
EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = datetime(2101, 1, 1, tzinfo=UTC)
MONEY_LIMIT = 10**13
"""Largest amount of money in one row, in minor units: sums of many stay exact in 64 bits."""


class TableError(ValueError):
    """A frame does not fit its table; the message names the column and what to do."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its Polars type, whether it may be null, and which values it may hold."""

    dtype: pl.DataType
    nullable: bool = False
    low: Any = None
    high: Any = None
    values: tuple[str, ...] = ()
    json: bool = False

    def faults(self, name: str) -> pl.Expr:
        """True where a value breaks a rule of this column."""
        column = pl.col(name)
        wrong = column.is_null() if not self.nullable else pl.lit(False)
        if self.low is not None:
            wrong = wrong | (column < self.low).fill_null(False)
        if self.high is not None:
            wrong = wrong | (column > self.high).fill_null(False)
        if self.values:
            wrong = wrong | (~column.is_in(list(self.values))).fill_null(False)
        return wrong.alias(name)


@dataclass(frozen=True, slots=True)
class Table:
    """A declared table. `key` columns together name a row."""

    name: str
    columns: Mapping[str, Column]
    key: tuple[str, ...] = field(default=())

    @property
    def schema(self) -> pl.Schema:
        """Polars names and types, in the declared order."""
        return pl.Schema({name: column.dtype for name, column in self.columns.items()})

    def empty(self) -> pl.DataFrame:
        return pl.DataFrame(schema=self.schema)

    def conform(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The frame with this table's columns, order and types; nullable columns that lack are added as null.

        Raises TableError for a missing, an unknown or an uncastable column.
        """
        unknown = [name for name in frame.columns if name not in self.columns]
        if unknown:
            raise TableError(f"{self.name} has no column {', '.join(unknown)}; it has {', '.join(self.columns)}")
        missing = [n for n, c in self.columns.items() if n not in frame.columns and not c.nullable]
        if missing:
            raise TableError(f"{self.name} needs the column {', '.join(missing)}")
        chosen = [
            pl.col(n).cast(c.dtype, strict=True) if n in frame.columns else pl.lit(None, c.dtype).alias(n)
            for n, c in self.columns.items()
        ]
        try:
            return frame.select(chosen)
        except pl.exceptions.PolarsError as cause:
            raise TableError(f"{self.name}: a column has a type that does not fit: {cause}") from cause

    def faults(self, frame: pl.DataFrame) -> pl.DataFrame:
        """One Boolean column a declared column, one row a row: True where the value breaks a rule."""
        return frame.select([column.faults(name) for name, column in self.columns.items()])

    def validate(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The conforming frame. Raises TableError naming the first column, row and value that break a rule."""
        fitting = self.conform(frame)
        for name, wrong in self.faults(fitting).to_dict().items():
            row = wrong.arg_max() if wrong.any() else None
            if row is not None:
                raise TableError(f"{self.name}.{name}: row {row} holds {fitting[name][row]!r}, {self._rule(name)}")
        if self.key and fitting.height and fitting.select(pl.struct(self.key).is_duplicated().any()).item():
            raise TableError(f"{self.name}: two rows have the same {', '.join(self.key)}")
        return fitting

    def _rule(self, name: str) -> str:
        column = self.columns[name]
        if column.values:
            return f"allowed: {', '.join(column.values)}"
        return f"allowed: {'null or ' if column.nullable else ''}{column.low} to {column.high}"

    def sample(self, n: int, seed: int) -> pl.DataFrame:
        """`n` valid random rows, the same for the same seed; for tests."""
        rng = random.Random(seed)
        rows = [{name: _value(c, name in self.key, rng, i) for name, c in self.columns.items()} for i in range(n)]
        return self.validate(pl.DataFrame(rows, schema=self.schema))


def _value(column: Column, unique: bool, rng: random.Random, row: int) -> Any:
    if column.nullable and rng.random() < 0.3:
        return None
    if column.values:
        return rng.choice(column.values)
    if column.json:
        return orjson.dumps({"n": rng.randint(0, 9)}).decode()
    return f"{row}-{rng.getrandbits(32):x}" if unique and column.dtype == pl.String else _random(column, rng)


def _random(column: Column, rng: random.Random) -> Any:
    kind = column.dtype
    if kind == pl.String:
        return "".join(rng.choices(string.ascii_lowercase, k=6))
    if kind == pl.Boolean:
        return rng.random() < 0.5
    if kind == UTC_TIME:
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=rng.randrange(200 * 86_400_000_000))
    if kind.is_float():
        return rng.uniform(column.low or 0.0, column.high if column.high is not None else 100.0)
    if kind.is_integer():
        return rng.randint(max(column.low or 0, 0), min(column.high or 1000, 1000))
    if kind == pl.List(PRODUCT):
        return [_product(rng) for _ in range(rng.randint(1, 3))]
    return ["".join(rng.choices("abc", k=2)) for _ in range(rng.randint(0, 3))]


def _product(rng: random.Random) -> dict[str, Any]:
    return {
        "product_id": f"p{rng.randint(0, 50)}",
        "category": rng.choice(["bread", "wine", "toys", None]),
        "price_cents": rng.randint(1, 5000),
        "quantity": rng.randint(1, 4),
        "discount_cents": rng.choice([None, 0, 50]),
    }


_TEXT = Column(pl.String())
_TEXT_OR_NULL = Column(pl.String(), nullable=True)
_JSON = Column(pl.String(), json=True)
_JSON_OR_NULL = Column(pl.String(), nullable=True, json=True)
_TIME = Column(UTC_TIME, low=EARLIEST, high=LATEST)
_TIME_OR_NULL = Column(UTC_TIME, nullable=True, low=EARLIEST, high=LATEST)
_MONEY_OR_NULL = Column(pl.Int64(), nullable=True, low=-MONEY_LIMIT, high=MONEY_LIMIT)
_FLAG = Column(pl.Boolean())
_TEXTS = Column(pl.List(pl.String()))
_PROBABILITY = Column(pl.Float64(), low=0.0, high=1.0)
_CHANNEL_OR_NULL = Column(pl.String(), nullable=True, values=CHANNELS)

EVENTS = Table(
    "events",
    {
        "message_id": _TEXT,
        "type": Column(pl.String(), values=("identify", "track", "page", "screen", "group", "alias")),
        "event": _TEXT_OR_NULL,
        "customer_id": _TEXT,
        "anonymous_id": _TEXT_OR_NULL,
        "timestamp": _TIME,
        "received_at": _TIME,
        "channel": _TEXT_OR_NULL,
        "offer_id": _TEXT_OR_NULL,
        "campaign_id": _TEXT_OR_NULL,
        "decision_id": _TEXT_OR_NULL,
        "order_id": _TEXT_OR_NULL,
        "currency": _TEXT_OR_NULL,
        "revenue_cents": _MONEY_OR_NULL,
        "discount_cents": _MONEY_OR_NULL,
        "products": Column(pl.List(PRODUCT), nullable=True),
        "timezone": _TEXT_OR_NULL,
        "machine": Column(pl.Boolean(), nullable=True),
        "machine_reason": _TEXT_OR_NULL,
        "url": _TEXT_OR_NULL,
        "properties": _JSON,
        "traits": _JSON_OR_NULL,
        "context": _JSON_OR_NULL,
    },
    key=("message_id",),
)
CUSTOMERS = Table(
    "customers",
    {
        "customer_id": _TEXT,
        "timezone": _TEXT_OR_NULL,
        "locale": _TEXT_OR_NULL,
        "country": _TEXT_OR_NULL,
        "traits": _JSON,
        "segments": _TEXTS,
        "consents": _JSON,
        "profiling": _FLAG,
        "first_seen": _TIME,
        "updated_at": _TIME,
    },
    key=("customer_id",),
)
OFFERS = Table(
    "offers",
    {
        "offer_id": _TEXT,
        "name": _TEXT,
        "description": _TEXT,
        "category": _TEXT_OR_NULL,
        "product_ids": _TEXTS,
        "channels": _TEXTS,
        "discount_percent": Column(pl.Float64(), nullable=True, low=0.0, high=100.0),
        "price_cents": _MONEY_OR_NULL,
        "currency": _TEXT_OR_NULL,
        "value": Column(pl.Float64()),
        "cost": Column(pl.Float64()),
        "starts_at": _TIME_OR_NULL,
        "ends_at": _TIME_OR_NULL,
        "tags": _TEXTS,
        "hash": _TEXT,
    },
    key=("offer_id",),
)
OFFER_VERSIONS = Table(
    "offer_versions",
    {
        "offer_id": _TEXT,
        "version": Column(pl.Int64(), low=1),
        "at": _TIME,
        "deleted": _FLAG,
        "name": _TEXT,
        "description": _TEXT,
        "category": _TEXT_OR_NULL,
        "product_ids": _TEXTS,
        "channels": _TEXTS,
        "discount_percent": Column(pl.Float64(), nullable=True, low=0.0, high=100.0),
        "price_cents": _MONEY_OR_NULL,
        "value": Column(pl.Float64()),
        "cost": Column(pl.Float64()),
        "starts_at": _TIME_OR_NULL,
        "ends_at": _TIME_OR_NULL,
    },
    key=("offer_id", "version", "deleted"),
)
"""What the catalogue said of an offer from `at` on; `deleted`: that it was taken out then."""
DECISIONS = Table(
    "decisions",
    {
        "decision_id": _TEXT,
        "customer_id": _TEXT,
        "decided_at": _TIME,
        "placement": _TEXT,
        "arm": Column(pl.String(), values=("model", "random", "business_as_usual", "holdout")),
        "policy": _TEXT,
        "policy_version": _TEXT,
        "offer_id": _TEXT_OR_NULL,
        "channel": _CHANNEL_OR_NULL,
        "rank": Column(pl.Int32(), nullable=True, low=1),
        "chosen": _FLAG,
        "propensity": _PROBABILITY,
        "probability": Column(pl.Float64(), nullable=True, low=0.0, high=1.0),
        "expected_value": Column(pl.Float64(), nullable=True),
        "send_at": _TIME_OR_NULL,
        "send_at_probability": Column(pl.Float64(), nullable=True, low=0.0, high=1.0),
        "another_time": Column(pl.Boolean(), nullable=True),
    },
)
_ANSWERS = ("opened", "clicked", "converted", "redeemed", "unsubscribed", "complained", "refunded", "returned")
OUTCOMES = Table(
    "outcomes",
    {
        "decision_id": _TEXT,
        "customer_id": _TEXT,
        "offer_id": _TEXT_OR_NULL,
        "channel": _TEXT_OR_NULL,
        "kind": Column(
            pl.String(),
            values=("delivered", *_ANSWERS),
        ),
        "at": _TIME,
        "value_cents": _MONEY_OR_NULL,
        "machine": _FLAG,
        "message_id": _TEXT,
    },
)
TABLES: Mapping[str, Table] = {t.name: t for t in (EVENTS, CUSTOMERS, OFFERS, OFFER_VERSIONS, DECISIONS, OUTCOMES)}

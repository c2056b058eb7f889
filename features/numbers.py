"""Events as numbers, row by row: no row depends on another, so what was read once need not be read again.

What hangs on a customer's other events (repeats, the last known time zone) is made of these rows in facts.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import polars as pl
from numpy.typing import NDArray

from features.currencies import CURRENCIES, Currencies
from features.plan import Plan
from features.tables import UTC_TIME
from features.values import LOCATION_WORD, with_location

Codes = NDArray[np.int32]
Places = NDArray[np.integer[Any]]
NEEDED = (
    "message_id",
    "type",
    "event",
    "customer_id",
    "timestamp",
    "received_at",
    "channel",
    "currency",
    "revenue_cents",
    "discount_cents",
    "products",
    "timezone",
    "machine",
    "traits",
    "context",
)
REQUIRED = ("message_id", "type", "event", "customer_id", "timestamp")
NUMBERS = pl.Schema(
    {
        "message_id": pl.String(),
        "customer_id": pl.String(),
        "time": pl.Int64(),  # microseconds
        "known": pl.Int64(),  # when it was received
        "code": pl.Int32(),  # see Vocabulary.code
        "zone": pl.String(),  # as the event says it
        "revenue_cents": pl.Int64(),  # of the home currency (currencies.py), as is the discount
        "discount_cents": pl.Int64(),
        "quantity": pl.Int64(),
        "lines": pl.Int64(),
        "categories": pl.List(pl.String()),  # distinct
        "traits": pl.String(),  # JSON, with the event's location (values.py)
    }
)
_SAID: dict[str, pl.DataType] = {
    "type": pl.String(),
    "event": pl.String(),
    "channel": pl.String(),
    "machine": pl.Boolean(),
}
_MAY_LACK = frozenset({"zone", "revenue_cents", "discount_cents", "quantity", "lines", "categories", "traits"})
_FEW = 4096
"""So many combinations are looked up without asking which of them there are."""


def numbers_of(events: pl.DataFrame, plan: Plan) -> pl.DataFrame:
    """EVENTS-shaped rows as NUMBERS, in their order; columns that features do not need may lack.

    A column without a single value has the type Null, which takes no memory. Raises ValueError naming a column
    that cannot lack.
    """
    rows = _complete(events)
    quantity, lines, saved = _product_sums(rows["products"])
    told = rows["discount_cents"].cast(pl.Int64)
    discount = told if saved is None else told.fill_null(saved)
    codes = rows["currency"].cast(pl.String)
    revenue = in_home(rows["revenue_cents"].cast(pl.Int64), codes, CURRENCIES)
    discount = in_home(discount, codes, CURRENCIES)
    columns = {
        "message_id": rows["message_id"],
        "customer_id": rows["customer_id"].cast(pl.String),
        "time": _micro(rows["timestamp"]),
        "known": _micro(rows["received_at"].fill_null(rows["timestamp"])),
        "code": pl.Series(codes_of(rows, plan) | revenue.is_not_null().to_numpy().astype(np.int32)),
        "zone": rows["timezone"].cast(pl.String),
        "revenue_cents": revenue,
        "discount_cents": discount,
        "quantity": quantity,
        "lines": lines,
        "categories": _categories(rows["products"]),
        "traits": _with_locations(rows["traits"].cast(pl.String), rows["context"].cast(pl.String)),
    }
    return pl.DataFrame({n: _light(column) if n in _MAY_LACK else column for n, column in columns.items()})


def joined(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """NUMBERS of several files in one frame."""
    if not parts:
        return pl.DataFrame(schema=NUMBERS)
    return pl.concat(parts, how="vertical_relaxed", rechunk=True)


def codes_of(rows: pl.DataFrame, plan: Plan) -> Codes:
    """Vocabulary.code of each event, made once for each combination of type, event, channel and machine; as if no
    revenue were known."""
    said = [_distinct(rows[name], kind) for name, kind in _SAID.items()]
    sizes = [len(values) for _, values in said]
    few = int(np.prod(sizes)) <= _FEW
    place: Places = np.zeros(1, dtype=np.uint16 if few else np.int64)
    for number, values in said:
        place = place * len(values) + number.astype(place.dtype)
    found, row = (np.arange(int(np.prod(sizes))), place) if few else np.unique(place, return_inverse=True)
    combinations = zip(*np.unravel_index(found, sizes), strict=True)
    codes = [plan.vocabulary.code(*(v[i] for i, (_, v) in zip(one, said, strict=True))) for one in combinations]
    return np.broadcast_to(np.array(codes, dtype=np.int32)[row], rows.height)


def _distinct(column: pl.Series, kind: pl.DataType) -> tuple[Places, list[Any]]:
    """(which of the values each row has, the values); one number for all rows where all are alike."""
    column = column.cast(kind)
    if column.null_count() == len(column):
        return np.zeros(1, dtype=np.int64), [None]
    if column.null_count() == 0 and (column == column[0]).all():
        return np.zeros(1, dtype=np.int64), [column[0]]
    if kind == pl.Boolean():
        return column.cast(pl.UInt8).fill_null(2).to_numpy(), [False, True, None]
    values = column.unique().drop_nulls()
    ranks = column.cast(pl.Enum(values)).to_physical()
    if ranks.null_count():
        ranks = ranks.cast(pl.UInt32).fill_null(len(values))
    return ranks.to_numpy(), [*values, None]


def _product_sums(products: pl.Series) -> tuple[pl.Series, pl.Series, pl.Series | None]:
    """Pieces, lines and discount of each row; nulls where no row has products."""
    if products.null_count() == len(products):
        nothing = pl.Series([None] * 0, dtype=pl.Null).extend_constant(None, len(products))
        return nothing, nothing, None
    lengths = products.list.len().fill_null(0).to_numpy().astype(np.int64)
    row = np.repeat(np.arange(len(products)), lengths)
    lines = products.explode(empty_as_null=False, keep_nulls=False).struct.unnest()
    quantity, saved = np.zeros(len(products), dtype=np.int64), np.zeros(len(products), dtype=np.int64)
    if "quantity" in lines.columns:
        np.add.at(quantity, row, lines["quantity"].cast(pl.Int64).fill_null(1).to_numpy())
    else:
        quantity = lengths
    if "discount_cents" in lines.columns:
        np.add.at(saved, row, lines["discount_cents"].cast(pl.Int64).fill_null(0).to_numpy())
    return pl.Series(quantity), pl.Series(lengths), pl.Series(saved)


def _categories(products: pl.Series) -> pl.Series:
    if products.null_count() == len(products):
        return products
    return products.list.eval(pl.element().struct.field("category").cast(pl.String)).list.drop_nulls().list.unique()


def _with_locations(traits: pl.Series, contexts: pl.Series) -> pl.Series:
    if contexts.null_count() == len(contexts):
        return traits
    rows = contexts.str.contains(LOCATION_WORD, literal=True).fill_null(False).arg_true()
    if not len(rows):
        return traits
    told = (with_location(*one) for one in zip(traits[rows], contexts[rows], strict=True))
    texts = [orjson.dumps(one).decode() if isinstance(one, dict) else one for one in told]
    return traits.cast(pl.String).scatter(rows, pl.Series(texts, dtype=pl.String))


def in_home(amounts: pl.Series, codes: pl.Series, currencies: Currencies) -> pl.Series:
    """`Currencies.in_home` of many: amounts Int64, codes String."""
    if amounts.null_count() == len(amounts) or codes.null_count() == len(codes):
        return amounts
    foreign = (codes != currencies.home).fill_null(False)
    if not foreign.any():
        return amounts
    rows = foreign.arg_true()
    told = zip(amounts[rows].to_list(), codes[rows].to_list(), strict=True)
    worth = pl.Series([currencies.in_home(amount, code) for amount, code in told], dtype=pl.Int64)
    return amounts.cast(pl.Int64).scatter(rows, worth)


def _micro(times: pl.Series) -> pl.Series:
    return times.cast(UTC_TIME).cast(pl.Int64)


def _light(column: pl.Series) -> pl.Series:
    return column.cast(pl.Null) if column.null_count() == len(column) else column


def _complete(events: pl.DataFrame) -> pl.DataFrame:
    missing = [name for name in REQUIRED if name not in events.columns]
    if missing:
        raise ValueError(f"events lack the column {', '.join(missing)}")
    added = [pl.lit(None).alias(n) for n in NEEDED if n not in events.columns]
    return events.with_columns(added).select(NEEDED) if added else events.select(NEEDED)

"""Orders that the event log holds more than once, told by several sources under ids of their own: the first counts.

Events of the API are looked through as they come; this is for files, and for histories that became one.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import polars as pl

from features.event_log import FILE, EventLog, columns_of, scan_files
from features.tables import EVENTS
from features.vocabulary import ORDERED

WITHIN = timedelta(days=14)
"""So far apart the same `order_id` is the same order; a shop may begin to count anew."""
_COLUMNS = ("customer_id", "order_id", "message_id", "timestamp", "received_at")
_SCHEMA = {**{name: EVENTS.schema[name] for name in _COLUMNS}, "source": pl.String(), "file": pl.Boolean()}


def told_again(orders: pl.DataFrame) -> pl.DataFrame:
    """`customer_id` and `message_id` of the orders that another source told before. Pure.

    `orders` is as `orders_of` gives it. What the API brought goes before what files tell, then what was received
    first. Rows of one source are no repeats of each other: they may be the lines of an order.
    """
    order = ["customer_id", "order_id"]
    rows = orders.with_columns(pl.coalesce("source", "message_id").alias("source"))
    rows = rows.sort("file", "received_at", "timestamp", "message_id")
    rows = rows.unique("message_id", keep="first", maintain_order=True)
    near = (pl.col("timestamp") - pl.col("timestamp").first().over(order)).abs() <= WITHIN
    again = rows.filter((pl.col("source") != pl.col("source").first().over(order)) & near)
    return again.select("customer_id", "message_id")


def orders_of(
    log: EventLog,
    bucket: int,
    months: Collection[str] | None = None,
    customers: Collection[str] | None = None,
    apart: str | None = None,
) -> pl.DataFrame:
    """A bucket's orders that have an `order_id`, of these months (`2026-10`) and customers (None: of all).

    `source` is the file that told an order; null where it stands by itself, as each row of the parts does whose
    names begin with `apart`.
    """
    found = [pl.DataFrame(schema=_SCHEMA)]
    is_order = (pl.col("type") == "track") & pl.col("event").is_in(ORDERED) & pl.col("order_id").is_not_null()
    if customers is not None:
        is_order &= pl.col("customer_id").is_in(pl.Series(sorted(customers), dtype=pl.String).implode())
    for path in log.files(bucket):
        if months is not None and path.parent.name.removeprefix("month=") not in months:
            continue
        if columns_of(path, ["order_id"]):
            name = path.name.removeprefix("part-")
            source = None if apart is not None and name.startswith(apart) else _source(name)
            told = {"source": pl.lit(source, pl.String), "file": pl.lit(name.startswith(FILE))}
            found.append(scan_files([path]).filter(is_order).select(*_COLUMNS, **told).collect())
    return pl.concat(found)


def orders_among(events: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
    """`orders_of` of orders that are not in the log yet, each by itself."""
    rows = [{**{name: event[name] for name in _COLUMNS}, "source": None, "file": False} for event in events]
    return pl.DataFrame(rows, schema=_SCHEMA)


def told_again_beside(log: EventLog, bucket: int, parts: str, apart: bool) -> pl.DataFrame:
    """`told_again` of a bucket in the months of the parts whose names begin with `parts`, and those beside them.

    `apart`: rows of these parts are an order each, not its lines.
    """
    mine = {path.parent.name for path in log.files(bucket) if path.name.startswith(f"part-{parts}")}
    months = {near for month in mine for near in _beside(month.removeprefix("month="))}
    return told_again(orders_of(log, bucket, months, apart=parts if apart else None))


def _source(name: str) -> str:
    """A file by its content, what was joined by its part; all that came over the API is one."""
    if name.startswith(FILE):
        return name[: name.index("-", len(FILE))]
    return name if name.startswith("joined-") else ""


def _beside(month: str) -> list[str]:
    first = date.fromisoformat(f"{month}-01")
    return [f"{day:%Y-%m}" for day in (first - timedelta(days=1), first, first + timedelta(days=31))]

"""What a customer's purchases are about: the mean text vector of the categories bought in a year, by orders.

The counts change with every order and the vectors with the catalogue; the mean is made when it is read, from the
counts that the customer's row holds, so it is never behind either. Batch and online add the same whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest

from features.build import affinity, snapshot_folder
from features.declare import Feature
from features.event_log import EventLog
from features.files import write_parquet
from features.numbers import NEEDED
from features.tables import UTC_TIME
from features.text_keys import text_key
from features.texts import DIMENSIONS, TextVectors
from features.vocabulary import NAMES

Floats = NDArray[np.float64]
INTERESTS: tuple[Feature, ...] = tuple(
    Feature(
        f"interest_text_{place}",
        "text",
        f"Number {place} of {DIMENSIONS} that tell what was bought in the last 365 days, by its categories (texts.py).",
        f"interest number {{interest_text_{place}:.2f}}",
        "number",
        column="categories",
        window_days=365,
        place=place,
    )
    for place in range(DIMENSIONS)
)
"""Near in these numbers is near in meaning, and near to an offer whose `offer_text_…` are alike."""
INTEREST_NAMES = tuple(feature.name for feature in INTERESTS)
_ORDERED = [name for name, meaning in NAMES.items() if meaning.verb == "ordered"]


def interests(events: pl.DataFrame, cuts: pl.DataFrame, texts: TextVectors) -> pl.DataFrame:
    """The cuts' rows (customer_id, as_of, any more) in their order, and INTEREST_NAMES; NaN where nothing is known.

    events: EVENTS-shaped. Only orders that happened before as_of and were received by then count.
    """
    keys = ["customer_id", "as_of"]
    distinct = cuts.select(keys).unique(maintain_order=True).with_row_index("_row")
    told = affinity(events, distinct).join(distinct, on=keys, how="left", maintain_order="left")
    names, place = np.unique(told["category"].to_numpy().astype(str), return_inverse=True)
    known = np.array([text_key(str(name)) for name in names], np.int64)
    values = texts.mean_numbers(
        told["_row"].to_numpy().astype(np.int64),
        known[place],
        told["orders_365d"].to_numpy().astype(np.int64),
        distinct.height,
    )
    columns = [pl.Series(name, np.ascontiguousarray(values[:, i])) for i, name in enumerate(INTEREST_NAMES)]
    return cuts.join(distinct.with_columns(columns).drop("_row"), on=keys, how="left", maintain_order="left")


def interest_numbers(affinity_of: Mapping[str, Sequence[float]], texts: TextVectors) -> Floats:
    """(INTEREST_NAMES,) of one customer, from `CustomerRow.affinity`: the same bits as `interests` gives."""
    keys = np.array([text_key(name) for name in affinity_of], np.int64)
    orders = np.array([told[1] for told in affinity_of.values()], np.int64)
    numbers: Floats = texts.mean_numbers(np.zeros(len(keys), np.int64), keys, orders, 1)[0]
    return numbers


def categories_bought(log: EventLog) -> list[str]:
    """The names of all product categories ever ordered, sorted."""
    found: set[str] = set()
    for bucket in range(log.buckets):
        orders = log.scan(buckets=[bucket], repeats=True).filter(pl.col("event").is_in(_ORDERED))
        lines = orders.select(pl.col("products").explode().struct.field("category").drop_nulls().unique())
        found |= set(lines.collect()["category"])
    return sorted(found)


def build_interests(
    log: EventLog, as_of: datetime, out: Path, texts: TextVectors, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Interests of every customer with an order by `as_of`, in `out/as_of=…/bucket=NN.parquet`; returns the folder.

    Columns: customer_id, as_of, created, INTEREST_NAMES. A bucket is written whole or not at all, and left alone if
    it was made from the same event files and vectors: a run that was cut short goes on where it stopped.
    """
    folder = snapshot_folder(out, as_of)
    for bucket in range(log.buckets):
        path = folder / f"bucket={bucket:02d}.parquet"
        files = [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in log.files(bucket)]
        source = xxh3_64_hexdigest(repr((files, texts.version, INTEREST_NAMES)).encode())
        if not path.exists() or pl.read_parquet_metadata(path).get("source") != source:
            write_parquet(_of_bucket(log, bucket, as_of, texts), path, {"source": source})
        if progress:
            progress(bucket + 1, log.buckets)
    return folder


def _of_bucket(log: EventLog, bucket: int, as_of: datetime, texts: TextVectors) -> pl.DataFrame:
    counted = pl.col("event").is_in(_ORDERED) & (pl.col("timestamp") < as_of) & (pl.col("received_at") <= as_of)
    orders = log.scan(buckets=[bucket], repeats=True).filter(counted).select(NEEDED).collect()
    cuts = pl.DataFrame({"customer_id": orders["customer_id"].unique().sort()}).with_columns(
        pl.lit(as_of, UTC_TIME).alias("as_of"), pl.lit(as_of, UTC_TIME).alias("created")
    )
    return interests(orders, cuts, texts)

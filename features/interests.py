"""What a customer looks for: the mean text vector of the categories bought and looked at in a year.

An order counts as much as `ORDER` views. The counts change with every event and the vectors with the catalogue; the
mean is made when it is read, from the counts that the customer's row holds, so it is never behind either. Batch and
online add the same whole numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from xxhash import xxh3_64_hexdigest

from features.build import known_by, ranges, snapshot_folder
from features.catalogue import CATALOGUE
from features.computation import brought_together
from features.declare import Feature
from features.event_log import EventLog
from features.event_numbers import EventFile, EventNumbers, settled
from features.facts import microseconds
from features.files import write_parquet
from features.gone import take_out_gone
from features.numbers import joined
from features.plan import ORDERED, VIEWED, plan_of
from features.tables import UTC_TIME
from features.text_keys import text_key
from features.texts import DIMENSIONS, TextVectors

INTERESTS: tuple[Feature, ...] = tuple(
    Feature(
        f"interest_text_{place}",
        "text",
        f"Number {place} of {DIMENSIONS} that tell what was bought or looked at in the last 365 days, by its "
        "categories (texts.py).",
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
ORDER = 5
"""How many views an order is worth."""


def interests_of(numbers: pl.DataFrame, cuts: pl.DataFrame, texts: TextVectors) -> pl.DataFrame:
    """The cuts' rows (customer_id, as_of, any more) in their order, and INTEREST_NAMES; NaN where nothing is known.

    numbers: NUMBERS of events. Only what happened before as_of and was received by then counts.
    """
    keys = ["customer_id", "as_of"]
    distinct = cuts.select(keys).unique(maintain_order=True)
    work, categories = brought_together(numbers, distinct, CATALOGUE)
    known = np.array([text_key(name) for name in categories], np.int64)
    found = [(rows[a.cut], a.category, a.orders[:, 1] * ORDER + a.views)
             for rows, sweep in work.sweeps() for a in sweep.affinities()]  # fmt: skip
    cut, category, weight = (np.concatenate(part) for part in zip(*found, strict=True)) if found else _nothing()
    values = texts.mean_numbers(cut, known[category], weight, distinct.height)
    columns = [pl.Series(name, np.ascontiguousarray(values[:, i])) for i, name in enumerate(INTEREST_NAMES)]
    return cuts.join(distinct.with_columns(columns), on=keys, how="left", maintain_order="left")


def _nothing() -> tuple[NDArray[np.int64], ...]:
    return (np.empty(0, np.int64),) * 3


def categories_seen(log: EventLog) -> list[str]:
    """The names of all product categories that events name, sorted."""
    numbers, found = EventNumbers(log, plan_of(CATALOGUE)), set[str]()
    for bucket in range(log.buckets):
        for part in settled(lambda bucket=bucket: numbers.kept(numbers.files(bucket))):  # type: ignore[misc]
            if part["categories"].dtype != pl.Null:
                found |= set(part["categories"].explode().drop_nulls().unique())
    return sorted(found)


def build_interests(
    log: EventLog, as_of: datetime, out: Path, texts: TextVectors, progress: Callable[[int, int], None] | None = None
) -> Path:
    """Interests of every customer with an order or a view by `as_of`, in `out/as_of=…/bucket=NN.parquet`.

    Returns the folder. Columns: customer_id, as_of, created, INTEREST_NAMES. Only the events of files that are new are
    read (EventNumbers). A bucket is written whole or not at all, and left alone if it was made from the same files and
    vectors: a run that was cut short goes on where it stopped.
    """
    folder = snapshot_folder(out, as_of)
    numbers = EventNumbers(log, plan_of(CATALOGUE))
    for bucket in range(log.buckets):
        path = folder / f"bucket={bucket:02d}.parquet"
        settled(partial(_build_bucket, log, numbers, bucket, as_of, texts, path))
        if progress:
            progress(bucket + 1, log.buckets)
    return folder


def _build_bucket(
    log: EventLog, numbers: EventNumbers, bucket: int, as_of: datetime, texts: TextVectors, path: Path
) -> None:
    time = microseconds(as_of)
    files = [file for file in numbers.files(bucket) if file.first is not None and file.first <= time]
    source = xxh3_64_hexdigest(repr(([file.stamp for file in files], texts.version, INTERESTS)).encode())
    if not path.exists() or pl.read_parquet_metadata(path).get("source") != source:
        write_parquet(_table(numbers, files, as_of, texts), path, {"source": source})
        take_out_gone(log, bucket, files, [path])


def _table(numbers: EventNumbers, files: Sequence[EventFile], as_of: datetime, texts: TextVectors) -> pl.DataFrame:
    plan, time = plan_of(CATALOGUE), microseconds(as_of)
    counted = plan.matches(ORDERED) | plan.matches(VIEWED)
    parts = []
    for part in numbers.kept(files):
        seen = known_by(part, time)
        parts.append(seen.filter(pl.Series(counted[seen["code"].to_numpy()]) & (seen["time"] < time)))
    customers = pl.concat([pl.Series([], dtype=pl.String), *(part["customer_id"] for part in parts)]).unique().sort()
    cuts = pl.DataFrame({"customer_id": customers}).with_columns(
        pl.lit(as_of, UTC_TIME).alias("as_of"), pl.lit(as_of, UTC_TIME).alias("created")
    )
    made = [interests_of(some, asked, texts) for some, asked in ranges(parts, cuts)]
    return pl.concat(made) if made else interests_of(joined([]), cuts, texts)

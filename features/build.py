"""Feature tables: as of any times, for any customers, from the raw events."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from xxhash import xxh3_64_intdigest

from features.catalogue import CATALOGUE
from features.computation import Computation
from features.event_log import EventLog, in_buckets
from features.facts import NEEDED
from features.feature_set import FeatureSet
from features.files import write_parquet
from features.finalize import Finalizer, Floats, Ints
from features.plan import GRID_CHANNELS, Plan, plan_of
from features.prefix import Affinity, Sweep
from features.tables import UTC_TIME

CUTS = 200_000
"""How many cuts `historical` computes at a time."""
Progress = Callable[[int, int], None]


def compute(events: pl.DataFrame, cuts: pl.DataFrame, features: FeatureSet = CATALOGUE) -> pl.DataFrame:
    """Features as of each cut.

    events: EVENTS-shaped (any order, repeats allowed). cuts: customer_id, as_of, any further columns, any number
    of cuts a customer. An event counts if it happened before as_of and was received by then. Returns the cuts'
    rows in their order plus one Float64 column a feature; NaN where there is nothing to know it from.
    """
    work = Computation(events, cuts, features)
    finalizer = Finalizer(work.plan)
    values: Floats = np.empty((cuts.height, len(features.names)))
    for rows, sweep in work.sweeps():
        partials, affinities = sweep.partials()
        for _ in affinities:
            pass
        values[rows] = finalizer(partials)
    columns = [pl.Series(name, np.ascontiguousarray(values[:, i])) for i, name in enumerate(features.names)]
    return cuts.drop(features.names, strict=False).with_columns(columns)


def affinity(events: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """Orders by product category as of each cut, long: customer_id, as_of, category, orders_90d, orders_365d,
    days_since_last. Categories ordered in the last 730 days; sorted by the cuts' order, then category."""
    work = Computation(events, cuts, CATALOGUE)
    found = [_affinity_rows(rows, a) for rows, sweep in work.sweeps() for a in sweep.partials()[1]]
    cut, key, orders, days = (np.concatenate(part) for part in zip(*found, strict=True)) if found else _nothing()
    order = np.lexsort((key, cut))
    frame = cuts.select(pl.col("customer_id").cast(pl.String), pl.col("as_of").cast(UTC_TIME))[cut[order]]
    return frame.with_columns(
        category=work.categories[key[order]],
        orders_90d=pl.Series(orders[order, 0].astype(np.float64)),
        orders_365d=pl.Series(orders[order, 1].astype(np.float64)),
        days_since_last=pl.Series(days[order]),
    )


def _affinity_rows(rows: Ints, told: Affinity) -> tuple[Ints, Ints, Ints, Floats]:
    return rows[told.cut], told.category, told.orders, told.days_since_last


def _nothing() -> tuple[Ints, Ints, Ints, Floats]:
    none = np.empty(0, dtype=np.int64)
    return none, none, np.empty((0, 2), dtype=np.int64), np.empty(0)


def hours(events: pl.DataFrame, cuts: pl.DataFrame) -> pl.DataFrame:
    """Local hours of the week as of each cut, long, over all time: customer_id, as_of, kind (`orders`, `sends`,
    `responses`), channel (null for orders), hour (0 is Monday 00), count. Only counts above 0."""
    work = Computation(events, cuts, CATALOGUE)
    pieces = [piece for rows, sweep in work.sweeps() for piece in _hour_pieces(rows, sweep, work.plan)]
    frame = cuts.select(pl.col("customer_id").cast(pl.String), pl.col("as_of").cast(UTC_TIME)).with_row_index("cut")
    schema = {"cut": pl.UInt32, "kind": pl.String, "channel": pl.String, "hour": pl.Int64, "count": pl.Int64}
    counts = pl.concat([pl.DataFrame(schema=schema), *pieces])
    return (
        counts.join(frame, on="cut")
        .sort("cut", "kind", "channel", "hour")
        .select("customer_id", "as_of", "kind", "channel", "hour", "count")
    )


def _hour_pieces(rows: Ints, sweep: Sweep, plan: Plan) -> Iterator[pl.DataFrame]:
    for group in plan.hours:
        if group.cells != 168:
            continue
        counts = sweep.hour_counts(plan.matches(group.events, group.channel), 168)
        cut, hour = np.nonzero(counts)
        kind = "orders" if group.channel is None else "responses" if group.events.human else "sends"
        channel = None if group.channel is None else GRID_CHANNELS[group.channel]
        yield pl.DataFrame({"cut": rows[cut].astype(np.uint32), "hour": hour, "count": counts[cut, hour]}).select(
            "cut", pl.lit(kind).alias("kind"), pl.lit(channel, pl.String).alias("channel"), "hour", "count"
        )


def historical(
    log: EventLog, cuts: pl.DataFrame, features: FeatureSet = CATALOGUE, progress: Progress | None = None
) -> pl.DataFrame:
    """`compute` over an event log, one bucket of customers in memory at a time. Rows in the cuts' order."""
    parts = list(historical_parts(log, cuts, features, progress))
    if not parts:
        return compute(log.scan(buckets=[]).collect(), cuts, features)
    return pl.concat(parts).sort("_cut").drop("_cut")


def historical_parts(
    log: EventLog, cuts: pl.DataFrame, features: FeatureSet = CATALOGUE, progress: Progress | None = None
) -> Iterator[pl.DataFrame]:
    """The same, piece by piece, with `_cut`, the row's place in `cuts`, added; for sets that do not fit."""
    marked = in_buckets(cuts.with_row_index("_cut"), log.buckets)
    for bucket in range(log.buckets):
        mine = marked.filter(pl.col("_bucket") == bucket).drop("_bucket")
        if mine.height:
            events = _known_by(log, bucket, mine["as_of"].max())
            for piece in mine.sort("customer_id").iter_slices(CUTS):
                yield compute(events, piece, features)
        if progress:
            progress(bucket + 1, log.buckets)


def _known_by(log: EventLog, bucket: int, time: Any) -> pl.DataFrame:
    """What features need of the events received by a time."""
    events = log.scan(buckets=[bucket], repeats=True)
    return events.filter(pl.col("received_at") <= time).select(NEEDED).collect()


def snapshot_folder(out: Path, as_of: datetime) -> Path:
    """Where the snapshot as of a time stands: `as_of=2026-10-01T00-00-00Z`."""
    return out / f"as_of={as_of.astimezone(UTC):%Y-%m-%dT%H-%M-%SZ}"


def build_snapshot(
    log: EventLog,
    as_of: datetime,
    out: Path,
    *,
    created: datetime | None = None,
    features: FeatureSet = CATALOGUE,
    progress: Progress | None = None,
) -> Path:
    """Features of every customer with an event before `as_of`, in `out/as_of=…/bucket=NN.parquet`.

    Columns: customer_id, as_of, created (default as_of), the features. A bucket is written whole or not at all,
    and left alone if it is there and was made from the same event files by the same features: a run that was
    cut short goes on where it stopped. `progress(done, all)` is called after each bucket. Returns the folder.
    """
    folder = snapshot_folder(out, as_of)
    for bucket in range(log.buckets):
        path = folder / f"bucket={bucket:02d}.parquet"
        source = _source(log, bucket, features)
        if not path.exists() or pl.read_parquet_metadata(path).get("source") != source:
            write_parquet(_bucket_snapshot(log, bucket, as_of, created or as_of, features), path, {"source": source})
        if progress:
            progress(bucket + 1, log.buckets)
    return folder


def _bucket_snapshot(
    log: EventLog, bucket: int, as_of: datetime, created: datetime, features: FeatureSet
) -> pl.DataFrame:
    events = _known_by(log, bucket, as_of)
    happened = events.filter(pl.col("timestamp") < as_of)
    cuts = pl.DataFrame({"customer_id": happened["customer_id"].unique().sort()}).with_columns(
        pl.lit(as_of, UTC_TIME).alias("as_of"), pl.lit(created, UTC_TIME).alias("created")
    )
    return compute(events, cuts, features)


def _source(log: EventLog, bucket: int, features: FeatureSet) -> str:
    files = [(str(p.relative_to(log.root)), p.stat().st_size, p.stat().st_mtime_ns) for p in log.files(bucket)]
    return f"{plan_of(features).signature:016x}-{xxh3_64_intdigest(repr((files, features.names)).encode()):016x}"

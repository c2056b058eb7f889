"""Feature tables of every customer as of days, built a bucket at a time, each event file read once.

A bucket of a day's table is written whole or not at all, and left alone while it was made from the same events by
the same features: a run that was cut short goes on where it stopped. A day's table appears when all its buckets are
there; until then they stand in a draft folder beside the tables.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
from xxhash import xxh3_64_intdigest

from features.build import Progress, known_by, named, snapshot_folder, values_of
from features.catalogue import CATALOGUE
from features.computation import Computation
from features.engines import Engine, one_by_one
from features.event_log import EventLog
from features.event_numbers import EventFile, EventNumbers, bounds_of, by_customers, in_order, settled
from features.facts import Facts, gather_numbers, microseconds
from features.feature_set import FeatureSet
from features.files import fsync_folder, write_parquet
from features.finalize import Ints
from features.gone import take_out_gone
from features.plan import plan_of
from features.prefix import Cuts
from features.tables import UTC_TIME

VALUES = 25_000_000
"""How many values of several tables are held at a time."""


def draft_folder(out: Path) -> Path:
    """Where tables stand that are not whole yet."""
    return out.with_name(f"{out.name}.draft")


@dataclass(frozen=True, slots=True)
class BucketTask:
    """One bucket of the tables as of some times."""

    log: EventLog
    bucket: int
    times: tuple[datetime, ...]
    out: Path
    features: FeatureSet

    def path(self, as_of: datetime) -> Path:
        """Where its rows are written: into the table if that is there, else into the draft."""
        folder = snapshot_folder(self.out, as_of)
        if not folder.exists():
            folder = snapshot_folder(draft_folder(self.out), as_of)
        return folder / f"bucket={self.bucket:02d}.parquet"


@dataclass(frozen=True, slots=True)
class BucketReport:
    """What a task did: event files whose events were read (the others gave their numbers), rows written."""

    bucket: int
    files: int
    read: int
    rows: int


def build_snapshots(
    log: EventLog,
    times: Sequence[datetime],
    out: Path,
    *,
    features: FeatureSet = CATALOGUE,
    engine: Engine = one_by_one,
    progress: Progress | None = None,
) -> list[BucketReport]:
    """Features of every customer with an event that happened before and was received by each time.

    Written as `out/as_of=…/bucket=NN.parquet`; columns: customer_id, as_of, created, the features; sorted by
    customer. `progress(done, all)` is called after each bucket. Returns what was done for each bucket.
    """
    tasks = [BucketTask(log, b, tuple(times), out, features) for b in range(log.buckets)]
    reports = []
    for report in engine(build_bucket, tasks):
        reports.append(report)
        if progress:
            progress(len(reports), len(tasks))
    for as_of in times:
        _publish(snapshot_folder(draft_folder(out), as_of), snapshot_folder(out, as_of))
    with suppress(OSError):  # drafts of other times may stand in it
        draft_folder(out).rmdir()
    return sorted(reports, key=lambda report: report.bucket)


def _publish(draft: Path, folder: Path) -> None:
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    os.replace(draft, folder)
    fsync_folder(folder.parent)
    fsync_folder(draft.parent)


def build_bucket(task: BucketTask) -> BucketReport:
    """What an engine runs: brings one bucket of the tables up to date."""
    return settled(lambda: _build_bucket(task))


def _build_bucket(task: BucketTask) -> BucketReport:
    read: list[Path] = []
    reader = EventNumbers(task.log, plan_of(task.features), read.append)
    files = reader.files(task.bucket)
    sources = {as_of: _source(files, task, as_of) for as_of in task.times}
    stale = [as_of for as_of, source in sources.items() if _written_from(task.path(as_of)) != source]
    rows = 0
    if stale:
        latest = microseconds(max(stale))
        seen = [file for file in files if file.first is not None and file.first <= latest]
        parts = [known_by(part, latest) for part in reader.kept(seen)]
        for as_of, table in tables(parts, stale, task.features):
            write_parquet(table, task.path(as_of), {"source": sources[as_of]})
            rows += table.height
        take_out_gone(task.log, task.bucket, seen, [task.path(as_of) for as_of in stale])
    return BucketReport(task.bucket, len(files), len(read), rows)


def _source(files: Sequence[EventFile], task: BucketTask, as_of: datetime) -> str:
    """Names what a table is made from: the files with events that count by then, and the features."""
    time = microseconds(as_of)
    stamps = [file.stamp for file in files if file.first is not None and file.first <= time]
    made_by = (plan_of(task.features).signature, task.features.features, time)
    return f"{xxh3_64_intdigest(repr((stamps, made_by)).encode()):016x}"


def _written_from(path: Path) -> str | None:
    return pl.read_parquet_metadata(path).get("source") if path.exists() else None


def tables(
    parts: Sequence[pl.DataFrame], times: Sequence[datetime], features: FeatureSet
) -> Iterator[tuple[datetime, pl.DataFrame]]:
    """The table as of each time, from the NUMBERS of one bucket; so many times together as memory allows."""
    parts = in_order(parts)
    together = _together(parts, features) if len(times) > 1 else 1
    for start in range(0, len(times), together):
        chosen = times[start : start + together]
        pieces: list[list[pl.DataFrame]] = [[] for _ in chosen]
        for numbers in by_customers(parts, bounds_of(parts)):
            for place, table in enumerate(_of_range(numbers, chosen, features)):
                pieces[place].append(table)
        yield from zip(chosen, (pl.concat(some) for some in pieces), strict=True)


def _together(parts: Sequence[pl.DataFrame], features: FeatureSet) -> int:
    customers = pl.concat([part["customer_id"] for part in parts]).n_unique() if parts else 0
    return max(VALUES // max(customers * len(features.names), 1), 1)


def _of_range(numbers: pl.DataFrame, times: Sequence[datetime], features: FeatureSet) -> list[pl.DataFrame]:
    """Rows as of each time of the customers who have an event by then."""
    plan, customers = plan_of(features), numbers["customer_id"].unique().sort()
    facts = gather_numbers(numbers, customers, plan).facts
    first = _first_times(facts, len(customers))
    there = [np.flatnonzero(first <= microseconds(as_of)) for as_of in times]
    lengths = [len(rows) for rows in there]
    as_of = np.repeat([microseconds(time) for time in times], lengths)
    values = values_of(Computation(plan, facts, Cuts(np.concatenate(there), as_of)))
    ends = np.cumsum(lengths)
    return [
        pl.DataFrame({"customer_id": customers[rows]}, schema={"customer_id": pl.String}).with_columns(
            pl.lit(time, UTC_TIME).alias("as_of"),
            pl.lit(time, UTC_TIME).alias("created"),
            *named(values[end - len(rows) : end], features),
        )
        for time, rows, end in zip(times, there, ends, strict=True)
    ]


def _first_times(facts: Facts, count: int) -> Ints:
    """When each customer's first event counted."""
    first = np.full(count, np.iinfo(np.int64).max)
    np.minimum.at(first, facts.customer, np.maximum(facts.time + 1, facts.known))
    return first

"""The event log as NUMBERS: each of its files is read once, and what it says in numbers is kept beside it.

A daily run reads the events of the files that are new or were written anew, and of all others these numbers, which
hold no text but ids. The log drops them with their file (`EventLog`), and a stamp tells those of another content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import polars as pl
from xxhash import xxh3_64_intdigest

from features.currencies import CURRENCIES
from features.event_log import EventLog, check_still, columns_of, empty_columns, numbers_path, scan_files, stamp_of
from features.files import write_parquet
from features.numbers import NEEDED, NUMBERS, REQUIRED, joined, numbers_of
from features.plan import Plan

_T = TypeVar("_T")
LAYOUT = 4
"""Raised when the meaning of NUMBERS changes."""
AT_ONCE = 200_000
"""How many events are worked on at a time: so many fit a processor's cache."""
BATCH_BYTES = 4 * 1024 * 1024
_SAMPLED = 50
"""So many customers of a range are looked at to find its end."""
_TRIES = 5


@dataclass(frozen=True, slots=True)
class EventFile:
    """A file of the log: its stamp (name, size, time of writing) and the first time (microseconds) as of which
    one of its events counts: once it has happened and is received. None if it has no event."""

    path: Path
    stamp: str
    first: int | None


class EventNumbers:
    """The numbers of an event log's files. `read_events` is told of each file whose events are read."""

    def __init__(self, log: EventLog, plan: Plan, read_events: Callable[[Path], None] | None = None) -> None:
        self._log, self._plan, self._told = log, plan, read_events
        self._layout = f"{LAYOUT}-{xxh3_64_intdigest(repr((plan.vocabulary.verbs, CURRENCIES)).encode()):016x}"

    def files(self, bucket: int) -> list[EventFile]:
        """The files of a bucket, each with its numbers beside it."""
        return [self._kept(path) for path in self._log.files(bucket)]

    def kept(self, files: Sequence[EventFile]) -> list[pl.DataFrame]:
        """The numbers of these files, those of small ones together."""
        return [_numbers(paths) for paths in _batches([numbers_path(file.path) for file in files])]

    def read(self, bucket: int) -> list[pl.DataFrame]:
        """The numbers of a bucket, from beside the files or made from them and not kept."""
        paths = self._log.files(bucket)
        beside = [path for path in paths if self._beside(path)]
        others = sorted(set(paths) - set(beside))
        return [
            *(_numbers(some) for some in _batches([numbers_path(path) for path in beside])),
            *(self._made(some) for some in _batches(others)),
        ]

    def _beside(self, path: Path) -> dict[str, str] | None:
        """What stands with the numbers of a file, if they are of what it holds now."""
        beside = numbers_path(path)
        about = pl.read_parquet_metadata(beside) if beside.exists() else {}
        told = about.get("stamp") == stamp_of(self._log.root, path) and about.get("layout") == self._layout
        return about if told else None

    def _kept(self, path: Path) -> EventFile:
        stamp, about = stamp_of(self._log.root, path), self._beside(path)
        if about is not None:
            return EventFile(path, stamp, _whole(about["first"]))
        numbers = self._made([path])
        first = numbers.select(pl.max_horizontal(pl.col("time") + 1, "known").min()).item()
        about = {"stamp": stamp, "layout": self._layout, "first": "" if first is None else str(first)}
        about |= empty_columns(numbers)
        write_parquet(numbers.cast(NUMBERS), numbers_path(path), about)
        found = EventFile(path, stamp, first)
        try:
            check_still(self._log.root, path, stamp)
        except FileNotFoundError:
            numbers_path(path).unlink(missing_ok=True)
            raise
        return found

    def _made(self, paths: Sequence[Path]) -> pl.DataFrame:
        for path in paths:
            if self._told:
                self._told(path)
        optional = [name for name in NEEDED if name not in REQUIRED]
        filled = {name for path in paths for name in columns_of(path, optional)}
        return numbers_of(scan_files(paths).select(*REQUIRED, *sorted(filled)).collect(), self._plan)


def _numbers(paths: Sequence[Path]) -> pl.DataFrame:
    """What was kept, with empty columns as `numbers_of` gives them."""
    filled = {name for path in paths for name in columns_of(path, list(NUMBERS))}
    told = pl.scan_parquet(list(paths), hive_partitioning=False, schema=NUMBERS).select(sorted(filled)).collect()
    empty = [pl.lit(None, pl.Null).alias(name) for name in NUMBERS if name not in filled]
    return told.with_columns(empty).select(list(NUMBERS)) if filled else pl.DataFrame(schema=NUMBERS)


def _batches(paths: Sequence[Path]) -> Iterator[list[Path]]:
    """Files that are read together: opening one costs as much as reading some ten thousand events."""
    batch: list[Path] = []
    size = 0
    for path in paths:
        size += path.stat().st_size
        if batch and size > BATCH_BYTES:
            yield batch
            batch, size = [], path.stat().st_size
        batch.append(path)
    if batch:
        yield batch


def _whole(text: str) -> int | None:
    return int(text) if text else None


def were_rewritten(log: EventLog, files: Sequence[EventFile]) -> bool:
    """Whether one of these files is no longer what it was."""
    try:
        for file in files:
            check_still(log.root, file.path, file.stamp)
    except FileNotFoundError:
        return True
    return False


def settled(read: Callable[[], _T]) -> _T:
    """The result of a reading that a running service may disturb by joining small files: it is begun again."""
    for _ in range(_TRIES - 1):
        try:
            return read()
        except FileNotFoundError:
            continue
    return read()


def bounds_of(parts: Sequence[pl.DataFrame]) -> pl.Series:
    """Customers (sorted ids) that part the rows into ranges of about AT_ONCE rows."""
    step = max(AT_ONCE // _SAMPLED, 1)
    ids = [pl.Series([], dtype=pl.String), *(part["customer_id"].gather_every(step) for part in parts)]
    return pl.concat(ids).sort().gather_every(_SAMPLED, _SAMPLED).unique().sort()


def in_order(parts: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """The same rows sorted by customer in each part, small parts joined into one."""
    small = [part for part in parts if part.height < AT_ONCE // 4]
    few = [*(part for part in parts if part.height >= AT_ONCE // 4), *([joined(small)] if small else [])]
    return [p if p["customer_id"].is_sorted() else p.sort("customer_id", maintain_order=True) for p in few]


def by_customers(parts: Sequence[pl.DataFrame], bounds: pl.Series) -> Iterator[pl.DataFrame]:
    """The rows of each range of customers, one range more than bounds, from parts that are `in_order`."""
    edges = [[0, *part["customer_id"].search_sorted(bounds).to_list(), part.height] for part in parts]
    for place in range(len(bounds) + 1):
        yield joined([part[edge[place] : edge[place + 1]] for part, edge in zip(parts, edges, strict=True)])

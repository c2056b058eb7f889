"""Brings the online store up to an event log: only customers with events in files that it has not seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import orjson
import polars as pl

from features.catalogue import CATALOGUE
from features.event_log import EventLog
from features.event_numbers import EventFile, EventNumbers, settled
from features.files import write_bytes
from features.gone import gone_from
from features.plan import plan_of

Progress = Callable[[int, int], None]
_PROBED = 20
"""So many customers of each bucket are looked up: a store that has lost its rows is filled anew."""


class Loaded(Protocol):
    """The part of the online features that loading needs."""

    @property
    def signature(self) -> str: ...

    def read(self, customer_ids: Sequence[str], as_of: datetime) -> list[Any]: ...

    def load(self, events: pl.DataFrame) -> int: ...

    def erase(self, customer_id: str) -> None: ...


class OnlineLoad:
    """`note` is the file that remembers which event files the store has seen; `store` names the store."""

    def __init__(self, log: EventLog, online: Loaded, note: Path, store: str) -> None:
        self._log, self._online, self._note = log, online, note
        self._of = [store, online.signature]
        self._numbers = EventNumbers(log, plan_of(CATALOGUE))

    def run(self, as_of: datetime, progress: Progress | None = None) -> int:
        """Loads what is new, bucket by bucket; returns how many rows it wrote. Goes on where it was killed."""
        seen, written = self._read(), 0
        for bucket in range(self._log.buckets):
            files = settled(lambda bucket=bucket: self._numbers.files(bucket))  # type: ignore[misc]
            written += settled(lambda b=bucket, f=files: self._load(b, f, seen.get(str(b)), as_of))  # type: ignore[misc]
            seen[str(bucket)] = [file.stamp for file in files]
            self._write(seen)
            if progress:
                progress(bucket + 1, self._log.buckets)
        return written

    def _load(self, bucket: int, files: Sequence[EventFile], seen: list[str] | None, as_of: datetime) -> int:
        customers = None
        if seen is not None and self._holds(files, seen, as_of):
            customers = self._customers([file for file in files if file.stamp not in set(seen)])
            if not customers:
                return 0
        events = self._log.scan(buckets=[bucket], customer_ids=customers).collect()
        written = self._online.load(events)
        for customer in gone_from(self._log, bucket, files, events["customer_id"].unique()):
            self._online.erase(customer)
        return written

    def _holds(self, files: Sequence[EventFile], seen: Sequence[str], as_of: datetime) -> bool:
        known = [file for file in files if file.stamp in set(seen)]
        some = self._customers(known[:1])[:_PROBED]
        return all(row is not None for row in self._online.read(some, as_of))

    def _customers(self, files: Sequence[EventFile]) -> list[str]:
        ids = [numbers["customer_id"].unique() for numbers in self._numbers.kept(files)]
        return pl.concat([pl.Series([], dtype=pl.String), *ids]).unique().sort().to_list()

    def _read(self) -> dict[str, list[str]]:
        if not self._note.exists():
            return {}
        told = orjson.loads(self._note.read_bytes())
        return dict(told["seen"]) if told["of"] == self._of else {}

    def _write(self, seen: dict[str, list[str]]) -> None:
        write_bytes(self._note, orjson.dumps({"of": self._of, "seen": seen}))

"""What the event log says of offers: of each of its files, the few events that name an offer or a decision, kept beside
it. A daily run reads the events of files that are new or were written anew, and of all others what was kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import polars as pl

from features.event_log import EventLog, check_still, offers_path, scan_files, stamp_of
from features.event_numbers import settled
from features.files import write_parquet
from features.offer_events import ABOUT, about_offers

LAYOUT = 2
"""Raised when the meaning of what is kept changes."""


class OfferLog:
    """`read_events` is told of each file whose events are read."""

    def __init__(self, log: EventLog, read_events: Callable[[Path], None] = lambda _path: None) -> None:
        self._log, self._told = log, read_events

    def read(self) -> dict[str, pl.DataFrame]:
        """The events (ABOUT) of each file by its stamp (name, size, time of writing); files without any are left out.

        Repeated message ids may come.
        """
        found: dict[str, pl.DataFrame] = {}
        for bucket in range(self._log.buckets):
            found |= settled(lambda bucket=bucket: self._of_bucket(bucket))  # type: ignore[misc]
        return found

    def _of_bucket(self, bucket: int) -> dict[str, pl.DataFrame]:
        paths = self._log.files(bucket)
        parts = {stamp_of(self._log.root, path): self._kept(path) for path in paths}
        return {stamp: part for stamp, part in parts.items() if part.height}

    def _kept(self, path: Path) -> pl.DataFrame:
        told, beside = stamp_of(self._log.root, path), offers_path(path)
        stamp = f"{LAYOUT} {told}"
        if beside.exists() and pl.read_parquet_metadata(beside).get("stamp") == stamp:
            return pl.read_parquet(beside, hive_partitioning=False)
        self._told(path)
        part = about_offers(scan_files([path]))
        write_parquet(part, beside, {"stamp": stamp})
        try:
            check_still(self._log.root, path, told)
        except FileNotFoundError:
            beside.unlink(missing_ok=True)
            raise
        return part


def together(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The events of several files in one frame."""
    return pl.concat([pl.DataFrame(schema=ABOUT), *parts], rechunk=True)

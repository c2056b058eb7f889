"""Who left the event log, by an erasure or by joining another, while a table was made of it: they leave the table, too.

An erasure rewrites the log first and looks through tables afterwards. So whoever is gone from the log once a table is
written is taken out here, and whoever goes later is found by the erasure. Nobody waits, and a log that is rewritten all
the time (people are joined) makes nothing fail.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import polars as pl

from features.event_log import EventLog
from features.event_numbers import EventFile, settled, were_rewritten
from features.files import write_parquet


def gone_from(log: EventLog, bucket: int, files: Sequence[EventFile], customers: pl.Series) -> pl.Series:
    """Those of these customers of whom the log holds nothing any more; asks only where one of the files has changed."""
    if not were_rewritten(log, files):
        return customers.clear()
    left = settled(lambda: log.scan(buckets=[bucket], repeats=True).select("customer_id").unique().collect())
    return customers.filter(~customers.is_in(left["customer_id"].implode()))


def take_out_gone(log: EventLog, bucket: int, files: Sequence[EventFile], tables: Sequence[Path]) -> None:
    """Takes them out of tables (`customer_id`, …) that were just made of these files."""
    for path in tables:
        while True:  # what is read may be older than what an erasure has written since
            rows = pl.read_parquet(path, hive_partitioning=False)
            gone = gone_from(log, bucket, files, rows["customer_id"])
            if gone.is_empty():
                break
            write_parquet(rows.filter(~pl.col("customer_id").is_in(gone.implode())), path)

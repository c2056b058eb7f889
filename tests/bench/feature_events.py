"""Synthetic events for the benchmarks of features, written to the event log in chunks."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl

from features.event_log import EventLog

NOW = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 500
A_CUSTOMER = 60
"""Events of a customer, on average."""
NAMES = ["Order Completed", "Email Delivered", "Email Opened", "Email Link Clicked", "Product Viewed", "Form Submitted"]
SHARES = [0.1, 0.25, 0.1, 0.05, 0.45, 0.05]
_CHUNK = 2_500_000
_DAY_US = 86_400_000_000


def make_log(folder: Path, events: int) -> EventLog:
    """Events over DAYS days before NOW, as a service writes and tidies them: a file a bucket and month."""
    log = EventLog(folder / "events")
    for number, start in enumerate(range(0, events, _CHUNK)):
        count = min(_CHUNK, events - start)
        rng = np.random.default_rng([1, number])
        log.append(some_events(rng, start, count, max(events // A_CUSTOMER, 1)), f"p{number:03}")
    for bucket in range(log.buckets):
        log.compact(bucket)
    return log


def some_events(rng: np.random.Generator, start: int, count: int, customers: int, days: int = DAYS) -> pl.DataFrame:
    """EVENTS with the message ids start, start + 1, …, in the last `days` before NOW."""
    kind = rng.choice(len(NAMES), count, p=SHARES)
    at = np.datetime64(NOW.replace(tzinfo=None), "us") - rng.integers(1, days * _DAY_US, count)
    return pl.DataFrame(
        {
            "message_id": pl.int_range(start, start + count, eager=True).cast(pl.String),
            "type": pl.repeat("track", count, eager=True),
            "event": pl.Series(NAMES)[kind],
            "customer_id": pl.Series(rng.integers(0, customers, count)).cast(pl.String),
            "timestamp": pl.Series(at).dt.replace_time_zone("UTC"),
            "revenue_cents": pl.Series(np.where(kind == 0, rng.integers(100, 20_000, count), 0)),
            "machine": rng.random(count) < 0.3,
            "properties": pl.repeat("{}", count, eager=True),
        }
    ).with_columns(received_at=pl.col("timestamp"))

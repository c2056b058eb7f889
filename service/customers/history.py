"""A customer's events, from the inbox and the event log, as one list."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from service.events.inbox_store import of_customers
from service.storage.database import Database

if TYPE_CHECKING:
    from features.event_log import EventLog

_TRIES = 5


def history(
    database: Database, event_log: EventLog, customer_ids: Sequence[str], newest: int | None = None
) -> list[dict[str, Any]]:
    """EVENTS rows of these ids, oldest first, each message once; with `newest`, only so many of the last."""
    ids = list(customer_ids)
    with database.read() as connection:  # before the log: an event that moves there meanwhile is seen twice, not missed
        held = of_customers(connection, ids, newest)
    by_id = {event["message_id"]: event for event in (*_logged(event_log, ids, newest), *held)}
    events = sorted(by_id.values(), key=lambda event: (event["timestamp"], event["message_id"]))
    for event in events:
        event.pop("seq", None)
        event.pop("notes", None)
    return events if newest is None else events[-newest:]


def _logged(event_log: EventLog, ids: Sequence[str], newest: int | None) -> list[dict[str, Any]]:
    import polars as pl

    found: list[dict[str, Any]] = []
    for customer_id in ids:
        for attempt in range(_TRIES):
            rows = event_log.scan(customer_id=customer_id)
            if newest is not None:
                rows = rows.sort("timestamp").tail(newest)
            try:
                found += rows.collect().to_dicts()
                break
            except (FileNotFoundError, pl.exceptions.PolarsError):
                # A part was rewritten (erasure, joining of files) between listing and reading.
                if attempt == _TRIES - 1:
                    raise
                time.sleep(0.05 * (attempt + 1))
    return found

"""Events that the service itself makes (an unsubscribe by link, a delivery): the same path as anyone's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from service.clock import new_id
from service.events.inbox_store import add_events
from service.events.normalize import Rules, normalize
from service.storage.database import Connection


def record_events(
    connection: Connection, messages: Sequence[Mapping[str, Any]], now: datetime, rules: Rules | None = None
) -> int:
    """Puts Segment messages into the inbox within the caller's transaction; returns how many were new.

    A `messageId` makes repeating safe. Raises `BadMessage`. Wake the events loop after the transaction.
    """
    rows = [normalize(dict(message), rules or Rules(), now) for message in messages]
    for row in rows:
        row["message_id"] = row["message_id"] or f"made-{new_id(now)}"
        row["anonymous_id"] = row["customer_id"]  # of a visitor, too: naming one makes no user of them
    return add_events(connection, rows, now)

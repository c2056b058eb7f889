"""A person closes a task: how it ended becomes an event of the customer."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from service.errors import NotFound
from service.journeys.collaborators import RecordEvents
from service.journeys.intent_store import close_task
from service.storage.database import Connection


def close(
    connection: Connection,
    journey_id: str,
    key: str,
    outcome: str,
    note: str,
    now: datetime,
    record_events: RecordEvents,
) -> dict[str, Any]:
    """Closes an open task and records `Call Completed`; `NotFound` where none is open under this key."""
    task = close_task(connection, journey_id, key, outcome, note, now)
    if task is None:
        raise NotFound(f"journey {journey_id!r} has no open task {key!r}")
    properties = {
        "channel": "call",
        "outcome": outcome,
        "journey_id": journey_id,
        "journey_step": task["step"],
        "decision_id": task["decision_id"],
        "offer_id": (task["action"] or {}).get("offer_id"),
    }
    event = {
        "type": "track",
        "event": "Call Completed",
        "messageId": f"call-{key}",
        "userId": task["customer_id"],
        "timestamp": now.isoformat(),
        "properties": {name: value for name, value in properties.items() if value is not None},
    }
    record_events(connection, [event], now)
    return task

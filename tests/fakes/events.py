"""Stand-ins for what the event slice is given."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from service.events.normalize import Rules, normalize


class FixedClock:
    """A clock that a test sets."""

    def __init__(self, now: datetime = datetime(2026, 3, 1, 12, tzinfo=UTC)) -> None:
        self.time = now

    def now(self) -> datetime:
        return self.time


class FakeFeatures:
    """Online features that only remember which messages they took, by customer; repeats are dropped."""

    def __init__(self) -> None:
        self.taken: dict[str, set[str]] = {}
        self.broken: set[str] = set()
        self.down = False

    def apply(self, events: Sequence[Mapping[str, Any]]) -> None:
        if self.down:
            raise ConnectionError("the store is down")
        for event in events:
            if event["message_id"] in self.broken:
                raise ValueError(f"cannot take {event['message_id']}")
        for event in events:
            self.taken.setdefault(event["customer_id"], set()).add(event["message_id"])

    def rebuild_all(self, customer_ids: Sequence[str], events: Any) -> None:
        for customer_id in customer_ids:
            theirs = set(events.filter(events["customer_id"] == customer_id)["message_id"])
            self.taken[customer_id] = theirs
            if not theirs:
                del self.taken[customer_id]

    def erase(self, customer_id: str) -> None:
        self.taken.pop(customer_id, None)

    def read(self, customer_ids: Sequence[str], as_of: datetime) -> list[Any]:
        return [None for _ in customer_ids]


def row(message_id: str, customer: str = "c1", event: str = "Played", **message: Any) -> dict[str, Any]:
    """An EVENTS row as the API makes it."""
    fields = {"type": "track", "event": event, "userId": customer, "messageId": message_id, **message}
    now = datetime(2026, 3, 1, 12, tzinfo=UTC)
    return normalize({key: value for key, value in fields.items() if value is not None}, Rules(), now)

"""What rows of EVENTS say of their own quality, as counts by the event's day. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, NamedTuple

LATE = timedelta(hours=1)
"""An event that arrived longer than this after it happened is late."""
_EXPECTED = {
    "Order Completed": ("order_id", "revenue_cents", "currency", "products"),
    "Coupon Redeemed": ("offer_id", "order_id"),
    "page": ("url",),
    "identify": ("traits",),
}
_OF_MESSAGES = ("offer_id", "campaign_id", "decision_id")


class Key(NamedTuple):
    """What is counted: the event's day (2026-03-01; empty where there is none), the kind of count, what it is of."""

    day: str
    kind: str
    name: str


def tally(events: Sequence[Mapping[str, Any]]) -> Counter[Key]:
    """Counts of kind `event`, `late`, `engagement`, `machine`, `currency`, `null` (`Order Completed.products`) and
    `note`."""
    found: Counter[tuple[date, str, str]] = Counter()
    for event in events:
        at = event["timestamp"]
        day, name = at.date(), _name(event)
        found[day, "event", name] += 1
        if event["received_at"] - at > LATE:
            found[day, "late", ""] += 1
        engaged = event["machine"] is not None
        if engaged:
            found[day, "engagement", name] += 1
            if event["machine"]:
                found[day, "machine", name] += 1
        for column in _EXPECTED.get(name) or (_OF_MESSAGES if engaged or name.endswith(" Delivered") else ()):
            if event[column] is None:
                found[day, "null", f"{name}.{column}"] += 1
        if event["currency"] is not None:
            found[day, "currency", event["currency"]] += 1
        if event["timezone"] is None:
            found[day, "null", f"{name}.timezone"] += 1
        for note in event.get("notes") or ():
            found[day, "note", note] += 1
    return Counter({Key(day.isoformat(), kind, name): count for (day, kind, name), count in found.items()})


def _name(event: Mapping[str, Any]) -> str:
    """A track call's event, and the type of any other message: sites have as many pages as they like, all known."""
    return str(event["event"] if event["type"] == "track" else event["type"])


def by_machines(events: Sequence[Mapping[str, Any]]) -> Counter[Key]:
    """What is to be added for opens and clicks that were counted as a person's and turn out to be a machine's."""
    return Counter(Key(event["timestamp"].date().isoformat(), "machine", event["event"]) for event in events)

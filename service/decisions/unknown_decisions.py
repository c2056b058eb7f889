"""Counts events that name a decision that there is not: of a dry run, say, or of another installation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from service.decisions.decision_store import read_heads
from service.events.quality_store import API, add_counts
from service.events.tally import Key
from service.storage.database import Connection, slices

UNKNOWN = "unknown_decision"


def count_unknown_decisions(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """A handler of events. They still count for their customer and offer, so that nobody would notice."""
    asked = sorted({event["decision_id"] for event in events if event["decision_id"]})
    known = {decision_id for some in slices(asked) for decision_id in read_heads(connection, some)}
    days = (
        event["timestamp"].date().isoformat()
        for event in events
        if event["decision_id"] and event["decision_id"] not in known
    )
    add_counts(connection, API, {Key(day, "note", UNKNOWN): count for day, count in Counter(days).items()})

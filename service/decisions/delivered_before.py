"""When the messages of clicks were delivered, as the record has it: a sender may tell a click long after its delivery,
whose event stands in the event log by then.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from service.decisions.case import from_microseconds, microseconds
from service.decisions.ledger_lines_store import foreign_to
from service.decisions.outcome_store import deliveries_told
from service.storage.database import Connection

_WITHIN = timedelta(minutes=1)
"""Deliveries of messages without a decision are looked up so long before a click: nobody asks for more than seconds."""


def delivered_before(connection: Connection, clicks: Sequence[Mapping[str, Any]]) -> dict[str, list[datetime]]:
    """Times of delivery by the clicks' message ids: of the same decision and channel, or, of a message without a
    decision, of the same customer, offer and channel.
    """
    found: dict[tuple[str, ...], list[datetime]] = defaultdict(list)
    decided = sorted({click["decision_id"] for click in clicks if click["decision_id"]})
    for told in deliveries_told(connection, decided) if decided else ():
        found[told.decision_id, told.channel].append(told.at)
    others = [click for click in clicks if not click["decision_id"]]
    if others:
        times = [click["timestamp"] for click in others]
        since, until = microseconds(min(times) - _WITHIN), microseconds(max(times))
        for line in foreign_to(connection, sorted({click["customer_id"] for click in others}), since, until):
            found[line.customer_id, line.offer_id, line.channel].append(from_microseconds(line.at))
    return {click["message_id"]: known for click in clicks if (known := found.get(_key(click)))}


def _key(click: Mapping[str, Any]) -> tuple[str, ...]:
    if click["decision_id"]:
        return click["decision_id"], click["channel"]
    return click["customer_id"], click["offer_id"] or "", click["channel"]

"""An order that several messages tell of, as browser and server do, is one: the first that came counts. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import xxhash

from features.vocabulary import NAMES

REPEATED = "Order Repeated"
"""The name of an event that tells an order once more: kept, and counted nowhere."""


def order_key(event: Mapping[str, Any]) -> str | None:
    """Stands for the customer's order that an event tells of; None where it is no order, or has no `order_id`."""
    meaning = NAMES.get(event["event"] or "") if event["type"] == "track" and event["order_id"] else None
    if meaning is None or meaning.verb != "ordered":
        return None
    told = f"{event['customer_id']}\0{event['order_id']}"
    return f"order-{xxhash.xxh3_128_hexdigest(told.encode())}"

"""An order that several messages tell of, as browser and server do, is one: the first that came counts. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import xxhash

from features.vocabulary import NAMES


def order_key(event: Mapping[str, Any]) -> str | None:
    """Stands for the customer's order that an event tells of; None where it is no order, or has no `order_id`."""
    meaning = NAMES.get(event["event"] or "") if event["type"] == "track" and event["order_id"] else None
    if meaning is None or meaning.verb != "ordered":
        return None
    return key_of(event["customer_id"], event["order_id"])


def key_of(customer_id: str, order_id: str) -> str:
    """Stands for a customer's order."""
    told = f"{customer_id}\0{order_id}"
    return f"order-{xxhash.xxh3_128_hexdigest(told.encode())}"


def told_before(keys: Mapping[int, str], fresh: Collection[str]) -> list[int]:
    """Of orders by their place, those that are not the first: `fresh` are the keys that nobody had told until now."""
    left = set(fresh)
    again = []
    for place, key in keys.items():
        if key in left:
            left.remove(key)
        else:
            again.append(place)
    return again

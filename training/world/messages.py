"""Segment messages as the world's customers cause them. Ids are made of what happened, so replays repeat them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from training.world.catalogue import PRICE_CENTS, products_of

Message = dict[str, Any]

BROWSERS = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0 Safari/537.36",
)
PRIVACY_RELAY = "Mozilla/5.0"  # Apple's mail privacy proxy says no more than this
SCANNER = "Mozilla/5.0 (compatible; Barracuda Sentinel (EE))"
DELIVERED = {"email": "Email Delivered", "sms": "SMS Delivered", "push": "Push Notification Delivered"}
OPENED = {"email": "Email Opened", "push": "Push Notification Opened"}
CLICKED = {"email": "Email Link Clicked", "sms": "SMS Link Clicked", "push": "Push Notification Tapped"}


def stamp(at: datetime) -> str:
    """RFC 3339, milliseconds, UTC."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def track(event: str, customer: str, at: datetime, key: str, properties: Mapping[str, Any], agent: str = "") -> Message:
    """One `track` message; `key` tells apart events of the same name, customer and time."""
    message: Message = {
        "type": "track",
        "event": event,
        "messageId": f"w-{customer}-{event.lower().replace(' ', '-')}-{int(at.timestamp() * 1000):x}-{key}",
        "userId": customer,
        "timestamp": stamp(at),
        "properties": dict(properties),
    }
    if agent:
        message["context"] = {"userAgent": agent}
    return message


def basket(
    random: np.random.Generator, categories: Sequence[str], discounts: Mapping[str, int]
) -> list[dict[str, Any]]:
    """A line a category; `discounts` in percent of the line."""
    lines = []
    for category in categories:
        ids = products_of(category)
        quantity = 1 + int(random.integers(2))
        price = PRICE_CENTS[category] / 100
        lines.append(
            {
                "product_id": ids[int(random.integers(len(ids)))],
                "category": category,
                "price": price,
                "quantity": quantity,
                "discount": round(price * quantity * discounts.get(category, 0) / 100, 2),
            }
        )
    return lines


def order(customer: str, at: datetime, lines: Sequence[Mapping[str, Any]], extra: Mapping[str, Any]) -> Message:
    """`Order Completed` with its sums."""
    discount = round(sum(line["discount"] for line in lines), 2)
    revenue = round(sum(line["price"] * line["quantity"] for line in lines) - discount, 2)
    properties = {
        "order_id": f"{customer}-{int(at.timestamp() * 1000):x}",
        "currency": "USD",
        "revenue": revenue,
        "discount": discount,
        "products": list(lines),
        **extra,
    }
    return track("Order Completed", customer, at, "o", properties, BROWSERS[1])

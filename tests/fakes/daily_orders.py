"""Customers who order once a day."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from tests.fakes.event_streams import START


def order(number: int, customer: str, time: datetime, received: datetime | None = None) -> dict[str, Any]:
    return {
        "message_id": f"{customer}-{number}", "type": "track", "event": "Order Completed", "customer_id": customer,
        "timestamp": time, "received_at": received or time, "revenue_cents": 100 + number, "properties": "{}",
    }  # fmt: skip


def orders(first: int, days: int, customers: int = 12) -> list[dict[str, Any]]:
    return [order(day, f"c{c}", START + timedelta(days=day, hours=c)) for day in range(first, first + days)
            for c in range(customers)]  # fmt: skip

"""A small seeded shop: customers with their own rhythm, some of whom stop; campaigns; redemptions. EVENTS-shaped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from features.tables import EVENTS

START = datetime(2025, 1, 6, tzinfo=UTC)


def shop_history(customers: int = 300, days: int = 300, seed: int = 1, redemption: float = 0.15) -> pl.DataFrame:
    """Orders every 4 to 34 days until a customer stops for good (some come back), a campaign every 21 days to most,
    redeemed more often by frequent buyers."""
    random = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for number in range(customers):
        name = f"c{number:04d}"
        gap = float(random.uniform(4, 34))
        at = float(random.uniform(0, gap))
        stops = float(random.exponential(260))
        back = stops + 60 + float(random.exponential(60)) if random.random() < 0.6 else days + 1.0
        while at < days:
            if at < stops or at >= back:
                cents = int(random.integers(500, 9000))
                rows.append(_event(name, "Order Completed", at, revenue_cents=cents))
            at += float(random.gamma(5, gap / 5))
        for start in range(5, days, 21):
            if random.random() < 0.7:
                rows.append(_event(name, "Email Delivered", float(start), channel="email"))
                if start < stops and random.random() < redemption * 8 / gap:
                    rows.append(_event(name, "Coupon Redeemed", start + float(random.uniform(0.5, 12))))
    frame = pl.DataFrame(rows, schema_overrides={"timestamp": EVENTS.schema["timestamp"]})
    numbered = frame.with_row_index().with_columns(message_id=pl.lit("m") + pl.col("index").cast(pl.String))
    return EVENTS.conform(numbered.drop("index").with_columns(received_at="timestamp", properties=pl.lit("{}")))


def _event(customer: str, name: str, day: float, **more: object) -> dict[str, object]:
    known: dict[str, object] = {"channel": None, "revenue_cents": None}
    at = START + timedelta(days=day)
    return {"customer_id": customer, "type": "track", "event": name, "timestamp": at, **known, **more}

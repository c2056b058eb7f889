"""Counts by hour of the week forget: halved in 180 days, the same in batch and online, never in a jump of a half."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from features.build import hours
from features.forgetting import HALF_LIFE, weight, weights
from features.rows import OnlineFeatures
from features.tables import EVENTS
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


def test_weights_double_in_a_half_life_and_never_fall() -> None:
    day = 86_400_000_000
    times = np.arange(10_000, 30_000) * day  # 1997 to 2052
    told = weights(times)
    assert told.tolist() == [weight(int(time)) for time in times]
    assert (np.diff(told) >= 0).all()
    assert (told[1:] / told[:-1] <= 1.22).all()
    inside = 18_300 * day + np.arange(7000) * day
    ratio = weights(inside + HALF_LIFE) / weights(inside)
    assert ratio == pytest.approx(np.full(7000, 2.0))
    assert int(told.max()) * 300_000 < 2**63


def orders(count: int, before: datetime) -> list[dict[str, object]]:
    times = [before - timedelta(minutes=n) for n in range(count)]
    return [
        {"message_id": f"{at.isoformat()}", "type": "track", "event": "Order Completed", "customer_id": "c1",
         "timestamp": at, "received_at": at, "properties": "{}"} for at in times
    ]  # fmt: skip


def test_old_habits_fade_in_batch_and_online_alike() -> None:
    events = EVENTS.conform(
        pl.DataFrame([*orders(40, NOW - timedelta(days=400)), *orders(20, NOW - timedelta(days=3, hours=6))])
    )
    online = OnlineFeatures(MemoryRows())
    online.apply(events.to_dicts())
    row = online.read(["c1"], NOW)[0]
    assert row is not None
    counts = row.order_hours.reshape(7, 24).sum(axis=0)
    assert counts[5:7].sum() == pytest.approx(20, rel=0.21)
    assert 6 < counts[11:13].sum() < 12  # of 40
    cuts = pl.DataFrame({"customer_id": ["c1"], "as_of": [NOW]}, schema_overrides={"as_of": pl.Datetime("us", "UTC")})
    batch = hours(events, cuts)
    found = np.zeros(168)
    found[batch["hour"].to_numpy()] = batch["count"].to_numpy()
    assert found.tobytes() == row.order_hours.tobytes()

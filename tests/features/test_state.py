"""Folding a state changes nothing that a later reading sees, on every edge of every window."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features import rows as rows_module
from features.catalogue import FEATURE_NAMES
from features.declare import DAY, HOUR, MINUTE
from features.rows import OnlineFeatures
from features.state import HOLD
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 10, 5, 17, 23, 45, 678901, tzinfo=UTC)
WINDOWS = (1, 7, 30, 90, 365, 730)
STEPS = (0, 1, -1, HOUR, -HOUR, HOUR + 1, 2 * HOUR, DAY, -DAY, DAY + HOUR, 20 * MINUTE, 40 * MINUTE)


def events_on_edges() -> list[dict[str, Any]]:
    """An event on and around where each window begins, as of NOW and times near it."""
    rng = np.random.default_rng(5)
    names = ["Order Completed", "Order Completed", "Email Delivered", "Email Link Clicked"]
    times = {
        NOW - timedelta(days=days, microseconds=step + shift)
        for days in WINDOWS
        for step in STEPS
        for shift in (0, 23 * 60_000_000 + 45_678_901, 17 * HOUR + 23 * MINUTE + 45_678_901)
    } | {NOW - timedelta(minutes=m) for m in range(0, 180, 7)}
    return [
        {
            "message_id": f"m{i}", "type": "track", "event": names[int(rng.integers(4))], "customer_id": "ann",
            "timestamp": time, "received_at": time, "revenue_cents": int(rng.integers(1, 10_000)),
            "products": [{"category": f"c{int(rng.integers(4))}", "quantity": 1}],
        }
        for i, time in enumerate(sorted(times)) if time <= NOW
    ]  # fmt: skip


def reading(online: OnlineFeatures, as_of: datetime) -> tuple[list[float], dict[str, tuple[float, float, float]]]:
    row = online.read(["ann"], as_of)[0]
    assert row is not None
    return [row.values[name] for name in FEATURE_NAMES], dict(row.affinity)


@pytest.mark.parametrize(
    "step", [-HOLD, -HOLD + 1, -HOUR // 2, 0, 1, HOUR, 30 * MINUTE, 7 * HOUR, DAY, 29 * DAY, 364 * DAY]
)
def test_folding_changes_no_later_reading(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    events = events_on_edges()
    monkeypatch.setattr(rows_module, "YOUNG", 10**9)
    kept = OnlineFeatures(MemoryRows())
    kept.apply(events)
    monkeypatch.setattr(rows_module, "YOUNG", 0)
    monkeypatch.setattr("features.state.CROWD", 10**9)
    folded = OnlineFeatures(MemoryRows())
    for start in range(0, len(events), 5):
        folded.apply(events[start : start + 5])
    as_of = NOW + timedelta(microseconds=step)
    values, categories = reading(folded, as_of)
    expected, expected_categories = reading(kept, as_of)
    assert np.array_equal(values, expected, equal_nan=True)
    assert categories == expected_categories


def test_a_crowd_of_events_in_a_minute_stays_a_small_row() -> None:
    store = MemoryRows()
    online = OnlineFeatures(store)
    for start in range(0, 20_000, 2_000):
        online.apply(
            [
                {
                    "message_id": f"m{i}", "type": "track", "event": "Order Completed", "customer_id": "ann",
                    "timestamp": NOW + timedelta(microseconds=3000 * i), "received_at": NOW + timedelta(minutes=2),
                    "revenue_cents": 100, "products": [{"category": "bread", "quantity": 1}],
                }
                for i in range(start, start + 2_000)
            ]
        )  # fmt: skip
    row = online.read(["ann"], NOW + timedelta(hours=1))[0]
    packed = store.read(["ann"])[0]
    assert row is not None
    assert packed is not None
    assert row.values["orders_total"] == 20_000
    assert row.values["revenue_cents_30d"] == 2_000_000
    assert len(packed) < 20_000


def test_a_category_not_ordered_for_two_years_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "YOUNG", 0)
    online = OnlineFeatures(MemoryRows())
    for i, (days, category) in enumerate([(800, "wine"), (790, "bread"), (300, "toys"), (1, "bread"), (0, "tea")]):
        time = NOW - timedelta(days=days)
        online.apply(
            [
                {
                    "message_id": f"m{i}", "type": "track", "event": "Order Completed", "customer_id": "ann",
                    "timestamp": time, "received_at": time, "products": [{"category": category, "quantity": 1}],
                }
            ]
        )  # fmt: skip
    row = online.read(["ann"], NOW + timedelta(seconds=1))[0]
    assert row is not None
    assert {c: told[:2] for c, told in row.affinity.items()} == {"toys": (0, 1), "bread": (1, 1), "tea": (1, 1)}

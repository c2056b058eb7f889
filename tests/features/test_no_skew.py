"""What is served is what was learnt from: online rows equal the batch, to the last bit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import rows as rows_module
from features import state as state_module
from features.build import affinity, compute, hours
from features.catalogue import FEATURE_NAMES
from features.rows import CustomerRow, OnlineFeatures
from tests.fakes.event_streams import START, frame, streams
from tests.fakes.row_store import MemoryRows

CUSTOMERS = ["ann", "bob"]
later = st.one_of(
    st.sampled_from([-3_600_000_000, -1_800_000_000, -1, 0, 1, 3_600_000_000]).map(
        lambda us: timedelta(microseconds=us)
    ),
    st.integers(-3600, 0).map(lambda s: timedelta(seconds=s)),
    st.integers(0, 24 * 800).map(lambda h: timedelta(hours=h)),
    st.integers(0, 86_400_000_000 * 40).map(lambda us: timedelta(microseconds=us)),
)


def last_receipt(events: list[dict[str, Any]]) -> datetime:
    return max((e["received_at"] for e in events), default=START)


def assert_same(events: list[dict[str, Any]], online: OnlineFeatures, as_of: datetime) -> None:
    cuts = pl.DataFrame(
        {"customer_id": CUSTOMERS, "as_of": [as_of] * 2}, schema_overrides={"as_of": pl.Datetime("us", "UTC")}
    )
    batch = compute(frame(events), cuts)
    categories, weeks = affinity(frame(events), cuts), hours(frame(events), cuts)
    for row, told in zip(online.read(CUSTOMERS, as_of), batch.iter_rows(named=True), strict=True):
        heard = any(e["customer_id"] == told["customer_id"] for e in events)
        assert (row is not None) == heard
        if row is not None:
            assert_values(row, told)
            assert_affinity(row, categories.filter(pl.col("customer_id") == row.customer_id))
            assert_hours(row, weeks.filter(pl.col("customer_id") == row.customer_id))


def assert_values(row: CustomerRow, told: dict[str, Any]) -> None:
    wrong = {
        name: (row.values[name], told[name])
        for name in FEATURE_NAMES
        if np.float64(row.values[name]).tobytes() != np.float64(told[name]).tobytes()
        and not (np.isnan(row.values[name]) and np.isnan(told[name]))
    }
    assert not wrong


def assert_affinity(row: CustomerRow, told: pl.DataFrame) -> None:
    expected = {c: (a, b, d) for c, a, b, d in told.select(pl.exclude("customer_id", "as_of")).iter_rows()}
    assert dict(row.affinity) == expected


def assert_hours(row: CustomerRow, told: pl.DataFrame) -> None:
    found = [("orders", None, h, n) for h, n in enumerate(row.order_hours.tolist()) if n]
    for channel, (sends, responses) in row.response_hours.items():
        found += [("sends", channel, h, n) for h, n in enumerate(sends.tolist()) if n]
        found += [("responses", channel, h, n) for h, n in enumerate(responses.tolist()) if n]
    assert sorted(found, key=str) == sorted(told.select("kind", "channel", "hour", "count").iter_rows(), key=str)


@pytest.fixture(params=[0, 96], ids=["folds-at-once", "folds-when-full"])
def fold_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(rows_module, "YOUNG", request.param)
    monkeypatch.setattr(state_module, "CROWD", 10_000)
    return int(request.param)


@settings(max_examples=60, deadline=None)
@given(events=streams(), cuts=st.lists(later, min_size=1, max_size=3), chunk=st.integers(1, 20))
def check_applied(events: list[dict[str, Any]], cuts: list[timedelta], chunk: int) -> None:
    online = OnlineFeatures(MemoryRows())
    for start in range(0, len(events), chunk):
        online.apply(events[start : start + chunk])
        online.apply(events[max(start - 3, 0) : start + chunk])  # handed in again after a crash
    for cut in cuts:
        assert_same(events, online, last_receipt(events) + cut)


def test_applied_events_read_as_the_batch_computes(fold_size: int) -> None:
    check_applied()


@settings(max_examples=40, deadline=None)
@given(events=streams(), cut=later)
def test_loaded_events_read_as_the_batch_computes(events: list[dict[str, Any]], cut: timedelta) -> None:
    online = OnlineFeatures(MemoryRows())
    online.load(frame(events))
    assert_same(events, online, last_receipt(events) + cut)


@settings(max_examples=40, deadline=None)
@given(events=streams(), cut=later, split=st.floats(0, 1))
def test_loaded_then_applied_events_read_as_the_batch_computes(
    events: list[dict[str, Any]], cut: timedelta, split: float
) -> None:
    online = OnlineFeatures(MemoryRows())
    at = int(len(events) * split)
    online.load(frame(events[:at]))
    online.apply(events[at:])
    assert_same(events, online, last_receipt(events) + cut)

"""Features as of many times, against a reference that looks at every event for every cut."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.build import compute, interest, snapshot_folder
from features.catalogue import FEATURE_NAMES
from features.declare import hop_of
from features.event_log import EventLog
from features.snapshots import build_snapshots
from tests.fakes.event_streams import START, apart, frame, streams

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def tail(as_of: datetime, days: int) -> datetime:
    hop = timedelta(microseconds=hop_of(days * 86_400_000_000))
    return EPOCH + (as_of - days * DAY - EPOCH) // hop * hop


def visible(events: list[dict[str, Any]], customer: str, as_of: datetime) -> list[dict[str, Any]]:
    first: dict[str, dict[str, Any]] = {}
    for event in events:  # in the order of their receipt
        first.setdefault(event["message_id"], event)
    mine = [e for e in first.values() if e["customer_id"] == customer]
    return [e for e in mine if e["timestamp"] < as_of and e["received_at"] <= as_of]


def money(event: dict[str, Any]) -> int | None:
    """What counts of an event's revenue: that of the home currency."""
    cents: int | None = event["revenue_cents"]
    return cents if event["currency"] in (None, "USD") else None


def reference(events: list[dict[str, Any]], customer: str, as_of: datetime) -> dict[str, float]:
    """A sample of features by their plain definition."""
    seen = visible(events, customer, as_of)
    orders = [e for e in seen if e["event"] == "Order Completed"]
    answers = [e for e in seen if e["event"] in {"Email Opened", "Email Link Clicked", "Push Notification Tapped"}]
    told: dict[str, float] = {"orders_total": len(orders)}
    for days in (1, 7, 30, 90, 365):
        inside = [e for e in orders if e["timestamp"] >= tail(as_of, days)]
        told[f"orders_{days}d"] = len(inside)
        if days > 1:
            told[f"revenue_cents_{days}d"] = sum(money(e) or 0 for e in inside)
    year = [e for e in orders if e["timestamp"] >= tail(as_of, 365)]
    revenues = [cents for e in year if (cents := money(e)) is not None]
    told["largest_order_cents_365d"] = max(revenues, default=np.nan)
    told["smallest_order_cents_365d"] = min(revenues, default=np.nan)
    told["average_order_cents_365d"] = sum(revenues) / len(revenues) if revenues else np.nan
    quarter = [e for e in orders if e["timestamp"] >= tail(as_of, 90)]
    told["categories_90d"] = len({p["category"] for e in quarter for p in e["products"] or () if p["category"]})
    days = sorted({(e["timestamp"] - EPOCH) // DAY for e in year})
    gaps = np.diff(days)
    told["order_gap_mean_days"] = gaps.mean() if len(gaps) else np.nan
    told["order_gap_std_days"] = gaps.std() if len(gaps) > 1 else np.nan
    latest = max((e["timestamp"] for e in orders), default=None)
    told["days_since_last_order"] = (as_of - latest) / DAY if latest else np.nan
    told["tenure_days"] = (as_of - min(e["timestamp"] for e in seen)) / DAY if seen else np.nan
    recent = [e for e in answers if e["timestamp"] >= tail(as_of, 90)]
    machine = sum(e["machine"] is True for e in recent)
    told["machine_share_90d"] = machine / len(recent) if recent else np.nan
    told["opens_human_90d"] = sum(e["event"] == "Email Opened" and e["machine"] is not True for e in recent)
    told["preferred_order_hour"] = commonest(local.hour for local in local_times(events, customer, orders))
    told["preferred_order_weekday"] = commonest(local.weekday() for local in local_times(events, customer, orders))
    return told


def local_times(events: list[dict[str, Any]], customer: str, orders: list[dict[str, Any]]) -> list[datetime]:
    zone, zones = "UTC", {}
    for event in events:  # in the order of their receipt
        if event["customer_id"] == customer and event["message_id"] not in zones:
            zone = event["timezone"] if event["timezone"] not in {None, "No/Where"} else zone
            zones[event["message_id"]] = zone
    return [e["timestamp"].astimezone(ZoneInfo(zones[e["message_id"]])) for e in orders]


def commonest(numbers: Iterable[int]) -> float:
    counts = Counter(numbers)
    return min((number for number, n in counts.items() if n == max(counts.values())), default=np.nan)


@settings(max_examples=60, deadline=None)
@given(events=streams(), times=st.lists(apart, min_size=1, max_size=6))
def test_many_cuts_equal_a_look_at_every_event(events: list[dict[str, Any]], times: list[datetime]) -> None:
    asked = [(customer, time) for time in times for customer in ("ann", "bob", "nobody")]
    cuts = pl.DataFrame(asked, schema={"customer_id": pl.String, "as_of": pl.Datetime("us", "UTC")}, orient="row")
    for row, (customer, as_of) in zip(compute(frame(events), cuts).iter_rows(named=True), asked, strict=True):
        expected = reference(events, customer, as_of)
        assert (row["customer_id"], row["as_of"]) == (customer, as_of)
        assert {n: row[n] for n in expected} == pytest.approx(expected, nan_ok=True, rel=1e-12)


@settings(max_examples=30, deadline=None)
@given(events=streams(), times=st.lists(apart, min_size=2, max_size=5))
def test_cuts_together_equal_cuts_alone(events: list[dict[str, Any]], times: list[datetime]) -> None:
    asked = [(customer, time, i) for i, time in enumerate(times) for customer in ("bob", "ann")]
    cuts = pl.DataFrame(
        asked, schema={"customer_id": pl.String, "as_of": pl.Datetime("us", "UTC"), "note": pl.Int64}, orient="row"
    )
    together = compute(frame(events), cuts)
    alone = pl.concat([compute(frame(events), cuts[i : i + 1]) for i in range(cuts.height)])
    assert together.equals(alone)
    assert together.columns == ["customer_id", "as_of", "note", *FEATURE_NAMES]


def order(number: int, customer: str, time: datetime, category: str = "bread") -> dict[str, Any]:
    return {
        "message_id": f"{customer}{number}", "type": "track", "event": "Order Completed", "customer_id": customer,
        "timestamp": time, "received_at": time, "revenue_cents": 100, "properties": "{}",
        "products": [
            {"product_id": "p", "category": category, "price_cents": 1, "quantity": 1, "discount_cents": None}
        ],
    }  # fmt: skip


def test_interest_counts_orders_not_lines_and_ends_after_two_years() -> None:
    events = [order(0, "ann", START - 731 * DAY, "old"), order(1, "ann", START - 100 * DAY), order(2, "ann", START)]
    events[2]["products"] *= 3
    cuts = pl.DataFrame({"customer_id": ["ann"], "as_of": [START + DAY]}).cast({"as_of": pl.Datetime("us", "UTC")})
    told = interest(frame(events), cuts)
    assert told.rows() == [("ann", START + DAY, "bread", 1.0, 2.0, 1.0, 0.0)]


def test_a_window_ends_sharp_at_its_head_and_on_a_hop_at_its_tail() -> None:
    as_of = datetime(2026, 5, 20, 13, 30, tzinfo=UTC)
    edge = datetime(2026, 4, 20, tzinfo=UTC)  # 30 days before, floored to a day
    times = [edge - timedelta(microseconds=1), edge, as_of - timedelta(microseconds=1), as_of]
    cuts = pl.DataFrame({"customer_id": ["ann"], "as_of": [as_of]}).cast({"as_of": pl.Datetime("us", "UTC")})
    told = compute(frame([order(i, "ann", t) for i, t in enumerate(times)]), cuts)
    assert told["orders_30d"].to_list() == [2.0]
    assert told["orders_total"].to_list() == [3.0]


def customers(n: int) -> list[dict[str, Any]]:
    return [order(i, f"c{c}", START + timedelta(days=i, hours=c)) for c in range(n) for i in range(c % 5 + 1)]


def test_a_snapshot_goes_on_where_it_stopped(tmp_path: Any) -> None:
    log = EventLog(tmp_path / "events")
    log.append(frame(customers(40)), "a")
    as_of = START + timedelta(days=3)

    def stop(done: int, _: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_snapshots(log, [as_of], tmp_path / "features", progress=stop)
    build_snapshots(log, [as_of], tmp_path / "features")
    folder = snapshot_folder(tmp_path / "features", as_of)
    stamps = {p: p.stat().st_mtime_ns for p in folder.iterdir()}
    assert len(stamps) == 16
    build_snapshots(log, [as_of], tmp_path / "features")
    assert {p: p.stat().st_mtime_ns for p in folder.iterdir()} == stamps
    rows = pl.read_parquet(folder / "*.parquet", hive_partitioning=False)
    assert rows.height == 40
    assert rows.columns == ["customer_id", "as_of", "created", *FEATURE_NAMES]
    log.append(frame([order(9, "c0", START + DAY)]), "b")
    build_snapshots(log, [as_of], tmp_path / "features")
    again = pl.read_parquet(folder / "*.parquet", hive_partitioning=False).filter(customer_id="c0")
    assert again["orders_total"].to_list() == [2.0]


def test_no_events_give_zero_counts_and_unknown_times() -> None:
    cuts = pl.DataFrame({"customer_id": ["ann"], "as_of": [START]}).cast({"as_of": pl.Datetime("us", "UTC")})
    told = compute(frame([]), cuts).row(0, named=True)
    assert told["orders_365d"] == 0
    assert np.isnan(told["days_since_last_order"])
    assert compute(frame([]), cuts.clear()).height == 0
    assert interest(frame([]), cuts).height == 0


def test_years_far_apart_do_not_overflow() -> None:
    events = [order(0, "ann", datetime(1901, 1, 1, tzinfo=UTC)), order(1, "ann", datetime(2199, 1, 1, tzinfo=UTC))]
    cuts = pl.DataFrame(
        {"customer_id": ["ann", "ann"], "as_of": [datetime(2026, 1, 1, tzinfo=UTC), datetime(2199, 1, 2, tzinfo=UTC)]}
    ).cast({"as_of": pl.Datetime("us", "UTC")})
    told = compute(frame(events), cuts)
    assert told["orders_total"].to_list() == [1.0, 2.0]
    assert told["orders_1d"].to_list() == [0.0, 1.0]

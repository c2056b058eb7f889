"""Serving rows: how long they hold, what they leave to the state, and what reading them gives."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from features.catalogue import FEATURE_NAMES, FEATURES
from features.declare import Events, Feature
from features.facts import microseconds
from features.feature_set import FeatureSet
from features.finalize import FAR
from features.rows import OnlineFeatures, feature_matrix
from features.serving import LAYOUT
from tests.fakes.event_streams import frame
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 6, 3, 12, 34, 56, 789, tzinfo=UTC)
ORDERED = Events(("ordered",))
TICK = timedelta(microseconds=1)


def event(name: str, time: datetime = NOW, customer: str = "ann", **more: Any) -> dict[str, Any]:
    told = {
        "message_id": name, "type": "track", "event": "Order Completed", "customer_id": customer, "timestamp": time,
        "received_at": time, "revenue_cents": 250, "properties": "{}",
    }  # fmt: skip
    return {**told, **more}


def feature(name: str, aggregate: str, **more: Any) -> Feature:
    return Feature(name, aggregate, "", "", "", **{"events": ORDERED, **more})


def span(store: MemoryRows, customer: str = "ann") -> tuple[int, int]:
    row = store.read([f"\x1fs{customer}"])[0]
    assert row is not None
    since, until = np.frombuffer(row, np.int64, 2, 8).tolist()
    return since, until


def values(online: OnlineFeatures, customers: list[str], time: datetime) -> np.ndarray[Any, Any]:
    return feature_matrix(online.read(customers, time), FEATURE_NAMES)


def at(*when: int) -> int:
    return microseconds(datetime(*when, tzinfo=UTC))  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("only", "until"),
    [
        (feature("a", "count", window_days=0.25), at(2026, 6, 3, 18, 35)),  # the tile 12:30 to 12:35, six hours later
        (feature("a", "sum", column="quantity", window_days=2), at(2026, 6, 5, 13)),
        (feature("a", "mean", column="quantity", window_days=14), at(2026, 6, 18)),
        (feature("a", "std", column="quantity", window_days=15), at(2026, 6, 19)),
        (feature("a", "quantile", column="quantity", window_days=16), at(2026, 6, 20)),
        (feature("a", "max", column="quantity", window_days=17), at(2026, 6, 21)),
        (feature("a", "min", column="quantity", window_days=18), at(2026, 6, 22)),
        (feature("a", "gap_mean", window_days=19), at(2026, 6, 23)),
        (feature("a", "active_days", window_days=20), at(2026, 6, 24)),
        (feature("a", "distinct", window_days=21), at(2026, 6, 25)),
        (feature("a", "top_share", window_days=22), at(2026, 6, 26)),
        (feature("a", "days_since_last"), at(2026, 9, 2)),  # 90 days of affinity
        (feature("a", "count", events=Events(("refunded",)), window_days=1), at(2026, 9, 2)),
    ],
    ids=lambda value: value.aggregate if isinstance(value, Feature) else "",
)
def test_a_row_holds_until_its_event_leaves_the_shortest_window(only: Feature, until: int) -> None:
    store = MemoryRows()
    OnlineFeatures(store, FeatureSet([only])).apply([event("1", products=[{"category": "tea", "quantity": 2}])])
    assert span(store) == (microseconds(NOW) + 1, until)


def test_a_row_holds_until_an_event_of_the_future_begins() -> None:
    store = MemoryRows()
    ahead = event("1", NOW + timedelta(minutes=5), received_at=NOW)
    OnlineFeatures(store).apply([ahead, event("2", event="Email Opened", channel="email")])
    assert span(store) == (microseconds(NOW) + 1, microseconds(NOW) + 300_000_001)


def test_a_row_without_windows_or_dates_holds_for_ever() -> None:
    store = MemoryRows()
    told = event("1", type="identify", event=None, traits=json.dumps({"household_size": 3}))
    OnlineFeatures(store).apply([told])
    assert span(store)[1] == FAR


def test_a_row_holds_until_the_birthday_is_over() -> None:
    store = MemoryRows()
    told = event("1", type="identify", event=None, traits=json.dumps({"birthday": "1990-06-20"}))
    online = OnlineFeatures(store)
    online.apply([told])
    assert span(store)[1] == at(2026, 6, 21)
    days = [
        values(online, ["ann"], NOW + timedelta(days=days))[0, FEATURE_NAMES.index("days_until_birthday")]
        for days in (1, 17, 18)
    ]
    assert days == [16, 0, 364]


def test_what_moves_with_the_clock_moves_within_a_row() -> None:
    store = MemoryRows()
    online = OnlineFeatures(store)
    online.apply([event("1", NOW - timedelta(days=30)), event("2", NOW - timedelta(days=20))])
    store.change(["ann"], lambda _: [b"not a state"])  # whoever reads it, finds nothing
    row = online.read(["ann"], NOW - timedelta(days=20) + timedelta(hours=9))[0]
    assert row is not None
    assert (row.values["days_since_last_order"], row.values["order_gap_mean_days"]) == (0.375, 10)
    assert row.values["current_gap_ratio"] == 0.0375
    assert online.read(["ann"], NOW) == [None]  # a day tile has left some window since


def test_refreshed_rows_hold_now_and_say_the_same() -> None:
    store = MemoryRows()
    online = OnlineFeatures(store)
    online.apply(
        [event("1"), event("2", customer="bob", event="Unsubscribed"), event("3", customer="eve", type="page")]
    )
    later = NOW + timedelta(days=31)
    assert set(online.stale(NOW + TICK)) == set()
    assert set(online.stale(later)) == {"ann", "eve"}
    before = values(online, ["ann", "bob", "eve"], later)
    assert online.refresh(["ann", "bob", "eve", "nobody"], later) == 2
    assert list(online.stale(later)) == []
    assert span(store)[0] == microseconds(later)
    assert values(online, ["ann", "bob", "eve"], later).tobytes() == before.tobytes()
    assert store.read(["nobody", "\x1fsnobody"]) == [None, None]


def test_a_refresh_never_goes_behind_the_last_event() -> None:
    store = MemoryRows()
    online = OnlineFeatures(store)
    online.apply([event("1", NOW - timedelta(days=1)), event("2")])
    held = span(store)
    assert set(online.stale(NOW)) == {"ann"}
    assert online.refresh(["ann"], NOW) == 0
    assert span(store) == held


def test_loaded_rows_hold_from_the_time_given() -> None:
    store = MemoryRows()
    online = OnlineFeatures(store)
    events = frame([event("1", NOW - timedelta(days=200)), event("2", NOW - timedelta(days=100), "bob")])
    online.load(events, NOW)
    assert [span(store, name)[0] for name in ("ann", "bob")] == [microseconds(NOW)] * 2
    online.load(events)
    assert [span(store, name)[0] for name in ("ann", "bob")] == [microseconds(NOW - timedelta(days=100)) + 1] * 2


def test_rows_that_lack_or_that_other_features_made_are_read_from_the_state() -> None:
    store = MemoryRows()
    online = OnlineFeatures(store)
    online.apply([event("1"), event("2")])
    half = Feature("half_orders", "ratio", "", "", "", of=("orders_total", "orders_total"), scale=0.5)
    other = OnlineFeatures(store, FeatureSet((half, *FEATURES)))  # the same sums, one feature more
    assert other.signature == online.signature
    row = other.read(["ann"], NOW + TICK)[0]
    assert row is not None
    assert (row.values["half_orders"], row.values["orders_total"]) == (0.5, 2)
    store.change(["\x1fsann"], lambda _: [None])
    assert values(online, ["ann"], NOW + TICK)[0, FEATURE_NAMES.index("orders_total")] == 2
    assert list(online.stale(NOW + TICK)) == ["ann"]


def test_a_matrix_of_rows_however_they_were_made() -> None:
    online = OnlineFeatures(MemoryRows())
    online.apply([event("1"), event("2", customer="bob", revenue_cents=100)])
    ann, nobody, bob = online.read(["ann", "nobody", "bob"], NOW + TICK)
    assert ann is not None
    rows = [bob, nobody, replace(ann, values={**ann.values, "orders_total": 7.0}), ann]
    told = feature_matrix(rows, ["orders_total", "no_such_feature", "revenue_cents_7d"])
    expected = [[1, np.nan, 100], [np.nan] * 3, [7, np.nan, 250], [1, np.nan, 250]]
    assert np.array_equal(told, expected, equal_nan=True)
    assert feature_matrix([], ["orders_total"]).shape == (0, 1)


def test_a_row_has_no_other_fields() -> None:
    online = OnlineFeatures(MemoryRows())
    online.apply([event("1")])
    with pytest.raises(AttributeError, match="no favourite"):
        getattr(online.read(["ann"], NOW + TICK)[0], "favourite")  # noqa: B009


def test_ids_that_look_like_keys_are_customers_of_their_own() -> None:
    online = OnlineFeatures(MemoryRows())
    names = ["ann", "\x1fsann", "\x1f\x1fsann", "sann", "\x1f"]
    online.apply([event(f"{i}-{n}", customer=name) for i, name in enumerate(names) for n in range(i + 1)])
    rows = online.read(names, NOW + TICK)
    assert [row and row.values["orders_total"] for row in rows] == [1, 2, 3, 4, 5]
    assert sorted(online.stale(NOW + timedelta(days=40))) == sorted(names)
    online.erase("\x1fsann")
    assert [row is None for row in online.read(names, NOW + TICK)] == [False, True, False, False, False]


def test_the_layout_number_stands_for_these_numbers() -> None:
    """If this fails because finalize.py gives other numbers for the same sums, raise LAYOUT: rows held are no more."""
    online = OnlineFeatures(
        MemoryRows(),
        FeatureSet(
            [
                feature("n", "count", window_days=30),
                feature("mean", "mean", column="revenue_cents", window_days=30),
                feature("std", "std", column="revenue_cents", window_days=30),
                feature("median", "quantile", column="revenue_cents", window_days=30),
                feature("gap", "gap_std", window_days=30),
                feature("hour", "peak_hour"),
                feature("share", "top_share", window_days=30),
                feature("first", "days_since_first"),
                Feature("pace", "ratio", "", "", "", of=("first", "n"), scale=2.0),
            ]
        ),
    )
    amounts = [(100, "tea"), (300, "tea"), (1100, "jam")]
    online.apply(
        [
            event(str(n), NOW - timedelta(days=n * n), revenue_cents=cents, products=[{"category": name}])
            for n, (cents, name) in enumerate(amounts)
        ]
    )
    [row] = online.read(["ann"], NOW + timedelta(hours=2))
    assert row is not None
    shown = [float(f"{value:.6g}") for value in row.values.values()]
    assert (LAYOUT, shown) == (4, [3, 500, 432.049, 278.51, 1, 12, 0.666667, 4.08333, 2.72222])

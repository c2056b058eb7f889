"""Rows as stored, decoded by the compiled part: the same as one by one in numpy, and what is malformed is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channel_hours import NO_HOURS, ChannelHours, week_totals
from features.compiled import ROWS
from features.customer_row import CustomerRow, StoredRow, kept
from features.many_rows import decoded, weeks_together
from features.products import NO_PRODUCTS
from features.rows import OnlineFeatures
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 6, 3, 12, 34, 56, 789, tzinfo=UTC)
CATEGORIES = ("tea", 'so "called"', "back\\slash", "Grüße", "", "unbought")
CHANNELS = ("email", "sms", "carrier pigeon")
EVENTS = ("Order Completed", "Product Viewed", "Email Delivered", "Email Opened", "Email Link Clicked", "SMS Delivered")
compiled = pytest.mark.skipif(ROWS is None, reason="features/_rows was not built here")


def rows_of(seed: int, customers: int) -> list[CustomerRow | None]:
    """Of customers with up to 30 events in two years, of whom the last one is unknown."""
    random = np.random.default_rng(seed)
    events = []
    for number in range(customers * 15 if customers > 1 else 0):
        name = EVENTS[random.integers(len(EVENTS))]
        time = NOW - timedelta(hours=float(random.integers(0, 900) * 24))
        bought = [
            {"category": (*CATEGORIES, "other")[random.integers(len(CATEGORIES) + 1)], "product_id": f"p{n}"}
            for n in range(random.integers(3))
        ]
        told = {
            "message_id": str(number), "type": "track", "event": name, "timestamp": time, "received_at": NOW,
            "customer_id": f"c{random.integers(customers - 1)}", "products": bought, "properties": "{}",
            "channel": "sms" if name.startswith("SMS") else "email", "human": True,
        }  # fmt: skip
        events.append(told)
    online = OnlineFeatures(MemoryRows())
    online.apply(events)
    return list(online.read([f"c{number}" for number in range(customers)], NOW + timedelta(minutes=1)))


@compiled
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), customers=st.integers(1, 4))
def test_all_at_once_is_what_each_says(seed: int, customers: int) -> None:
    rows = rows_of(seed, customers)
    found = decoded(rows, CATEGORIES, CHANNELS)
    if not any(rows):
        assert found is None
        return
    assert found is not None
    products = list(found.products.each())
    for place, row in enumerate(rows):
        liked = {} if row is None else row.affinity
        affinity = [liked.get(name, (0.0, 0.0, np.nan)) for name in CATEGORIES]
        assert np.array_equal(found.affinity[place], affinity, equal_nan=True)
        views = {} if row is None else row.views
        assert found.views[place].tolist() == [views.get(name, 0) for name in CATEGORIES]
        assert products[place] == (NO_PRODUCTS if row is None else row.products)
        hours = {} if row is None else row.response_hours
        told = [hours.get(channel, ChannelHours(NO_HOURS)) for channel in CHANNELS]
        responses = [[weeks.sends.sum(), (weeks.clicks + weeks.opens).sum()] for weeks in told]
        assert found.responses[place].tolist() == responses


@compiled
@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), customers=st.integers(2, 4))
def test_weeks_together_are_what_each_row_has(seed: int, customers: int) -> None:
    rows = rows_of(seed, customers)
    found = weeks_together(rows, CHANNELS, 0.3, 0.25)
    assert found is not None
    for place, row in enumerate(rows):
        hours = {} if row is None else row.response_hours
        sends, responses, activity = np.zeros(168), np.zeros(168), np.zeros(168)
        if row is not None:
            activity = row.order_hours + 0.3 * row.visit_hours
        for weeks in hours.values():
            sends += weeks.sends
            responses += weeks.clicks + 0.25 * weeks.opens
        told = found.activity[place], found.sends[place], found.responses[place]
        assert [week.tobytes() for week in told] == [week.tobytes() for week in (activity, sends, responses)]
        of_channels = [hours.get(channel, ChannelHours(NO_HOURS)) for channel in CHANNELS]
        assert found.totals[place].tolist() == [[week.sum() for week in weeks] for weeks in of_channels]
    assert weeks_together([replace(row) if row else None for row in rows[:-1]], CHANNELS, 0.3, 0.25) is None


@compiled
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_each_is_the_same_without_the_compiled_part(seed: int) -> None:
    for row in rows_of(seed, 3):
        if not isinstance(row, StoredRow):
            continue
        by, packed = row._serving, row._packed
        ours = by.liked(packed, NOW), by.hours(packed, NOW)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("features.serving.ROWS", None)
            patch.setattr("features.many_rows.ROWS", None)
            assert by.liked(packed, NOW) == ours[0]
            assert list(map(list, by.liked(packed, NOW))) == list(map(list, ours[0]))
            orders, visits, channels = by.hours(packed, NOW)
            patch.setattr("features.customer_row.ROWS", None)
            plain = kept(row)
            assert decoded([row], CATEGORIES, CHANNELS) is None
        assert kept(StoredRow.of(row.customer_id, row.as_of, row.vector, packed, by)) == plain
        assert (orders.tolist(), visits.tolist()) == (ours[1][0].tolist(), ours[1][1].tolist())
        assert {name: np.stack(weeks).tolist() for name, weeks in channels.items()} == {
            name: np.stack(weeks).tolist() for name, weeks in ours[1][2].items()
        }


def outcome(call: Any) -> str:
    try:
        call()
    except ValueError:
        return "refused"
    return "read"


@pytest.mark.parametrize("pure", [False, True])
def test_a_row_that_is_cut_short_is_refused(pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pure:
        monkeypatch.setattr("features.serving.ROWS", None)
    row = next(row for row in rows_of(3, 2) if isinstance(row, StoredRow))
    by, packed = row._serving, row._packed
    for length in {*range(0, len(packed), 7), len(packed) - 1}:
        short = packed[:length]
        with pytest.raises(ValueError):
            by.liked(short, NOW)
        if length < row._serving._size:
            with pytest.raises(ValueError):
                by.hours(short, NOW)
        if not pure and ROWS is not None:
            changed = StoredRow.of("c0", NOW, row.vector, short, by)
            with pytest.raises(ValueError):
                decoded([row, changed], CATEGORIES, CHANNELS)


@compiled
@settings(max_examples=60, deadline=None)
@given(place=st.integers(0, 1500), byte=st.integers(0, 255), seed=st.integers(0, 3))
def test_a_byte_that_is_wrong_is_read_or_refused(place: int, byte: int, seed: int) -> None:
    """Never a read out of bounds, which the sanitizer of a build made for it would tell."""
    row = next(row for row in rows_of(seed, 2) if isinstance(row, StoredRow))
    packed = bytearray(row._packed)
    packed[place % len(packed)] = byte
    changed = StoredRow.of("c0", NOW, row.vector, bytes(packed), row._serving)
    told = [
        outcome(lambda: decoded([changed], CATEGORIES, CHANNELS)),
        outcome(lambda: row._serving.liked(bytes(packed), NOW)),
        outcome(lambda: row._serving.hours(bytes(packed), NOW)),
        outcome(lambda: kept(changed)),
        outcome(lambda: weeks_together([changed, row], CHANNELS, 0.3, 0.25)),
    ]
    assert set(told) <= {"read", "refused"}
    if ROWS is not None and row._serving._whole([bytes(packed)])[0]:
        assert set(told) == {"read"}
        assert row._serving._is_whole(bytes(packed))


@pytest.mark.parametrize("pure", [False, True])
@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row[:-1],
        lambda row: row[:-1] + b" ",
        lambda row: row[:-2] + b"\xff]",
        lambda row: row[:1130],
        lambda row: row[:24] + b"\xff" * 24 + row[48:],
        lambda row: row + b"]",
    ],
)
def test_a_damaged_row_is_made_anew_from_the_state(damage: Any, pure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if pure:
        monkeypatch.setattr("features.serving.ROWS", None)
        monkeypatch.setattr("features.many_rows.ROWS", None)
    store = MemoryRows()
    online = OnlineFeatures(store)
    online.apply([{
        "message_id": "1", "type": "track", "event": "Order Completed", "timestamp": NOW, "received_at": NOW,
        "customer_id": "ann", "products": [{"category": "tea"}], "properties": "{}",
    }])  # fmt: skip
    later = NOW + timedelta(minutes=1)
    whole = online.read(["ann"], later)[0]
    assert list(online.stale(later)) == []
    store.change(["\x1fsann"], lambda rows: [damage(rows[0])])
    assert list(online.stale(later)) == ["ann"]
    row = online.read(["ann"], later)[0]
    assert row is not None
    assert whole is not None
    assert (row.affinity, row.views, row.order_hours.tolist()) == (whole.affinity, {}, whole.order_hours.tolist())
    assert online.refresh(["ann"], later) == 1
    assert list(online.stale(later)) == []


@compiled
def test_arrays_that_do_not_fit_are_refused() -> None:
    row = next(row for row in rows_of(3, 2) if isinstance(row, StoredRow))
    names, one, none = ROWS.Names([b'"tea"']), np.zeros(1, np.int64), np.zeros(0)
    with pytest.raises(ValueError, match="an array of"):
        row._serving.decode([row._packed], names, one, one, one, none, none, none)
    with pytest.raises(ValueError, match="an array of 168"):
        row._serving.weeks([row._packed], 0.3, 0.25, one, one, none, none, none, none)
    with pytest.raises(TypeError):
        row._serving.decode([row._packed], object(), one, one, one, none, none, none)
    with pytest.raises(ValueError, match="no JSON string"):
        ROWS.Names([b'"tea'])
    assert decoded([], CATEGORIES, CHANNELS) is None


def test_a_week_is_added_up_as_numpy_does() -> None:
    weeks = np.random.default_rng(0).random((7, 168)) * 10.0 ** np.arange(-3, 4)[:, None]
    assert week_totals(weeks).tolist() == weeks.sum(axis=1).tolist()

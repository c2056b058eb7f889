"""What is served is what was learnt from: online rows equal the batch, to the last bit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features import facts as facts_module
from features import numbers as numbers_module
from features import products as products_module
from features import rows as rows_module
from features import state as state_module
from features.build import compute, hours, interest
from features.catalogue import FEATURE_NAMES
from features.currencies import Currencies
from features.declare import DAY
from features.facts import microseconds
from features.products import products
from features.rows import CustomerRow, OnlineFeatures, feature_matrix
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


def assert_same(events: list[dict[str, Any]], online: OnlineFeatures, *times: datetime) -> None:
    asked = [(customer, time) for time in times for customer in CUSTOMERS]
    cuts = pl.DataFrame(asked, schema={"customer_id": pl.String, "as_of": pl.Datetime("us", "UTC")}, orient="row")
    batch = compute(frame(events), cuts).iter_rows(named=True)
    categories, weeks = interest(frame(events), cuts), hours(frame(events), cuts)
    bought = products(frame(events), cuts).each()
    for time in times:
        rows = online.read(CUSTOMERS, time)
        for row, vector in zip(rows, feature_matrix(rows, FEATURE_NAMES), strict=True):
            told, mine_bought = next(batch), next(bought)
            heard = any(e["customer_id"] == told["customer_id"] for e in events)
            assert (row is not None) == heard
            if row is not None:
                assert_values(row, told)
                assert vector.tobytes() == feature_matrix([row], FEATURE_NAMES)[0].tobytes()
                mine = (pl.col("customer_id") == row.customer_id) & (pl.col("as_of") == time)
                assert_affinity(row, categories.filter(mine))
                assert_hours(row, weeks.filter(mine))
                assert row.products == mine_bought
                assert row.views == viewed(events, row.customer_id, time)


def viewed(events: list[dict[str, Any]], customer: str, time: datetime) -> dict[str, int]:
    """Looks at products by category in 365 days, counted one by one."""
    first = microseconds(time - timedelta(days=365)) // DAY * DAY
    told: dict[str, dict[str, Any]] = {}
    for one in sorted(events, key=lambda e: (e["received_at"], e["timestamp"])):
        told.setdefault(one["message_id"], one)
    seen = [
        category
        for one in told.values()
        if one["customer_id"] == customer and one["type"] == "track" and one["event"] == "Product Viewed"
        if microseconds(one["timestamp"]) >= first and one["timestamp"] < time and one["received_at"] <= time
        for category in {line["category"] for line in one["products"] or ()} - {None}
    ]
    return dict(Counter(seen))


def assert_values(row: CustomerRow, told: dict[str, Any]) -> None:
    wrong = {
        name: (row.values[name], told[name])
        for name in FEATURE_NAMES
        if np.float64(row.values[name]).tobytes() != np.float64(told[name]).tobytes()
        and not (np.isnan(row.values[name]) and np.isnan(told[name]))
    }
    assert not wrong


def assert_affinity(row: CustomerRow, told: pl.DataFrame) -> None:
    bought = told.filter(~pl.col("days_since_last").is_nan())
    expected = {
        c: (a, b, d)
        for c, a, b, d in bought.select("category", "orders_90d", "orders_365d", "days_since_last").iter_rows()
    }
    assert dict(row.affinity) == expected


def assert_hours(row: CustomerRow, told: pl.DataFrame) -> None:
    found = [("orders", None, h, n) for h, n in enumerate(row.order_hours.tolist()) if n]
    found += [("visits", None, h, n) for h, n in enumerate(row.visit_hours.tolist()) if n]
    for channel, told_of in row.response_hours.items():
        for kind in ("sends", "clicks", "opens"):
            found += [(kind, channel, h, n) for h, n in enumerate(getattr(told_of, kind).tolist()) if n]
    assert sorted(found, key=str) == sorted(told.select("kind", "channel", "hour", "count").iter_rows(), key=str)


@pytest.fixture(params=[0, 96], ids=["folds-at-once", "folds-when-full"])
def fold_size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(rows_module, "YOUNG", request.param)
    monkeypatch.setattr(state_module, "CROWD", 10_000)
    for module in (facts_module, numbers_module):
        monkeypatch.setattr(module, "CURRENCIES", Currencies("USD", {"EUR": Decimal("1.0837")}))
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


def test_of_too_many_products_the_same_ones_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(products_module, "PRODUCTS", 2)
    monkeypatch.setattr(rows_module, "YOUNG", 0)
    monkeypatch.setattr(state_module, "CROWD", 10_000)
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


class GuardedRows(MemoryRows):
    """Says which customers' states were read."""

    def __init__(self) -> None:
        super().__init__()
        self.states_read: set[str] = set()

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        self.states_read.update(key for key in keys if key in CUSTOMERS)
        return super().read(keys)

    def span(self, customer: str) -> tuple[int, int] | None:
        """From when until when the customer's serving row holds."""
        row = self._rows.get(f"\x1fs{customer}")
        if row is None:
            return None
        since, until = np.frombuffer(row, np.int64, 2, 8).tolist()
        return since, until


class History:
    """What a service does to customers' rows, and the events that are left of it."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.coming, self.events = events, list[dict[str, Any]]()
        self.store = GuardedRows()
        self.online = OnlineFeatures(self.store)

    def now(self) -> datetime:
        return last_receipt(self.events) + timedelta(microseconds=1)

    def do(self, what: str, number: int) -> None:
        match what:
            case "apply":
                some, self.coming = self.coming[:number], self.coming[number:]
                self.online.apply(some)
                self.events += some
            case "repeat":
                self.online.apply(self.events[-number:])
            case "load":
                self.online.load(frame(self.events), self.now() + timedelta(hours=number) if number % 2 else None)
            case "refresh":
                time = self.now() + timedelta(hours=number - 2)
                self.online.refresh(list(self.online.stale(time)), time)
            case "merge":
                self.events = [{**e, "customer_id": "ann"} for e in self.events]
                self.coming = [{**e, "customer_id": "ann"} for e in self.coming]
                self.online.rebuild_all(["bob", "ann"], frame(self.events))
            case "erase":
                self.events = [e for e in self.events if e["customer_id"] != "bob"]
                self.online.erase("bob")
            case "correct":
                self.events = [e for e in self.events if int(e["message_id"][1:]) % 5 != number % 5]
                self.online.rebuild_all(CUSTOMERS, frame(self.events))


steps = st.tuples(
    st.sampled_from(["apply"] * 4 + ["repeat", "load", "refresh", "refresh", "merge", "erase", "correct"]),
    st.integers(1, 20),
)


@settings(max_examples=60, deadline=None)
@given(events=streams(), steps=st.lists(steps, min_size=1, max_size=8), inside=st.floats(0, 1))
def check_served(events: list[dict[str, Any]], steps: list[tuple[str, int]], inside: float) -> None:
    """Just before, from, within, at the end of and after the time that a serving row holds, whatever came before."""
    history = History(events)
    for what, number in steps:
        history.do(what, number)
    oldest = microseconds(history.now()) - 3_600_000_000
    spans = {customer: span for customer in CUSTOMERS if (span := history.store.span(customer))}
    assert spans.keys() == {e["customer_id"] for e in history.events}
    times = set()
    for since, until in spans.values():
        end = min(until, since + 800 * 86_400_000_000)
        times |= {since - 1, since, since + round((end - since - 1) * inside), end - 1, end, end + 1}
    moments = [datetime.fromtimestamp(0, UTC) + timedelta(microseconds=time) for time in times if time >= oldest]
    assert_same(history.events, history.online, *moments)
    for customer, (since, until) in spans.items():
        for moment in moments:
            history.store.states_read.clear()
            history.online.read([customer], moment)
            held = since <= microseconds(moment) < until
            assert history.store.states_read == (set() if held else {customer})


def test_a_served_vector_reads_as_the_batch_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rows_module, "YOUNG", 20)
    monkeypatch.setattr(state_module, "CROWD", 10_000)
    check_served()

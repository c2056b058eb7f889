"""Online features: what happens besides equal numbers (those: test_no_skew.py)."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from features.catalogue import CATALOGUE, FEATURES
from features.declare import DeclarationError, Events, Feature
from features.feature_set import FeatureSet
from features.plan import CATEGORIES, plan_of
from features.rows import OnlineFeatures, open_online
from tests.fakes.event_streams import frame
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def order(name: str, hours: float = 0, customer: str = "ann", **more: Any) -> dict[str, Any]:
    time = NOW - timedelta(hours=hours)
    told = {
        "message_id": name, "type": "track", "event": "Order Completed", "customer_id": customer, "timestamp": time,
        "received_at": time, "revenue_cents": 250, "properties": "{}",
    }  # fmt: skip
    return {**told, **more}


def values(online: OnlineFeatures, customer: str = "ann", as_of: datetime = NOW + timedelta(seconds=1)) -> Any:
    row = online.read([customer], as_of)[0]
    assert row is not None
    return row.values


def test_nobody_knows_a_stranger() -> None:
    assert OnlineFeatures(MemoryRows()).read(["stranger"], NOW) == [None]
    assert OnlineFeatures(MemoryRows()).read([], NOW) == []


def test_rows_come_in_the_order_asked(tmp_path: Path) -> None:
    online = open_online(str(tmp_path / "online.db"))
    online.apply([order("1", customer="bob"), order("2", customer="ann"), order("3", customer="ann")])
    rows = online.read(["ann", "nobody", "bob", "ann"], NOW + timedelta(seconds=1))
    assert [row and (row.customer_id, row.values["orders_total"]) for row in rows] == [
        ("ann", 2), None, ("bob", 1), ("ann", 2)
    ]  # fmt: skip
    online.close()


def test_an_event_counts_once_though_it_comes_three_times(tmp_path: Path) -> None:
    path = str(tmp_path / "online.db")
    for _ in range(3):  # as after a crash: the same inbox rows again, by a new process
        online = open_online(path)
        online.apply([order("1"), order("2", 5), order("1")])
        online.close()
    assert values(open_online(path))["revenue_cents_7d"] == 500


def test_what_is_not_yet_known_does_not_count() -> None:
    online = OnlineFeatures(MemoryRows())
    online.apply([order("1"), order("2", hours=1, received_at=NOW + timedelta(minutes=20))])
    assert values(online, as_of=NOW + timedelta(minutes=10))["orders_total"] == 1
    assert values(online, as_of=NOW + timedelta(minutes=20))["orders_total"] == 2


def test_a_load_does_not_overwrite_a_newer_row() -> None:
    online = OnlineFeatures(MemoryRows())
    online.apply([order("1", 5), order("2", 0), order("3", 9, "bob")])
    assert online.load(frame([order("1", 5), order("3", 9, "bob"), order("4", 1, "bob")])) == 1
    assert values(online)["orders_total"] == 2
    assert values(online, "bob")["orders_total"] == 2


def test_a_correction_rebuilds_one_customer() -> None:
    online = OnlineFeatures(MemoryRows())
    online.apply([order("1", 5), order("2", 0), order("3", customer="bob")])
    online.rebuild_all(["ann"], frame([order("1", 5)]))
    assert values(online)["orders_total"] == 1
    assert values(online, "bob")["orders_total"] == 1
    online.rebuild_all(["ann"], frame([]))
    assert online.read(["ann"], NOW) == [None]


def test_an_anonymous_history_joins_its_customer() -> None:
    online = OnlineFeatures(MemoryRows())
    visits = [order("1", 5, "anon-7"), order("2", 4, "anon-7")]
    online.apply([*visits, order("3")])
    online.rebuild_all(["anon-7", "ann"], frame([{**one, "customer_id": "ann"} for one in [*visits, order("3")]]))
    assert online.read(["anon-7"], NOW) == [None]
    assert values(online)["orders_total"] == 3
    online.apply([order("1", 5, "ann"), order("4", 0, "ann")])  # the moved event again: still once
    assert values(online)["orders_total"] == 4


def test_an_erased_customer_is_a_stranger() -> None:
    online = OnlineFeatures(MemoryRows())
    online.apply([order("1"), order("2", customer="bob")])
    online.erase("ann")
    assert [row is None for row in online.read(["ann", "bob"], NOW)] == [True, False]


def test_rows_of_an_older_layout_wait_for_a_rebuild() -> None:
    store = MemoryRows()
    OnlineFeatures(store).apply([order("1", 3), order("2", 2, customer="bob")])
    more = FeatureSet(
        (
            *FEATURES,
            Feature("carts_14d", "count", "", "", "", Events(("Cart Sold",)), window_days=14),
            Feature("orders_14d", "count", "", "", "", Events(("ordered",)), window_days=14),
        )
    )
    online = OnlineFeatures(store, more)
    assert online.read(["ann"], NOW) == [None]
    online.apply([order("9")])
    assert sorted(online.outdated()) == ["ann", "bob"]
    online.rebuild_all(["ann"], frame([order("1", 3), order("9", 0), order("5", 1, event="Cart Sold")]))
    assert values(online)["orders_14d"] == 2
    assert values(online)["carts_14d"] == 1
    assert list(online.outdated()) == ["bob"]


def test_a_name_of_any_length_and_script_is_a_customer() -> None:
    online = OnlineFeatures(MemoryRows())
    names = ["ก" * 10_000, "'; DROP TABLE", "\N{PILE OF POO}"]
    online.apply([order(f"m{i}", customer=name) for i, name in enumerate(names)])
    assert all(online.read(names, NOW))


@pytest.mark.parametrize("kind", ["sqlite", "postgres", "redis"])
def test_every_store_serves(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = str(tmp_path / "o.db") if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
    online = open_online(url)
    online.apply([order("1"), order("2", 30 * 24)])
    assert values(online)["orders_90d"] == 2
    online.erase("ann")
    online.close()


def test_serving_imports_nothing_heavy() -> None:
    code = "import sys, features.rows; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"pandas", "feast", "mlflow", "pyarrow", "torch", "sklearn", "redis", "psycopg"} & set(loaded)


def quantiles(count: int) -> FeatureSet:
    """The catalogue with so many quantiles of events of its own, each of which takes many keys."""
    own = (
        Feature(f"q{n}", "quantile", "", "", "", Events((f"Bid {n}",)), "quantity", window_days=30)
        for n in range(count)
    )
    return FeatureSet((*FEATURES, *own))


def test_the_catalogue_fits_its_keys() -> None:
    assert plan_of(CATALOGUE).categories == CATEGORIES


def test_features_that_no_row_has_room_for_are_refused() -> None:
    with pytest.raises(DeclarationError, match=r"these features keep 6\d,\d+ sums of a customer, and 60,536 fit"):
        plan_of(quantiles(370))


@pytest.mark.parametrize("at_once", [True, False])
def test_what_many_features_leave_of_a_row_is_for_categories(at_once: bool) -> None:
    features = quantiles(350)
    most = plan_of(features).categories
    online = OnlineFeatures(MemoryRows(), features)
    lines = [{"category": f"c{n:05}", "product_id": "p"} for n in range(most + 10)]
    bids = order("2", event="Bid 349", products=[{"quantity": 7}])
    told = [order("1", 48, products=lines), bids]
    if at_once:
        online.load(frame(told))
    else:
        online.apply(told)
    assert (values(online)["categories_90d"], round(values(online)["q349"])) == (most, 7)

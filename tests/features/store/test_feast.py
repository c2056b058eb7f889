"""Feast's stock API over our stores."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.file_source import SavedDatasetFileStorage
from feast.types import Int64, String

from features.build import compute
from features.catalogue import FEATURE_NAMES
from features.event_log import EventLog
from features.snapshots import build_snapshots
from features.store import offline
from features.store.registry import apply, feature_store
from features.tables import UTC_TIME
from tests.fakes.event_streams import frame

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
JULY = datetime(2026, 7, 1, tzinfo=UTC)


def orders() -> list[dict[str, Any]]:
    return [
        {
            "message_id": f"{c}-{i}", "type": "track", "event": "Order Completed", "customer_id": f"c{c}",
            "timestamp": JUNE - timedelta(days=20) + timedelta(days=7 * i, hours=c),
            "received_at": JUNE - timedelta(days=20) + timedelta(days=7 * i, hours=c),
            "revenue_cents": 100 * c, "properties": "{}",
        }
        for c in range(12) for i in range(c % 4 + 1)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    log = EventLog(folder / "events")
    log.append(frame(orders()), "a")
    build_snapshots(log, [JUNE, JULY], folder / "features")
    return folder


@pytest.fixture(scope="module")
def store(home: Path) -> FeatureStore:
    return apply(home, versions={"churn-1": ("orders_90d", "days_since_last_order")})


def entities() -> pd.DataFrame:
    rows = [("c3", JULY), ("c1", JUNE), ("nobody", JULY), ("c3", JUNE - timedelta(days=1)), ("c1", JUNE), ("c2", None)]
    frame = pd.DataFrame(rows, columns=["customer_id", "event_timestamp"])
    return frame.assign(event_timestamp=pd.to_datetime(frame["event_timestamp"], utc=True), label=range(6))


def test_training_rows_keep_their_number_and_order(home: Path, store: FeatureStore) -> None:
    service = store.get_feature_service("all_features")
    told = store.get_historical_features(entity_df=entities(), features=service).to_df()
    assert told["customer_id"].tolist() == ["c3", "c1", "nobody", "c3", "c1", "c2"]
    assert told["label"].tolist() == list(range(6))
    assert set(FEATURE_NAMES) <= set(told.columns)
    cuts = pl.DataFrame(
        [("c3", JULY), ("c1", JUNE)], schema={"customer_id": pl.String, "as_of": UTC_TIME}, orient="row"
    )
    expected = compute(frame(orders()), cuts)
    assert told.loc[[0, 1], "orders_90d"].tolist() == expected["orders_90d"].to_list()
    assert told.loc[[0, 1], "days_since_last_order"].tolist() == expected["days_since_last_order"].to_list()
    assert told.loc[[2, 3, 5], "orders_90d"].isna().all()


def test_a_set_is_the_same_however_few_columns_are_held_at_a_time(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = store.get_feature_service("all_features")
    job = store.get_historical_features(entity_df=entities(), features=service)
    told = job.to_df()
    monkeypatch.setattr(offline, "COLUMNS_BYTES", 1)
    one_by_one = store.get_historical_features(entity_df=entities(), features=service).to_df()
    pd.testing.assert_frame_equal(one_by_one, told)
    pd.testing.assert_frame_equal(job.to_df(), told)
    assert job.to_arrow().num_rows == 6
    told.loc[0, "orders_90d"] = -1.0  # belongs to the caller


def test_a_source_that_changes_while_it_is_read_is_read_again(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, names = entities(), ["customer_features:orders_90d"]
    told = store.get_historical_features(entity_df=asked, features=names).to_df()
    stamps = iter([1, 2, 3, 3])
    monkeypatch.setattr(offline, "_stamps", lambda *_: next(stamps))
    pd.testing.assert_frame_equal(store.get_historical_features(entity_df=asked, features=names).to_df(), told)
    assert next(stamps, None) is None
    endless = iter(range(100))
    monkeypatch.setattr(offline, "_stamps", lambda *_: next(endless))
    with pytest.raises(RuntimeError, match="try again later"):
        store.get_historical_features(entity_df=asked, features=names).to_df()


def test_full_names_and_a_model_version_service(store: FeatureStore) -> None:
    service = store.get_feature_service("churn-1")
    told = store.get_historical_features(entity_df=entities(), features=service, full_feature_names=True).to_df()
    assert set(told.columns) == {
        "customer_id", "event_timestamp", "label",
        "customer_features__orders_90d", "customer_features__days_since_last_order",
    }  # fmt: skip


def test_a_row_answers_up_to_its_ttl_and_not_a_microsecond_longer(store: FeatureStore) -> None:
    ttl = timedelta(days=35)
    asked = pd.DataFrame(
        {"customer_id": ["c1"] * 2, "event_timestamp": [JULY + ttl, JULY + ttl + timedelta(microseconds=1)]}
    )
    told = store.get_historical_features(entity_df=asked, features=["customer_features:orders_90d"]).to_df()
    assert told["orders_90d"].isna().tolist() == [False, True]


def test_materialized_values_are_served(store: FeatureStore) -> None:
    store.materialize(JUNE - timedelta(days=1), JUNE)
    rows = [{"customer_id": "c3"}, {"customer_id": "nobody"}, {"customer_id": "c1"}]
    names = ["customer_features:orders_90d", "customer_features:revenue_cents_90d"]
    told = store.get_online_features(features=names, entity_rows=rows).to_dict()
    assert told["customer_id"] == ["c3", "nobody", "c1"]
    assert told["orders_90d"] == [3.0, None, 2.0]
    store.materialize(JUNE - timedelta(days=1), JULY)
    assert store.get_online_features(features=names, entity_rows=rows).to_dict()["orders_90d"] == [4.0, None, 2.0]
    store.materialize(JUNE - timedelta(days=1), JUNE)  # older: changes nothing
    assert store.get_online_features(features=names, entity_rows=rows).to_dict()["orders_90d"] == [4.0, None, 2.0]


def test_a_pushed_row_is_served_unless_it_is_older(store: FeatureStore) -> None:
    row = {name: [7.0] for name in FEATURE_NAMES}
    for as_of, value in ((JULY + timedelta(days=2), 7.0), (JULY + timedelta(days=1), 8.0)):
        pushed = pd.DataFrame(
            {**row, "orders_90d": [value], "customer_id": ["c9"], "as_of": [as_of], "created": [as_of]}
        )
        store.write_to_online_store("customer_features", pushed)
    told = store.get_online_features(features=["customer_features:orders_90d"], entity_rows=[{"customer_id": "c9"}])
    assert told.to_dict()["orders_90d"] == [7.0]


def test_the_folder_opens_with_the_stock_api_and_applies_again(home: Path, store: FeatureStore) -> None:
    opened = FeatureStore(repo_path=str(home / "feast"))
    assert [view.name for view in opened.list_feature_views()] == ["customer_features"]
    assert {entity.name for entity in opened.list_entities()} >= {"customer", "offer"}
    assert apply(home).get_feature_service("churn-1").name == "churn-1"


def test_a_dataset_is_saved(home: Path, store: FeatureStore) -> None:
    job = store.get_historical_features(entity_df=entities(), features=["customer_features:orders_90d"])
    path = home / "saved.parquet"
    job.persist(SavedDatasetFileStorage(path=str(path)))
    assert pl.read_parquet(path).height == 6


def test_all_entities_as_of_an_end(store: FeatureStore) -> None:
    told = store.get_historical_features(
        features=["customer_features:orders_90d"], start_date=JUNE, end_date=JULY
    ).to_df()
    assert sorted(told["customer_id"]) == sorted(f"c{i}" for i in range(12))


def test_other_types_and_late_rows(tmp_path: Path) -> None:
    """A user's own view: integers and texts, rows that became known late, a null feature."""
    path = tmp_path / "own.parquet"
    rows = [
        ("a", 1, JUNE, JUNE, 1, "one"),
        ("a", 1, JUNE, JUNE + timedelta(days=9), 2, None),  # a correction that came later
        ("b", 1, JUNE, JUNE + timedelta(days=3), 3, "three"),
    ]
    schema = {
        "shop": pl.String,
        "till": pl.Int64,
        "at": UTC_TIME,
        "made": UTC_TIME,
        "sales": pl.Int64,
        "name": pl.String,
    }
    pl.DataFrame(rows, schema=schema, orient="row").write_parquet(path)
    shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
    till = Entity(name="till", join_keys=["till"], value_type=ValueType.INT64)
    source = FileSource(
        path=str(path), file_format=ParquetFormat(), timestamp_field="at", created_timestamp_column="made"
    )
    view = FeatureView(
        name="shops",
        entities=[shop, till],
        ttl=timedelta(days=30),
        schema=[Field(name="sales", dtype=Int64), Field(name="name", dtype=String)],
        source=source,
    )
    store = feature_store(tmp_path)
    store.apply([shop, till, view])
    days = [0, 3, 9]
    asked = pd.DataFrame(
        [(name, 1, JUNE + timedelta(days=d)) for name in "ab" for d in days],
        columns=["shop", "till", "event_timestamp"],
    )
    told = store.get_historical_features(entity_df=asked, features=["shops:sales", "shops:name"]).to_df()
    assert told["sales"].fillna(0).tolist() == [1, 1, 2, 0, 3, 3]
    store.materialize(JUNE - timedelta(days=1), JUNE + timedelta(days=1))
    served = store.get_online_features(
        features=["shops:sales", "shops:name"], entity_rows=[{"shop": "a", "till": 1}, {"shop": "b", "till": 1}]
    ).to_dict()
    assert (served["sales"], served["name"]) == ([2, 3], [None, "three"])
    store.teardown()

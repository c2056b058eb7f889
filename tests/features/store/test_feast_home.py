"""The feature repository in a home: every view and service, Feast's own commands, passwords, erasure."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from click.testing import CliRunner
from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.cli.cli import cli
from feast.data_format import ParquetFormat
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.types import Float64

from features.interests import INTEREST_NAMES
from features.offer_features import OFFERS
from features.row_stores import open_store
from features.store import registry
from features.store.online import URL_VARIABLE
from features.store.registry import apply, feature_store
from features.store.vectors import entity_of, erase_customers, row_key
from features.variables import variables

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
Feast = Callable[..., str]


def write(folder: Path, key: str, ids: list[str], columns: dict[str, float]) -> None:
    made = folder / "as_of=x"
    made.mkdir(parents=True)
    frame = pl.DataFrame({key: ids}).with_columns(
        as_of=pl.lit(JUNE), created=pl.lit(JUNE), **{name: pl.lit(value) for name, value in columns.items()}
    )
    frame.write_parquet(made / "0.parquet")


@pytest.fixture
def home(tmp_path: Path) -> Path:
    from features.catalogue import FEATURE_NAMES

    write(tmp_path / "features", "customer_id", ["ann", "bob"], dict.fromkeys(FEATURE_NAMES, 2.0))
    write(tmp_path / "interests", "customer_id", ["ann"], dict.fromkeys(INTEREST_NAMES, 0.5))
    write(tmp_path / "offer_features", "offer_id", ["tea", "wine"], dict.fromkeys(OFFERS.names, 3.0))
    served = {"churn": ["orders_90d", "interest_text_0"], "next-offer": ["orders_30d", "offer_price_cents"]}
    for name in (*served, "send-time"):
        (tmp_path / "served" / name / "5").mkdir(parents=True)
        golden = {key: [1.0] for key in [*served.get(name, ()), "text_similarity", "golden_expected"]}
        pl.DataFrame(golden).write_parquet(tmp_path / "served" / name / "5" / "golden.parquet")
    return tmp_path


def asked(**keys: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {**keys, "event_timestamp": [pd.Timestamp(JUNE + timedelta(days=1))] * len(next(iter(keys.values())))}
    )


def test_customers_and_offers_in_the_past_and_now(home: Path) -> None:
    store = apply(home)
    assert {view.name for view in store.list_feature_views()} == {
        "customer_features", "customer_interests", "offer_features",
    }  # fmt: skip
    both = asked(customer_id=["ann", "bob", "ann"], offer_id=["tea", "wine", "none"])
    told = store.get_historical_features(entity_df=both, features=store.get_feature_service("next-offer-5")).to_df()
    assert told["orders_30d"].tolist() == [2.0, 2.0, 2.0]
    assert told["offer_price_cents"].fillna(-1).tolist() == [3.0, 3.0, -1.0]
    offers = store.get_historical_features(
        entity_df=asked(offer_id=["wine"]), features=store.get_feature_service("all_offer_features")
    ).to_df()
    assert set(OFFERS.names) <= set(offers.columns)
    store.materialize(JUNE - timedelta(days=1), JUNE + timedelta(days=1))
    online = store.get_online_features(
        features=["offer_features:offer_click_rate_90d"], entity_rows=[{"offer_id": "tea"}, {"offer_id": "none"}]
    ).to_dict()
    assert online["offer_click_rate_90d"] == [3.0, None]
    service = store.get_feature_service("churn-5")
    told_now = store.get_online_features(features=service, entity_rows=[{"customer_id": "ann"}]).to_dict()
    assert (told_now["orders_90d"], told_now["interest_text_0"]) == ([2.0], [0.5])


def test_a_version_that_takes_no_declared_feature_has_no_service(home: Path) -> None:
    names = {service.name for service in apply(home).list_feature_services()}
    assert names == {"all_features", "all_offer_features", "churn-5", "next-offer-5"}


def test_a_home_without_offers_has_the_customers(home: Path) -> None:
    shutil.rmtree(home / "offer_features")
    assert {view.name for view in apply(home).list_feature_views()} == {"customer_features", "customer_interests"}


@pytest.fixture
def feast(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Feast]:
    """Feast's own command line in the home's folder."""
    feature_store(home)
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name, value in variables().items():  # the folder's own file sets them
        monkeypatch.setenv(name, value)

    def run(*words: str, status: int = 0) -> str:
        sys.modules.pop("definitions", None)
        monkeypatch.chdir(home)
        result = CliRunner().invoke(cli, ["-c", str(home / "feast"), *words])
        assert result.exit_code == status, result.output + repr(result.exception)
        return result.output

    yield run
    sys.modules.pop("definitions", None)


def test_feasts_commands(feast: Feast, home: Path) -> None:
    assert "customer_features" in feast("apply")
    assert feast("feature-views", "list").count("customer") >= 2
    assert "offer_features" in feast("feature-views", "list")
    assert "next-offer-5" in feast("feature-services", "list")
    assert "offer_id" in feast("entities", "describe", "offer")
    assert "offer_snapshots" in feast("data-sources", "list")
    feast("materialize", "2026-05-30T00:00:00", "2026-06-02T00:00:00", "--views", "offer_features")
    feast("materialize", "2026-05-30T00:00:00", "2026-06-02T00:00:00")
    newer = pl.read_parquet(home / "features" / "as_of=x" / "0.parquet")
    newer = newer.with_columns(as_of=pl.lit(JUNE + timedelta(days=9)), orders_90d=7.0).filter(customer_id="bob")
    newer.write_parquet(home / "features" / "as_of=x" / "1.parquet")
    feast("materialize-incremental", "2026-06-20T00:00:00")
    opened = FeatureStore(repo_path=str(home / "feast"))
    names = ["customer_features:orders_90d"]
    rows = [{"customer_id": "bob"}, {"customer_id": "ann"}]
    assert opened.get_online_features(features=names, entity_rows=rows).to_dict()["orders_90d"] == [7.0, 2.0]
    shutil.rmtree(home / "served" / "churn")  # it no longer serves
    feast("apply")
    assert "churn-5" not in feast("feature-services", "list")
    feast("teardown")
    assert list(open_store(str(home / "online.db"), "vectors").keys("00000000")) == []


def test_feasts_commands_in_the_folder_of_the_code(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`features/store` is a repository, too, over the home that a variable names."""
    repository = Path(registry.__file__).parent
    monkeypatch.setenv("OPPORTUNE_HOME", str(home))
    monkeypatch.chdir(repository)
    monkeypatch.setattr(sys, "path", [*sys.path])
    known = set(sys.modules)
    try:
        for words, told in (
            (["apply"], "customer_features"),
            (["feature-services", "list"], "next-offer-5"),
            (["materialize", "2026-05-30T00:00:00", "2026-06-02T00:00:00"], "customer_features"),
        ):
            result = CliRunner().invoke(cli, words)
            assert result.exit_code == 0, result.output + repr(result.exception)
            assert told in result.output
    finally:
        for name in set(sys.modules) - known:
            if "feast_repository" in name:
                del sys.modules[name]
    rows = [{"customer_id": "ann"}]
    told = feature_store(home).get_online_features(features=["customer_features:orders_90d"], entity_rows=rows)
    assert told.to_dict()["orders_90d"] == [2.0]


def test_no_file_holds_the_password(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = "redis://:hunter2@store.invalid:6379/1"
    monkeypatch.delenv(URL_VARIABLE, raising=False)
    monkeypatch.delenv("OPPORTUNE_DATABASE_URL", raising=False)
    store = apply_without_writing(home, url)
    assert store.config.online_store.url == url
    assert not [path for path in home.rglob("*") if path.is_file() and b"hunter2" in path.read_bytes()]
    opened = FeatureStore(repo_path=str(home / "feast"))

    def orders(store: FeatureStore) -> Any:
        rows = [{"customer_id": "bob"}]
        return store.get_online_features(["customer_features:orders_90d"], rows).to_dict()["orders_90d"]

    with pytest.raises(ValueError, match=f"export {URL_VARIABLE}"):
        orders(opened)
    monkeypatch.setenv("OPPORTUNE_DATABASE_URL", str(home / "online.db"))
    assert orders(opened) == [None]
    monkeypatch.setenv(URL_VARIABLE, str(home / "other.db"))
    again = FeatureStore(repo_path=str(home / "feast"))
    again.materialize(JUNE - timedelta(days=1), JUNE)
    assert orders(again) == [2.0]


def apply_without_writing(home: Path, url: str) -> FeatureStore:
    """Registers while the online store is away: only the file is of interest."""
    apply(home)
    return feature_store(home, url)


def key_of(**entities: str) -> bytes:
    values = [Value(string_val=value) for value in entities.values()]
    return bytes(serialize_entity_key(EntityKey(join_keys=list(entities), entity_values=values), 3))


@pytest.mark.parametrize("entities", [{"customer_id": "กข", "offer_id": "tea"}, {"customer_id": ""}, {}])
def test_keys_are_read_as_feast_writes_them(entities: dict[str, str]) -> None:
    assert entity_of(row_key("p", key_of(**entities))) == entities


@pytest.mark.parametrize("key", ["layout:00ff", "p:zz", "p:", "p:0100000002000000ff000000"])
def test_other_keys_name_nobody(key: str) -> None:
    assert entity_of(key) == {}


def test_erasing_a_customer_takes_what_was_materialized(home: Path) -> None:
    store = apply(home)
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    offer = Entity(name="offer", join_keys=["offer_id"], value_type=ValueType.STRING)
    pairs = pl.DataFrame(
        {"customer_id": ["ann", "bob", "tea"], "offer_id": ["tea", "ann", "wine"], "as_of": [JUNE] * 3}
    )
    pairs.with_columns(fit=1.0).write_parquet(home / "pairs.parquet")
    source = FileSource(path=str(home / "pairs.parquet"), file_format=ParquetFormat(), timestamp_field="as_of")
    own = FeatureView(name="own", entities=[customer, offer], schema=[Field(name="fit", dtype=Float64)], source=source)
    store.apply([customer, offer, own])
    store.materialize(JUNE - timedelta(days=1), JUNE + timedelta(days=1))

    def told(**entity: str) -> Any:
        if "offer_id" in entity:
            return store.get_online_features(features=["own:fit"], entity_rows=[entity]).to_dict()["fit"][0]
        names = ["customer_features:orders_90d"]
        return store.get_online_features(features=names, entity_rows=[entity]).to_dict()["orders_90d"][0]

    assert (told(customer_id="ann"), told(customer_id="ann", offer_id="tea")) == (2.0, 1.0)
    rows = open_store(str(home / "online.db"), "vectors")
    assert erase_customers(rows, ["ann", "nobody"]) == 2
    assert (told(customer_id="ann"), told(customer_id="ann", offer_id="tea")) == (None, None)
    assert (told(customer_id="bob"), told(customer_id="bob", offer_id="ann")) == (2.0, 1.0)  # ann is an offer here
    assert np.isclose(told(customer_id="tea", offer_id="wine"), 1.0)
    rows.close()

"""Point-in-time sets through Feast's stock API: 60 features as of random times, from a table of many days."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from tests.bench.measured import LeftOut, Measured

if TYPE_CHECKING:
    import pandas as pd

FEATURES = [f"f{number}" for number in range(60)]
_DAY_US = 86_400_000_000


def make_sets(folder: Path, rows: int, snapshots: int) -> tuple[int, str]:
    """`asking-ROWS.parquet`, 24 rows a customer, and `table-ROWS.parquet`, the features of as many customers on so
    many days of a year."""
    rng, people = np.random.default_rng(2), max(rows // 24, 1)
    start = np.datetime64("2026-01-01", "us")
    days = start + (np.arange(snapshots) * 364 // max(snapshots - 1, 1)) * _DAY_US
    stamps = pl.Series(np.repeat(days, people)).dt.replace_time_zone("UTC")
    table = pl.DataFrame({name: rng.random(snapshots * people) for name in FEATURES}).with_columns(
        customer_id=pl.Series(np.tile(np.arange(people), snapshots)).cast(pl.String), as_of=stamps, created=stamps
    )
    table.write_parquet(folder / f"table-{rows}.parquet")
    asked = pl.Series(start + rng.integers(0, 364 * _DAY_US, rows)).dt.replace_time_zone("UTC")
    who = pl.Series(rng.integers(0, people, rows)).cast(pl.String)
    pl.DataFrame({"customer_id": who, "event_timestamp": asked}).write_parquet(folder / f"asking-{rows}.parquet")
    return table.height, f"{people:,} customers on {snapshots} days"


def through_feast(folder: Path, rows: int, offline: str, days: int | None) -> tuple[int, str]:
    """`get_historical_features(...).to_df()` over an offline store; `days` is the TTL of the view."""
    import pandas as pd
    from feast import Entity, FeatureStore, FeatureView, Field, FileSource, ValueType
    from feast.repo_config import RepoConfig
    from feast.types import Float64

    if offline == "duckdb":
        try:
            import ibis  # noqa: F401
        except ModuleNotFoundError:
            raise LeftOut("Feast's duckdb store needs ibis: pip install 'ibis-framework[duckdb]'") from None
    path = folder / f"table-{rows}.parquet"
    repo = folder / f"feast-{offline}-{rows}-{days}"
    repo.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "project": "bench", "provider": "local", "registry": str(repo / "registry.db"),
        "offline_store": {"type": offline}, "online_store": None, "entity_key_serialization_version": 3,
    }  # fmt: skip
    store = FeatureStore(config=RepoConfig(**settings))
    customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.STRING)
    view = FeatureView(
        name="v", entities=[customer], ttl=None if days is None else timedelta(days=days),
        schema=[Field(name=name, dtype=Float64) for name in FEATURES],
        source=FileSource(path=str(path), timestamp_field="as_of", created_timestamp_column="created"),
    )  # fmt: skip
    store.apply([customer, view])
    asked = pd.read_parquet(folder / f"asking-{rows}.parquet")
    wanted = [f"v:{name}" for name in FEATURES]
    with Measured():
        got = store.get_historical_features(entity_df=asked, features=wanted).to_df()
    return len(got), _sum(got)


def duckdb_as_of(folder: Path, rows: int) -> tuple[int, str]:
    """The same by SQL, without Feast, from the same file to the same pandas frame."""
    import duckdb

    path, asking = folder / f"table-{rows}.parquet", folder / f"asking-{rows}.parquet"
    with duckdb.connect() as connection, Measured():
        query = f"""SELECT l.*, {", ".join(FEATURES)} FROM '{asking}' l ASOF LEFT JOIN '{path}' r
                    ON l.customer_id = r.customer_id AND l.event_timestamp >= r.as_of"""
        got = connection.sql(query).df()
    return len(got), _sum(got)


def _sum(got: pd.DataFrame) -> str:
    """What answers that are equal agree in; a column at a time, so that it takes no memory to speak of."""
    return f"sum {sum(float(got[name].sum()) for name in FEATURES):.3f}"

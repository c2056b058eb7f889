"""Feast's offline store on Polars and Parquet: `features.store.offline.PolarsOfflineStore` in feature_store.yaml.

Against the stock file store it keeps every entity row and their order, takes the TTL's edge in, breaks ties by
the created time, and by default leaves out what was created after the entity row's time (`known_only`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import polars as pl
import pyarrow as pa
from feast.data_source import DataSource
from feast.errors import SavedDatasetLocationAlreadyExists
from feast.feature_logging import LoggingConfig, LoggingSource
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL, FeatureView
from feast.infra.offline_stores.file_source import (
    FileLoggingDestination,
    FileSource,
    SavedDatasetFileStorage,
)
from feast.infra.offline_stores.offline_store import OfflineStore, RetrievalJob, RetrievalMetadata
from feast.infra.registry.base_registry import BaseRegistry
from feast.on_demand_feature_view import OnDemandFeatureView
from feast.repo_config import FeastConfigBaseModel, RepoConfig
from feast.saved_dataset import SavedDatasetStorage, ValidationReference
from feast.utils import (
    _get_requested_feature_views_to_features_dict,
    _get_requested_on_demand_feature_views,
    compute_non_entity_date_range,
)
from xxhash import xxh3_64_hexdigest

from features.files import write_parquet
from features.store.as_of import AsOf, Ints, gather
from features.tables import UTC_TIME

ENTITY_TIME = "event_timestamp"
COLUMNS_BYTES = 96 * 1024 * 1024
"""About how much of a source is held beside its answers."""
_TRIES = 5


class PolarsOfflineStoreConfig(FeastConfigBaseModel):
    """Settings of the store in feature_store.yaml."""

    type: Literal["features.store.offline.PolarsOfflineStore"] = "features.store.offline.PolarsOfflineStore"
    known_only: bool = True
    """Rows created after the entity row's time do not answer, where the source has a created time."""


class PolarsRetrievalJob(RetrievalJob):
    """A query that runs when its result is asked for, once."""

    def __init__(
        self,
        query: Callable[[], pl.DataFrame],
        *,
        full_feature_names: bool = False,
        on_demand: Sequence[OnDemandFeatureView] = (),
        metadata: RetrievalMetadata | None = None,
        repo_path: Path | None = None,
    ) -> None:
        self._query = query
        self._result: pl.DataFrame | None = None
        self._full, self._on_demand, self._metadata = full_feature_names, list(on_demand), metadata
        self._repo_path = repo_path

    def to_polars(self) -> pl.DataFrame:
        """The result as Polars, without a copy through pandas; on-demand transformations left out."""
        if self._result is None:
            self._result = self._query()
        return self._result

    def to_df(
        self, validation_reference: ValidationReference | None = None, timeout: int | None = None
    ) -> pd.DataFrame:
        """As Feast's, without its second copy; the result is not kept, and is computed again if it is asked for."""
        table = self.to_arrow(validation_reference=validation_reference, timeout=timeout)
        self._result = None
        frame = table.to_pandas(self_destruct=True)
        frame.index = pd.RangeIndex(len(frame))
        return frame

    def _to_df_internal(self, timeout: int | None = None) -> pd.DataFrame:
        return self._to_arrow_internal(timeout).to_pandas()

    def _to_arrow_internal(self, timeout: int | None = None) -> pa.Table:
        return self.to_polars().to_arrow(compat_level=pl.CompatLevel.oldest()).combine_chunks()

    @property
    def full_feature_names(self) -> bool:
        return self._full

    @property
    def on_demand_feature_views(self) -> list[OnDemandFeatureView]:
        return self._on_demand

    @property
    def metadata(self) -> RetrievalMetadata | None:
        return self._metadata

    def persist(self, storage: SavedDatasetStorage, allow_overwrite: bool = False, timeout: int | None = None) -> None:
        if not isinstance(storage, SavedDatasetFileStorage):
            raise ValueError("saved datasets go to files here; use SavedDatasetFileStorage")
        path = _resolved(self._repo_path, storage.file_options.uri)
        if path.exists() and not allow_overwrite:
            raise SavedDatasetLocationAlreadyExists(location=str(path))
        write_parquet(pl.DataFrame(pl.from_arrow(self.to_arrow())), path)


class PolarsOfflineStore(OfflineStore):
    supports_filter_by_created_timestamp = True

    @staticmethod
    def get_historical_features(
        config: RepoConfig,
        feature_views: list[FeatureView],
        feature_refs: list[str],
        entity_df: pd.DataFrame | pl.DataFrame | str | None,
        registry: BaseRegistry,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **kwargs: Any,
    ) -> PolarsRetrievalJob:
        on_demand = _get_requested_on_demand_feature_views(feature_refs, project, registry)
        wanted, _ = _get_requested_feature_views_to_features_dict(feature_refs, feature_views, on_demand)
        known_only = filter_by_created_timestamp or config.offline_store.known_only
        if entity_df is None:
            asking = _all_entities(config, list(wanted), kwargs.get("start_date"), kwargs.get("end_date"))
        else:
            asking = _entity_frame(entity_df)
        time = _time_column(asking)

        def query() -> pl.DataFrame:
            parts = [
                _answers(config, view, names, asking, time, known_only, full_feature_names)
                for view, names in wanted.items()
            ]
            return pl.concat([asking, *parts], how="horizontal")

        metadata = RetrievalMetadata(
            features=feature_refs,
            keys=[name for name in asking.columns if name != time],
            min_event_timestamp=_moment(asking[time].min()),
            max_event_timestamp=_moment(asking[time].max()),
        )
        return PolarsRetrievalJob(
            query,
            full_feature_names=full_feature_names,
            on_demand=OnDemandFeatureView.get_requested_odfvs(feature_refs, project, registry),
            metadata=metadata,
            repo_path=config.repo_path,
        )

    @staticmethod
    def pull_latest_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        ranks = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]

        def query() -> pl.DataFrame:
            rows = _between(_scan(config, data_source), timestamp_field, start_date, end_date)
            chosen = rows.select(list(dict.fromkeys([*join_key_columns, *feature_name_columns, *ranks]))).collect()
            chosen = chosen.sort(ranks, maintain_order=True, nulls_last=False)
            if join_key_columns:
                return chosen.unique(join_key_columns, keep="last", maintain_order=True)
            return chosen.tail(1).with_columns(pl.lit(DUMMY_ENTITY_VAL).alias(DUMMY_ENTITY_ID))

        return PolarsRetrievalJob(query, repo_path=config.repo_path)

    @staticmethod
    def pull_all_from_table_or_query(
        config: RepoConfig,
        data_source: DataSource,
        join_key_columns: list[str],
        feature_name_columns: list[str],
        timestamp_field: str,
        created_timestamp_column: str | None = None,
        start_date: datetime | None = None,
        end_date: datetime | None = None,
    ) -> PolarsRetrievalJob:
        times = [timestamp_field, *([created_timestamp_column] if created_timestamp_column else [])]

        def query() -> pl.DataFrame:
            rows = _between(_scan(config, data_source), timestamp_field, start_date, end_date)
            if feature_name_columns:
                rows = rows.select(list(dict.fromkeys([*join_key_columns, *feature_name_columns, *times])))
            if not join_key_columns:
                rows = rows.with_columns(pl.lit(DUMMY_ENTITY_VAL).alias(DUMMY_ENTITY_ID))
            return rows.collect()

        return PolarsRetrievalJob(query, repo_path=config.repo_path)

    @staticmethod
    def offline_write_batch(
        config: RepoConfig, feature_view: FeatureView, table: pa.Table, progress: Callable[[int], Any] | None
    ) -> None:
        """Adds rows to the view's source: a new file in a folder, or the file written anew with the rows added."""
        path = _path(config, _source(feature_view))
        rows = pl.DataFrame(pl.from_arrow(table))
        if path.suffix == ".parquet":
            held = [pl.read_parquet(path, hive_partitioning=False)] if path.exists() else []
            write_parquet(pl.concat([*held, rows], how="vertical_relaxed"), path)
        else:
            digest = xxh3_64_hexdigest(rows.write_ipc(None).getvalue())
            write_parquet(rows, path / f"written-{digest}.parquet")
        if progress:
            progress(rows.height)

    @staticmethod
    def write_logged_features(
        config: RepoConfig,
        data: pa.Table | Path,
        source: LoggingSource,
        logging_config: LoggingConfig,
        registry: BaseRegistry,
    ) -> None:
        """Adds logged vectors to the destination folder; the same rows again are written once."""
        destination = logging_config.destination
        if not isinstance(destination, FileLoggingDestination):
            raise ValueError("logged features go to files here; use FileLoggingDestination")
        rows = pl.read_parquet(data) if isinstance(data, Path) else pl.DataFrame(pl.from_arrow(data))
        digest = xxh3_64_hexdigest(rows.write_ipc(None).getvalue())
        write_parquet(rows, _resolved(config.repo_path, destination.path) / f"logged-{digest}.parquet")


def _entity_frame(entity_df: Any) -> pl.DataFrame:
    if isinstance(entity_df, pl.DataFrame):
        return entity_df
    if not isinstance(entity_df, pd.DataFrame):
        raise ValueError(f"entity_df must be a pandas or Polars frame, not {type(entity_df).__name__}")
    return pl.from_pandas(entity_df)


def _time_column(asking: pl.DataFrame) -> str:
    if ENTITY_TIME in asking.columns:
        return ENTITY_TIME
    times = [name for name, kind in asking.schema.items() if isinstance(kind, pl.Datetime)]
    if len(times) != 1:
        raise ValueError(f"entity_df needs a column {ENTITY_TIME}, or exactly one column of times; it has {times}")
    return times[0]


def _join_keys(view: FeatureView) -> tuple[list[str], list[str]]:
    """(columns of the source, columns of the entity rows) that the view is joined on."""
    own = [column.name for column in view.entity_columns if column.name != DUMMY_ENTITY_ID]
    return own, [view.projection.join_key_map.get(name, name) for name in own]


def _answers(
    config: RepoConfig,
    view: FeatureView,
    names: Sequence[str],
    asking: pl.DataFrame,
    time: str,
    known_only: bool,
    full: bool,
) -> pl.DataFrame:
    """The view's features for every asking row."""
    source = _source(view)
    own, asked = _join_keys(view)
    missing = [name for name in asked if name not in asking.columns]
    if missing:
        raise ValueError(f"{view.name} is joined on {', '.join(missing)}, which entity_df lacks")
    created = source.created_timestamp_column or None
    times = [source.timestamp_field, *([created] if created else [])]
    rule = AsOf(own, source.timestamp_field, created, view.ttl or None, bool(known_only and created))
    for _ in range(_TRIES):
        before, rows = _stamps(config, source), _scan(config, source)
        told = rows.select(list(dict.fromkeys([*own, *times]))).collect()
        answers = _gathered(rows, names, rule.rows(asking, time, asked, told))
        if _stamps(config, source) == before:
            break
    else:
        raise RuntimeError(f"{source.name} is written all the time while it is read; try again later")
    prefix = str(view.projection.name_to_use())  # type: ignore[no-untyped-call]
    titles = {name: f"{prefix}__{name}" if full else name for name in names}
    return answers.rename(titles)


def _gathered(rows: pl.LazyFrame, names: Sequence[str], found: Ints) -> pl.DataFrame:
    """The rows by place, some columns at a time: the source may be much larger than what is asked of it."""
    height = rows.select(pl.len()).collect().item()
    together = max(COLUMNS_BYTES // (8 * max(height, 1)), 1)
    some = (names[start : start + together] for start in range(0, len(names), together))
    return pl.concat([gather(rows.select(part).collect(), found) for part in some], how="horizontal")


def _stamps(config: RepoConfig, source: DataSource) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the source's files: several readings must be of the same rows."""
    files = ((path, path.stat()) for path in _files(config, source))
    return [(str(path), told.st_size, told.st_mtime_ns) for path, told in files]


def _all_entities(
    config: RepoConfig, views: list[FeatureView], start: datetime | None, end: datetime | None
) -> pl.DataFrame:
    """Every entity with a row from `start` to `end`, asked about as of `end`."""
    first, last = compute_non_entity_date_range(views, start_date=start, end_date=end)
    found = []
    for view in views:
        own, asked = _join_keys(view)
        source = _source(view)
        rows = _between(_scan(config, source), source.timestamp_field, first, last)
        found.append(rows.select(own).unique(maintain_order=True).collect().rename(dict(zip(own, asked, strict=True))))
    entities = pl.concat(found, how="diagonal_relaxed").unique(maintain_order=True)
    return entities.with_columns(pl.lit(last, UTC_TIME).alias(ENTITY_TIME))


def _source(view: FeatureView) -> DataSource:
    if view.batch_source is None:
        raise ValueError(f"{view.name} has no source to read")
    return view.batch_source


def _moment(value: Any) -> datetime | None:
    return value if isinstance(value, datetime) else None


def _path(config: RepoConfig, source: DataSource) -> Path:
    if not isinstance(source, FileSource):
        raise ValueError(f"{source.name} is a {type(source).__name__}; this store reads FileSource")
    return _resolved(config.repo_path, source.path)


def _resolved(repo_path: Path | str | None, path: str) -> Path:
    plain = Path(path.removeprefix("file://"))
    return plain if plain.is_absolute() or repo_path is None else Path(repo_path) / plain


def _scan(config: RepoConfig, source: DataSource) -> pl.LazyFrame:
    """The source's rows, its columns named as Feast knows them. A folder is read with all below it."""
    files = _files(config, source)
    rows = pl.scan_parquet(
        files, hive_partitioning=False, missing_columns="insert", extra_columns="ignore",
        schema=pl.read_parquet_schema(files[-1]),
    )  # fmt: skip
    return rows.rename(source.field_mapping, strict=False) if source.field_mapping else rows


def _files(config: RepoConfig, source: DataSource) -> list[Path]:
    path = _path(config, source)
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files or not files[0].exists():
        raise FileNotFoundError(f"{path} holds no Parquet file yet; build features first")
    return files


def _between(rows: pl.LazyFrame, time: str, start: datetime | None, end: datetime | None) -> pl.LazyFrame:
    """Rows from `start` to `end`, both included."""
    kind = rows.collect_schema()[time]
    zoned = isinstance(kind, pl.Datetime) and kind.time_zone is not None
    for bound, keep in ((start, pl.col(time).__ge__), (end, pl.col(time).__le__)):
        if bound is not None:
            aware = bound if bound.tzinfo else bound.replace(tzinfo=UTC)
            rows = rows.filter(keep(pl.lit(aware if zoned else aware.astimezone(UTC).replace(tzinfo=None))))
    return rows

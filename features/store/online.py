"""Feast's online store over packed rows: `features.store.online.PackedOnlineStore` in feature_store.yaml.

All views of an entity stand in one row. A row is never overwritten by an older one: the later event time stays,
then the later created time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from feast import Entity, FeatureView
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.infra.online_stores.online_store import OnlineStore
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.repo_config import FeastConfigBaseModel, RepoConfig

from features.facts import microseconds
from features.row_stores import RowStore, open_store
from features.store.vectors import NULL, Layouts, Section, pack_row, row_key, unpack_row

Row = tuple[EntityKey, dict[str, Value], datetime, datetime | None]
URL_VARIABLE = "OPPORTUNE_ONLINE_STORE"
"""What feature_store.yaml names in place of a URL, which may hold a password."""
_TOGETHER = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class PackedOnlineStoreConfig(FeastConfigBaseModel):
    """Settings of the store in feature_store.yaml."""

    type: Literal["features.store.online.PackedOnlineStore"] = "features.store.online.PackedOnlineStore"
    url: str = "online.db"
    """A SQLite file (relative: to the repository's folder), `postgresql://…`, `redis://…`, or `${VARIABLE}`."""


class PackedOnlineStore(OnlineStore):
    def __init__(self) -> None:
        self._opened: tuple[RowStore, Layouts] | None = None

    def online_write_batch(
        self, config: RepoConfig, table: FeatureView, data: list[Row], progress: Callable[[int], Any] | None
    ) -> None:
        store, layouts = self._open(config)
        names = [field.name for field in table.features]
        layout = layouts.number([*_kinds(table)])
        for start in range(0, len(data), _TOGETHER):
            some = data[start : start + _TOGETHER]
            newest: dict[str, Section] = {}
            for entity, values, event, created in some:
                section = Section(layout, _micro(event), _micro(created or event), _packed(names, values, table))
                key = _row_key(config, entity)
                if section.newer(newest.get(key)):
                    newest[key] = section
            store.change(list(newest), partial(_merged, table.name, list(newest.values())))
            if progress:
                progress(len(some))

    def online_read(
        self,
        config: RepoConfig,
        table: FeatureView,
        entity_keys: list[EntityKey],
        requested_features: list[str] | None = None,
    ) -> list[tuple[datetime | None, dict[str, Value] | None]]:
        store, layouts = self._open(config)
        wanted = requested_features or [field.name for field in table.features]
        rows = store.read([_row_key(config, entity) for entity in entity_keys])
        return [_answer(unpack_row(row).get(table.name), layouts, wanted) for row in rows]

    def update(
        self,
        config: RepoConfig,
        tables_to_delete: Sequence[FeatureView],
        tables_to_keep: Sequence[FeatureView],
        entities_to_delete: Sequence[Entity],
        entities_to_keep: Sequence[Entity],
        partial: bool,
    ) -> None:
        """Makes the store, and forgets the deleted views' values."""
        self._forget(config, {view.name for view in tables_to_delete})

    def teardown(self, config: RepoConfig, tables: Sequence[FeatureView], entities: Sequence[Entity]) -> None:
        self._forget(config, {view.name for view in tables})

    def _forget(self, config: RepoConfig, views: set[str]) -> None:
        store, _ = self._open(config)
        if not views:
            return
        mine = [key for key in store.keys() if key.startswith(f"{config.project}:")]  # noqa: SIM118
        for start in range(0, len(mine), _TOGETHER):
            store.change(mine[start : start + _TOGETHER], partial(_without, views))

    def _open(self, config: RepoConfig) -> tuple[RowStore, Layouts]:
        if self._opened is None:
            url = _told(config.online_store.url)
            if "://" not in url and config.repo_path and not Path(url).is_absolute():
                url = str(Path(config.repo_path) / url)
            store = open_store(url, "vectors")
            self._opened = (store, Layouts(store))
        return self._opened


def _told(url: str) -> str:
    """The URL; where the variable that it names is not set, the one that `opportune` itself would use."""
    if not url.startswith("${"):
        return url
    other = os.environ.get("OPPORTUNE_DATABASE_URL") if URL_VARIABLE in url else None
    if not other:
        name = url.strip("${}")
        raise ValueError(
            f"feature_store.yaml takes the online store's URL from {name}, which is not set; export {name}"
        )
    return other


def _without(views: set[str], rows: list[bytes | None]) -> list[bytes | None]:
    left = [{name: s for name, s in unpack_row(row).items() if name not in views} for row in rows]
    return [pack_row(sections) if sections else None for sections in left]


def _merged(view: str, sections: list[Section], rows: list[bytes | None]) -> list[bytes | None]:
    after: list[bytes | None] = []
    for section, row in zip(sections, rows, strict=True):
        held = unpack_row(row)
        if section.newer(held.get(view)):
            held[view] = section
        after.append(pack_row(held))
    return after


def _row_key(config: RepoConfig, entity: EntityKey) -> str:
    return row_key(config.project, serialize_entity_key(entity, 3))


def _kinds(table: FeatureView) -> tuple[str, ...]:
    """`d:` and the names if all features are doubles, else `p:` (packed as protobuf)."""
    return ("d" if _doubles(table) else "p", *(field.name for field in table.features))


def _doubles(table: FeatureView) -> bool:
    return all(str(field.dtype) == "Float64" for field in table.features)


def _packed(names: list[str], values: dict[str, Value], table: FeatureView) -> bytes:
    told = [values.get(name) for name in names]
    if _doubles(table):
        numbers = [v.double_val if v is not None and v.WhichOneof("val") else NULL for v in told]
        return np.array(numbers, dtype=np.float64).tobytes()
    texts = [b"" if v is None else v.SerializeToString() for v in told]
    return np.array([len(t) for t in texts], dtype=np.uint32).tobytes() + b"".join(texts)


def _answer(
    section: Section | None, layouts: Layouts, wanted: Sequence[str]
) -> tuple[datetime | None, dict[str, Value] | None]:
    if section is None:
        return None, None
    kind, *names = layouts.names(section.layout)
    read = _read_doubles(section.values) if kind == "d" else _read_protos(section.values, len(names))
    told = dict(zip(names, read, strict=True))
    return _EPOCH + timedelta(microseconds=section.event), {name: told.get(name, Value()) for name in wanted}


def _read_doubles(values: bytes) -> list[Value]:
    numbers = np.frombuffer(values, np.float64)
    null = numbers.view(np.uint64) == NULL.view(np.uint64)
    return [Value() if no else Value(double_val=n) for n, no in zip(numbers.tolist(), null.tolist(), strict=True)]


def _read_protos(values: bytes, count: int) -> list[Value]:
    lengths = np.frombuffer(values, np.uint32, count).tolist()
    at, found = 4 * count, []
    for length in lengths:
        found.append(Value.FromString(values[at : at + length]))
        at += length
    return found


def _micro(moment: datetime) -> int:
    return microseconds(moment if moment.tzinfo else moment.replace(tzinfo=UTC))

"""Applies the views from code, and opens the feature store of a home folder with Feast's stock API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from feast import FeatureStore

from features.catalogue import CATALOGUE
from features.feature_set import FeatureSet
from features.files import write_whole
from features.store.views import CUSTOMER, OFFER, customer_view, services

_PROJECT = "opportune"


def feature_store(home: Path, online_url: str | None = None) -> FeatureStore:
    """The feature store of a home folder, as `FeatureStore(repo_path=home / "feast")` also opens it.

    `online_url`: where packed rows stand, by default `home/online.db`.
    """
    repo = home.resolve() / "feast"
    settings = {
        "project": _PROJECT,
        "provider": "local",
        "registry": str(repo / "registry.db"),
        "offline_store": {"type": "features.store.offline.PolarsOfflineStore"},
        "online_store": {
            "type": "features.store.online.PackedOnlineStore",
            "url": online_url or str(home.resolve() / "online.db"),
        },
        "entity_key_serialization_version": 3,
    }
    # JSON is YAML, and quotes what YAML would misread.
    _write(repo / "feature_store.yaml", orjson.dumps(settings, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return FeatureStore(repo_path=str(repo))


def apply(
    home: Path,
    *,
    features: FeatureSet = CATALOGUE,
    versions: Mapping[str, Sequence[str]] | None = None,
    online_url: str | None = None,
) -> FeatureStore:
    """Registers entities, the view and the services; safe to repeat. Needs a snapshot in `home/features`.

    `versions`: a feature service for each model version, name -> feature names.
    """
    store = feature_store(home, online_url)
    view = customer_view(features, home / "features")
    store.apply([CUSTOMER, OFFER, view, *services(view, versions or {})])
    return store


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_whole(path, lambda draft: _dump(draft, content))


def _dump(path: Path, content: bytes) -> None:
    path.write_bytes(content)

"""Applies the views from code, and opens the feature store of a home folder with Feast's stock API.

The folder `feast` in the home is a feature repository of its own: `feast -c HOME/feast apply`, `materialize`,
`feature-views list` and the rest work there as they do anywhere.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson
from feast import Entity, FeatureService, FeatureStore, FeatureView, Project

from features.catalogue import CATALOGUE
from features.feature_set import FeatureSet
from features.files import write_bytes
from features.interests import INTERESTS
from features.offer_features import OFFERS
from features.store.declared import built, served_versions
from features.store.online import URL_VARIABLE
from features.store.views import CUSTOMER, OFFER, customer_view, interest_view, offer_view, services
from features.variables import variables

_PROJECT = "opportune"
_DEFINITIONS = '''"""What `feast apply` registers here: the declared features, and a service for each served version.

Written by `opportune features`; put views of your own into a file beside this one.
"""

import os
from pathlib import Path

{variables}
from features.store.registry import definitions

globals().update(definitions(Path(__file__).resolve().parents[1]))
'''


def feature_store(home: Path, online_url: str | None = None) -> FeatureStore:
    """The feature store of a home folder, as `FeatureStore(repo_path=home / "feast")` also opens it.

    `online_url`: where packed rows stand, by default `home/online.db`. A URL may hold a password, so the file names
    a variable instead of it (OPPORTUNE_ONLINE_STORE), which whoever opens the folder has to set.
    """
    repo = home.resolve() / "feast"
    remote = online_url is not None and "://" in online_url
    settings = {
        "project": _PROJECT,
        "provider": "local",
        "registry": str(repo / "registry.db"),
        "offline_store": {"type": "features.store.offline.PolarsOfflineStore"},
        "online_store": {
            "type": "features.store.online.PackedOnlineStore",
            "url": f"${{{URL_VARIABLE}}}" if remote else online_url or str(home.resolve() / "online.db"),
        },
        "entity_key_serialization_version": 3,
    }
    # JSON is YAML, and quotes what YAML would misread.
    _write(repo / "feature_store.yaml", orjson.dumps(settings, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    told = "".join(f"os.environ.setdefault({name!r}, {value!r})\n" for name, value in variables().items())
    _write(repo / "definitions.py", _DEFINITIONS.format(variables=told).encode())
    with _variable(online_url if remote else None):
        return FeatureStore(repo_path=str(repo))


def definitions(
    home: Path, features: FeatureSet = CATALOGUE, versions: Mapping[str, Sequence[str]] | None = None
) -> dict[str, Project | Entity | FeatureView | FeatureService]:
    """Everything to register, by name: entities, views of the tables that are built, and services.

    `versions`: a feature service for each model version, name -> feature names; by default those in `home/served`.
    """
    views: list[FeatureView] = []
    if built(home / "features"):
        views.append(customer_view(features, home / "features"))
    if built(home / "interests"):
        views.append(interest_view(INTERESTS, home / "interests"))
    if built(home / "offer_features"):
        views.append(offer_view(OFFERS, home / "offer_features"))
    chosen = services(views, served_versions(home) if versions is None else versions)
    project = Project(name=_PROJECT, description="What Opportune knows of customers and offers.")
    every: list[Project | Entity | FeatureView | FeatureService] = [project, CUSTOMER, OFFER, *views, *chosen]
    return {str(one.name).replace("-", "_"): one for one in every}


def apply(
    home: Path,
    *,
    features: FeatureSet = CATALOGUE,
    versions: Mapping[str, Sequence[str]] | None = None,
    online_url: str | None = None,
) -> FeatureStore:
    """Registers `definitions`; safe to repeat. Services of versions that no longer serve stay registered."""
    store = feature_store(home, online_url)
    store.apply(list(definitions(home, features, versions).values()))
    return store


@contextmanager
def _variable(url: str | None) -> Iterator[None]:
    """The variable set for as long as Feast reads its file."""
    before = os.environ.get(URL_VARIABLE)
    try:
        if url is not None:
            os.environ[URL_VARIABLE] = url
        yield
    finally:
        if before is None:
            os.environ.pop(URL_VARIABLE, None)
        else:
            os.environ[URL_VARIABLE] = before


def _write(path: Path, content: bytes) -> None:
    if not path.exists() or path.read_bytes() != content:
        write_bytes(path, content)

"""What Feast's registry is made of, and whether it is still made of that. Without Feast, whose import takes seconds."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import orjson
import polars as pl
import xxhash

from features.catalogue import CATALOGUE
from features.files import write_bytes
from features.interests import INTERESTS
from features.offer_features import OFFERS
from features.variables import variables

TABLES = ("features", "interests", "offer_features")
_CODE = [Path(__file__).with_name(name).read_bytes() for name in ("registry.py", "views.py")]


def built(folder: Path) -> bool:
    """Whether a table stands in this folder."""
    return next(folder.rglob("*.parquet"), None) is not None


def served_versions(home: Path) -> dict[str, tuple[str, ...]]:
    """`churn-5` -> what the version takes, of every model version in `home/served`: the columns of its golden rows.

    `model.json` tells what the trees were learnt from; BG/NBD beside them may read more.
    """
    rows = sorted((home / "served").glob("*/*/golden.parquet"))
    return {f"{one.parent.parent.name}-{one.parent.name}": tuple(pl.read_parquet_schema(one)) for one in rows}


def fingerprint(home: Path, online_url: str | None) -> str:
    """Of all that `registry.apply` makes its definitions and its repository of; equal ones need no second call."""
    told = {
        "features": [[one.name, one.description] for one in (*CATALOGUE.features, *INTERESTS, *OFFERS.features)],
        "tables": [built(home / table) for table in TABLES],
        "versions": served_versions(home),
        "home": str(home.resolve()),
        "online": None if online_url is None or "://" in online_url else online_url,  # Feast's file tells no other
        "variables": variables(),
        "feast": version("feast"),
    }
    hashed = xxhash.xxh3_128(orjson.dumps(told))
    for code in _CODE:
        hashed.update(code)
    return hashed.hexdigest()


def applied(home: Path) -> str | None:
    """The fingerprint of what was applied last; None where nothing was, or where a file of it is gone."""
    repo = home / "feast"
    files = (repo / "feature_store.yaml", repo / "definitions.py", repo / "registry.db")
    if not all(path.exists() for path in files) or not _marker(home).exists():
        return None
    return _marker(home).read_text()


def mark_applied(home: Path, told: str) -> None:
    """Keeps the fingerprint of what has been applied."""
    write_bytes(_marker(home), told.encode())


def _marker(home: Path) -> Path:
    return home / "feast" / "applied"

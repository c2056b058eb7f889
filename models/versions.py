"""Which versions of each model are registered, and since when: one that serves no more may serve again (a rollback), so
who is erased is told of it, too. `served/versions.json` is {"churn": {"3": "2026-01-31T09:30:00+00:00"}}; the child of
`models/registry.py`, which alone asks MLflow, writes it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

VERSIONS_FILE = "versions.json"
Registered = Mapping[str, Mapping[str, datetime]]
"""By model and version, when it was registered."""


def registered_versions(folder: Path) -> Registered:
    """What was last brought over; nothing where nothing was."""
    try:
        told = json.loads((folder / VERSIONS_FILE).read_text())
    except FileNotFoundError:
        return {}
    return {name: {version: datetime.fromisoformat(at) for version, at in row.items()} for name, row in told.items()}


def ask_versions(search: Callable[..., Any], prefix: str) -> dict[str, dict[str, str]]:
    """What `versions.json` holds, from MLflow's `search_model_versions`, all pages of it."""
    found: dict[str, dict[str, str]] = {}
    for one in _pages(search, f"name LIKE '{prefix}%'"):
        at = datetime.fromtimestamp(one.creation_timestamp / 1_000, UTC)
        found.setdefault(one.name.removeprefix(prefix), {})[str(one.version)] = at.isoformat()
    return found


def _pages(search: Callable[..., Any], sought: str) -> Iterable[Any]:
    token = None
    while True:
        page = search(sought, max_results=200, page_token=token)
        yield from page
        token = page.token
        if not token:
            return

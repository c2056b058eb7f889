"""Which versions are registered is asked page by page, and read where it was written."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from models.versions import VERSIONS_FILE, ask_versions, registered_versions


class Page(list[Any]):
    """As MLflow gives them."""

    token: str | None = None


def test_all_pages_are_asked(tmp_path: Path) -> None:
    made = [
        SimpleNamespace(name=f"opportune-{n}", version=v, creation_timestamp=v * 1_000)
        for n, v in (("a", 1), ("a", 2), ("b", 1))
    ]
    asked = []

    def search(sought: str, max_results: int, page_token: str | None) -> Page:
        asked.append((sought, page_token))
        place = int(page_token or 0)
        page = Page(made[place : place + 2])
        page.token = "2" if place == 0 else None
        return page

    told = ask_versions(search, "opportune-")
    assert asked == [("name LIKE 'opportune-%'", None), ("name LIKE 'opportune-%'", "2")]
    (tmp_path / VERSIONS_FILE).write_text(json.dumps(told))
    assert registered_versions(tmp_path) == {
        "a": {"1": datetime.fromtimestamp(1, UTC), "2": datetime.fromtimestamp(2, UTC)},
        "b": {"1": datetime.fromtimestamp(1, UTC)},
    }


def test_before_anything_was_brought_over_there_are_none(tmp_path: Path) -> None:
    assert registered_versions(tmp_path) == {}

"""The real service on each database, and a Postgres that goes away and comes back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from service.settings import Settings
from service.storage.database import Database
from tests.end_to_end.conftest import Service, make_service

__all__ = ["make_service"]
OFFER: dict[str, Any] = {
    "name": "Thank you",
    "description": "For those who came back",
    "category": "coffee",
    "channels": ["web"],
    "value": 12.5,
    "cost": 0.1,
    "requires_approval": False,
}
EVERYBODY = '{"default": {"arms": {"model": 1, "random": 0, "business_as_usual": 0, "holdout": 0}}}'


@dataclass(frozen=True)
class Place:
    """Where a service keeps its state: settings for it, and a connection to look behind it."""

    settings: dict[str, str]
    database: Database


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """A state of this test's own, on SQLite and on Postgres; services that share it share everything."""
    home = tmp_path / "state"
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else None
    settings = {"OPPORTUNE_HOME": str(home), "OPPORTUNE_PLACEMENTS": EVERYBODY}
    database = Database(Settings(home=home, database_url=url).state_url)
    yield Place(settings | ({"OPPORTUNE_DATABASE_URL": url} if url else {}), database)
    database.close()


MakeService = Callable[..., Service]

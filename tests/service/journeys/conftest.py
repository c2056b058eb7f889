"""A stage on each kind of database."""

from __future__ import annotations

import pytest

from service.storage.database import Database
from tests.fakes.journeys import Stage


@pytest.fixture
def stage(database: Database) -> Stage:
    return Stage(database)

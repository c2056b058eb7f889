"""What /models says of a version that is refused: which one, and what serves in its place."""

from __future__ import annotations

import pytest

from models.registry import ServedModels
from service.pages.lists import models_view
from tests.service.pages.conftest import House


@pytest.mark.parametrize(
    ("version", "problem", "said"),
    [
        ("1", "bad golden rows", "churn champion: version 2 is refused, version 1 serves on: bad golden rows"),
        (
            None,
            "version 2 is refused: it does not load",
            "churn champion: version 2 is refused, nothing serves in its place: it does not load",
        ),
    ],
)
def test_a_refused_version_is_named_beside_the_one_that_serves(
    house: House, monkeypatch: pytest.MonkeyPatch, version: str | None, problem: str, said: str
) -> None:
    entry = {"name": "churn", "alias": "champion", "version": version, "wanted": "2", "problem": problem}
    sync = {"name": "sync", "alias": None, "version": None, "wanted": None, "problem": "cannot read the registry"}
    monkeypatch.setattr(ServedModels, "status", lambda _: [entry, sync])
    view = models_view(house.parts.models, house.parts.settings.home, house.parts.database)
    assert view["trouble"] == [said, "cannot read the registry"]

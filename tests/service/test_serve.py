from __future__ import annotations

import resource
from collections.abc import Iterator
from typing import Any

import pytest

from service import serve
from service.serve import PROTOCOL, listen, raise_open_files
from service.settings import Settings


@pytest.fixture
def _limits_again() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("_limits_again")
def test_room_for_many_connections_is_asked_for() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    assert raise_open_files(1_000) == 1_000
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (1_000, hard)
    assert raise_open_files(600) == 1_000, "it is never lowered"


def test_decisions_are_answered_before_asgi_where_uvicorns_parser_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []
    monkeypatch.setattr(serve.uvicorn, "run", lambda _, **options: given.append(options))
    listen(Settings())
    monkeypatch.setattr(serve, "find_spec", lambda name: None)
    listen(Settings(), workers=2)
    assert [(one["http"], one["workers"], one["access_log"]) for one in given] == [
        (PROTOCOL, 1, False),
        ("auto", 2, False),
    ]

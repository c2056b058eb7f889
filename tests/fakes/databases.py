"""Databases for tests: empty ones on a Postgres, and ones with tables, copied from one that a run made once."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from models.registry import make_database
from service.storage.database import Database, metadata

_files: dict[frozenset[str], bytes] = {}
"""A SQLite file for each set of tables: more are declared as slices are imported."""
_mlflow: list[bytes] = []
"""MLflow's file, once it was made."""
_templates: dict[tuple[str, frozenset[str]], str] = {}
"""The same on each Postgres server: the name of a database there, which nobody connects to."""


@contextmanager
def new_database(server: str, template: str = "template1") -> Iterator[str]:
    """The URL (`postgresql://…`) of a database as the template is, by default empty; dropped at the end."""
    name = f"t{os.urandom(6).hex()}"
    _create(server, name, template)
    try:
        yield f"{server}/{name}"
    finally:
        import psycopg

        with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def sqlite_with_tables(path: Path) -> Database:
    """A new file with every imported slice's tables; to create them takes ten times as long as to copy them."""
    tables = frozenset(metadata.tables)
    if tables not in _files:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "state.db"
            _make_tables(f"sqlite:///{made}")
            _files[tables] = made.read_bytes()
    path.write_bytes(_files[tables])
    return Database(f"sqlite:///{path}")


def sqlite_of_mlflow(path: Path) -> str:
    """The URI of MLflow's database at the path, made where none is: its migrations take a second of CPU each time."""
    if not _mlflow:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder) / "mlflow.db"
            make_database(f"sqlite:///{made}")
            _mlflow.append(made.read_bytes())
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_mlflow[0])
    return f"sqlite:///{path}"


@contextmanager
def postgres_with_tables(server: str) -> Iterator[Database]:
    """A database of its own with every imported slice's tables."""
    place = (server, frozenset(metadata.tables))
    if place not in _templates:
        name = f"tables{len(_templates)}"
        _create(server, name, "template1")
        _make_tables(_url(f"{server}/{name}"))
        _templates[place] = name
    with new_database(server, _templates[place]) as url:
        made = Database(_url(url))
        yield made
        made.close()


def _create(server: str, name: str, template: str) -> None:
    import psycopg

    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        # Copying files is quicker than writing them to the log; before 15 there was nothing else.
        how = "STRATEGY FILE_COPY" if admin.info.server_version >= 150_000 else ""
        admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} {how}")


def _make_tables(url: str) -> None:
    database = Database(url)
    database.create_tables()
    database.close()


def _url(postgres: str) -> str:
    return postgres.replace("postgresql://", "postgresql+psycopg://")

"""Brings the state database to the newest schema. Safe to call from many processes at once.

A new migration: declare the tables in a slice's `*_store.py`, then
`python -m service.storage.migrate "why"` writes `migrations/versions/NNNN_why.py` to read and mend.
"""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import inspect, text
from sqlalchemy.exc import DatabaseError

from service.storage.database import Connection, Database, driver_of

VERSIONS = Path(__file__).parent / "migrations" / "versions"
_DAMAGED = (11, 26)  # SQLite's CORRUPT and NOTADB
_FIRST = frozenset({"api_keys", "customers", "decisions", "journeys", "offers"})
"""Of the tables that the first revision makes, those whose names others have, too."""
_OF_ANOTHER = "the database is another application's ({}): give opportune one, or a schema (search_path), of its own"
OF_OTHER_LETTERS = "the database is in {}: make one in UTF8 (createdb --encoding UTF8 --template template0)"
_LOCK = 7_067_267_823  # any number of our own, for Postgres' advisory lock


def newest() -> str:
    """The newest revision: migration files are named by it."""
    return max((path.name.split("_")[0] for path in VERSIONS.glob("[0-9]*.py")), default="")


def migrate(database: Database) -> None:
    """Applies what is missing, in one transaction; Alembic is imported only then.

    ValueError where the state is of a newer version of the service, where its file is damaged, and where the database
    is another application's, or new and not in UTF8.
    """
    current = _current(database)
    if current == newest():
        return
    if current is None and database.letters() != "UTF8":
        raise ValueError(OF_OTHER_LETTERS.format(database.letters()))
    if current is not None and not re.fullmatch(r"\d{4}", current):
        raise ValueError(_OF_ANOTHER.format(f"its revision is {current}"))
    if current is not None and current > newest():
        raise ValueError(
            f"the state is of a newer version of opportune (its revision is {current}, this version knows {newest()}): "
            "use that version, or bring back the state from a backup of before"
        )
    from alembic import command

    with database.write() as connection:
        if not database.is_sqlite:
            # A look through a large table, or waiting for who does it now, may take longer than any other statement.
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            driver_of(connection).patience_s = None
        try:
            if not database.is_sqlite:
                connection.execute(text(f"SELECT pg_advisory_xact_lock({_LOCK})"))
            command.upgrade(_config(connection), "head")
        finally:
            if not database.is_sqlite:
                del driver_of(connection).patience_s  # the pool gives it to others, who are not so patient


def _current(database: Database) -> str | None:
    try:
        with database.read() as connection:
            names = inspect(connection).get_table_names()
            if "alembic_version" not in names:
                taken = sorted(_FIRST.intersection(names))
                if taken:
                    raise ValueError(_OF_ANOTHER.format(f"it has tables named {', '.join(taken)}"))
                return None
            return connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except DatabaseError as fault:
        if getattr(fault.orig, "sqlite_errorcode", None) in _DAMAGED:
            raise ValueError(
                f"{database.engine.url.database} is damaged ({fault.orig}); bring it back from a backup"
            ) from fault
        raise


def _config(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(VERSIONS.parent))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def import_every_table() -> None:
    """Imports every module that declares tables, by name, because storage knows no slice."""
    service = VERSIONS.parents[2]
    for path in (*service.glob("*/*_store.py"), *service.glob("storage/*.py")):
        importlib.import_module(f"service.{path.parent.name}.{path.stem}")


def write_migration(message: str) -> None:
    """Compares the declared tables with a database at the newest revision and writes the difference as a migration."""
    import tempfile

    from alembic import command

    import_every_table()
    number = int(newest() or 0) + 1
    with tempfile.TemporaryDirectory() as folder:
        database = Database(f"sqlite:///{folder}/state.db")
        with database.write() as connection:
            config = _config(connection)
            config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
            command.upgrade(config, "head")
            command.revision(config, re.sub(r"\W+", " ", message), autogenerate=True, rev_id=f"{number:04d}")
        database.close()


if __name__ == "__main__":
    write_migration(sys.argv[1])

"""Who may not be profiled, asked of the state itself: the exported table is only as new as its last export.

Training may be started from a notebook, where nothing exports. Of the service's state one column is read, and by its
name alone: training knows nothing else of it.
"""

from __future__ import annotations

import os
import sqlite3
import tomllib
from contextlib import closing
from pathlib import Path

import polars as pl

STATE, SQLITE = "state.db", "sqlite:///"
REFUSED = "SELECT customer_id FROM customers WHERE NOT profiling"


class UnknownConsents(ValueError):
    """It cannot be told who may not be profiled; then nobody is learnt from."""


def unprofiled(home: Path) -> frozenset[str]:
    """Customers who may not be profiled now: they are in no training set. Raises UnknownConsents.

    Without a state (a home of events alone, or a copy for others) the exported table tells, if there is one.
    """
    url, file, table = _database_url(), home / STATE, home / "tables" / "customers.parquet"
    if url or file.exists():
        try:
            return _of_sqlite(file) if url is None else _of_url(url)
        except Exception as trouble:  # whatever it is, they are not known
            place = "the database at database_url" if url else str(file)
            raise UnknownConsents(
                f"who may not be profiled cannot be read from {place} ({type(trouble).__name__}), and without that "
                "nothing is trained; see `opportune doctor`"
            ) from trouble
    if not table.exists():
        return frozenset()
    refused = pl.scan_parquet(table).filter(~pl.col("profiling")).select("customer_id").collect()
    return frozenset(refused["customer_id"])


def _of_sqlite(file: Path) -> frozenset[str]:
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as connection:
        return frozenset(name for (name,) in connection.execute(REFUSED))


def _of_url(url: str) -> frozenset[str]:
    return _of_sqlite(Path(url.removeprefix(SQLITE))) if url.startswith(SQLITE) else _of_postgres(url)


def _of_postgres(url: str) -> frozenset[str]:
    from features.postgres import connect

    with connect(url.replace("+psycopg", "", 1)) as connection:
        return frozenset(name for (name,) in connection.execute(REFUSED))


def _database_url() -> str | None:
    """Where the state is, unless it is a file in the home: the variable's, else the settings'."""
    told = os.environ.get("OPPORTUNE_DATABASE_URL")
    settings = Path(os.environ.get("OPPORTUNE_CONFIG", "opportune.toml"))
    if told is not None or not settings.exists():
        return told or None
    return tomllib.loads(settings.read_text(encoding="utf-8")).get("database_url")

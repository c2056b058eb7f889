"""How SQLite finds what it is asked for. It plans without knowing what the tables hold; Postgres knows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import event

from service.storage.database import Connection, Database
from tests.fakes.databases import sqlite_with_tables


def sqlite_at(folder: Path) -> Database:
    """A new database on SQLite with every table."""
    return sqlite_with_tables(folder / "state.db")


def plans_of(database: Database, connection: Connection, ask: Callable[[Connection], Any]) -> list[str]:
    """The lines of the plans of all statements of a function."""
    asked: list[tuple[str, Any]] = []

    def hear(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        asked.append((statement, values))

    event.listen(database.engine, "before_cursor_execute", hear)
    ask(connection)
    event.remove(database.engine, "before_cursor_execute", hear)
    return [
        row[3]
        for statement, values in asked
        for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
    ]

"""Statements of decisions, run through the driver: SQLAlchemy writes their text once, and is not asked again.

Its work around a call (cursor, context, result, rows with names) is ten times that of SQLite for one row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Connection, Select, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeEngine

from service.storage.database import Json, driver_of

Convert = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class _Text:
    """A statement as one kind of database is told it; `values` of its parameters that are always the same."""

    sql: str
    names: tuple[str, ...]
    positional: bool
    values: dict[str, Any]
    binds: dict[str, Convert]
    results: tuple[tuple[int, Convert], ...]


class Prepared:
    """A query whose parameters are named by `bindparam`; columns come as their types make them."""

    def __init__(self, query: Select[Any]) -> None:
        self._query = query
        self._texts: dict[str, _Text] = {}

    def rows(self, connection: Connection, **values: Any) -> list[Sequence[Any]]:
        """What the query finds."""
        text = self._texts.get(connection.dialect.name) or self._made(connection.dialect)
        told = {**text.values, **values}
        for name, convert in text.binds.items():
            told[name] = convert(told[name])
        given = [told[name] for name in text.names] if text.positional else told
        found: list[Sequence[Any]] = driver_of(connection).execute(text.sql, given).fetchall()
        return _converted(found, text.results) if found and text.results else found

    def _made(self, dialect: Dialect) -> _Text:
        compiled = self._query.compile(dialect=dialect)
        binds = {name: bind.type.bind_processor(dialect) for name, bind in compiled.binds.items()}
        results = [_reading(column.type, dialect) for column in self._query.selected_columns]
        text = self._texts[dialect.name] = _Text(
            compiled.string,
            tuple(compiled.positiontup or compiled.binds),
            compiled.positional,
            {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required},
            {name: convert for name, convert in binds.items() if convert is not None},
            tuple((place, convert) for place, convert in enumerate(results) if convert is not None),
        )
        return text


def _reading(kind: TypeEngine[Any], dialect: Dialect) -> Convert | None:
    return _json if isinstance(kind, Json) else kind.result_processor(dialect, None)


def _json(value: Any) -> Any:
    """Without the two wrappers that SQLAlchemy puts around it."""
    return None if value is None else orjson.loads(value)


def _converted(rows: Sequence[Sequence[Any]], converts: Sequence[tuple[int, Convert]]) -> list[Sequence[Any]]:
    """Column by column, which for many rows is a third of the work."""
    columns: list[Iterable[Any]] = list(zip(*rows, strict=True))
    for place, convert in converts:
        columns[place] = map(convert, columns[place])
    return list(zip(*columns, strict=True))


def insert_rows(connection: Connection, table: Table, rows: Sequence[Sequence[Any]]) -> None:
    """Inserts rows (tuples) that have every column of the table, in its order, as the database keeps them.

    Postgres copies them: a statement a row is more work on both sides, and so are lists of columns.
    """
    if not rows:
        return
    driver = driver_of(connection)
    if connection.dialect.name == "sqlite":
        driver.executemany(_insertion(table), rows)
        return
    with driver.cursor() as cursor, cursor.copy(f"COPY {table.name} ({_names(table)}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)


@lru_cache(maxsize=64)
def _insertion(table: Table) -> str:
    return f"INSERT INTO {table.name} ({_names(table)}) VALUES ({', '.join('?' * len(table.columns))})"


def _names(table: Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)

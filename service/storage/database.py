"""One database, SQLite (embedded) or Postgres (grown up), behind `read()` and `write()`."""

from __future__ import annotations

import logging
import math
import os
import sqlite3
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from pathlib import Path
from time import sleep
from typing import Any
from urllib.parse import urlsplit

import orjson
from sqlalchemy import (
    BigInteger,
    BindParameter,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    create_engine,
    event,
    select,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import TypeDecorator

from service.clock import monotonic
from service.errors import Unavailable
from service.storage.checkpoints import Checkpoints
from service.storage.outage import only_reads, telling_outages
from service.storage.turns import Turns

__all__ = ["Connection", "Database", "Json", "UtcTime", "any_key", "any_of", "metadata", "texts", "those_in", "upsert"]

log = logging.getLogger(__name__)
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
PATIENCE_S = 30
"""How long a writer on SQLite waits for its turn in this process, and then for other processes."""
LOOKS_S = 1.0
"""How often a writer looks whether SQLite's file is still there."""
_KEPT = 8
"""Connections to SQLite that are kept out of the pool."""
_NEW_FILE_S = 5.0
"""How long it is tried to set up a file that others are making."""
_WAITS = "waits"
"""Told to a connection that is about to write: whether its commit waits for the disk."""


class UtcTime(TypeDecorator[datetime]):
    """An aware UTC time as microseconds since 1970 (BIGINT): sorts and compares alike on every database."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> int | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone; times in the database are aware")
        return (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime | None:
        return None if value is None else _EPOCH + timedelta(microseconds=value)


class Json(TypeDecorator[Any]):
    """Any JSON value, stored as UTF-8 bytes by orjson."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else orjson.dumps(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> Any:
        return None if value is None else orjson.loads(bytes(value))


class _Values(TypeDecorator[Sequence[str]]):
    """Many texts as one parameter: a JSON list on SQLite, an array on Postgres."""

    impl = String
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> Any:
        return dialect.type_descriptor(postgresql.ARRAY(String()) if dialect.name == "postgresql" else String())

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> Any:
        texts = list(value or ())
        return texts if dialect.name == "postgresql" else orjson.dumps(texts).decode()


class any_of(FunctionElement[bool]):  # noqa: N801 - reads as a function of SQL
    """`any_of(column, texts("name"))`: the column is one of the texts given as `name`.

    The same statement for any number of them, where `IN` is written anew for each call.
    """

    type = Boolean()
    inherit_cache = True
    _is_implicitly_boolean = True  # else SQLAlchemy adds "= 1", behind which SQLite finds no index


def texts(name: str) -> BindParameter[Sequence[str]]:
    """A parameter of many texts, for `any_of`."""
    return bindparam(name, type_=_Values())


@compiles(any_of, "sqlite")
def _any_of_sqlite(element: any_of, compiler: Any, **more: Any) -> str:
    column, values = element.clauses
    return f"{compiler.process(column, **more)} IN (SELECT value FROM json_each({compiler.process(values, **more)}))"


@compiles(any_of, "postgresql")
def _any_of_postgres(element: any_of, compiler: Any, **more: Any) -> str:
    column, values = element.clauses
    return f"{compiler.process(column, **more)} = ANY({compiler.process(values, **more)})"


class Database:
    """Connections for short transactions.

    `write()` takes the write lock at once (BEGIN IMMEDIATE on SQLite), so that what a transaction has read cannot
    change before it commits; on Postgres it is READ COMMITTED and rows that must not change are locked by the
    store that reads them (`with_for_update`). Writers of one process queue in order on a lock: SQLite's own busy
    handler sleeps and is unfair. Both raise `service.errors.Unavailable` while the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self.is_sqlite = url.startswith("sqlite")
        self._file: tuple[int, int] | None = None
        self._looked = -math.inf
        if self.is_sqlite:
            Path(url.removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
            self.engine = create_engine(
                url,
                connect_args={"check_same_thread": False, "timeout": PATIENCE_S},
                pool_size=16,
                max_overflow=32,
                hide_parameters=True,  # a person's data must not reach a log through an error
            )
            event.listen(self.engine, "do_connect", lambda *_: self._look_for_file())
            event.listen(self.engine, "connect", _set_up_sqlite)
            event.listen(self.engine, "connect", lambda *_: self._know_file())
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            several = "," in urlsplit(url).netloc.rpartition("@")[2]  # hosts with their ports, as only libpq reads them
            self.engine = create_engine(
                "postgresql+psycopg://" if several else url,
                pool_size=16,
                max_overflow=16,
                pool_pre_ping=True,
                pool_timeout=10,
                hide_parameters=True,
            )
            own = url.replace("+psycopg", "", 1) if several else ""
            event.listen(self.engine, "do_connect", partial(_connect_postgres, own))
        self._idle: list[Connection] = []
        self._watching = threading.Lock()
        self._watcher: Any = None
        self._writer = Turns() if self.is_sqlite else None
        self._checkpoints = Checkpoints(self._connected) if self.is_sqlite else None

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection whose transaction is rolled back at the end: nothing is written through it."""
        with telling_outages(), self._connection() as connection:
            connection.begin()
            yield connection

    @contextmanager
    def write(self, durable: bool = True) -> Iterator[Connection]:
        """A connection whose transaction commits at the end, or rolls back when the block raises.

        Not `durable`: the commit does not wait for the disk. A crash of the process loses nothing, one of the machine
        the last moments; the database stays whole.
        """
        with telling_outages(), self._turn(), self._connection() as connection:
            if self.is_sqlite:
                self._look_for_file()
                connection.info[_WAITS] = durable
            with connection.begin():
                if not (durable or self.is_sqlite):
                    connection.exec_driver_sql("SET LOCAL synchronous_commit = off")
                yield connection
            self._wrote()

    @contextmanager
    def write_between(self, connection: Connection) -> Iterator[None]:
        """Writes through a connection of `read()`: its transaction ends before, and another begins after it.

        Who holds a connection must not ask for a second one: as many as the pool has would wait for each other.
        """
        connection.rollback()
        with self._turn():
            if self.is_sqlite:
                self._look_for_file()
                connection.info[_WAITS] = True
            with connection.begin():
                yield
            self._wrote()
        connection.begin()

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """A writer's turn. While another process holds the database each turn takes `PATIENCE_S`, so nobody waits for
        more than one of them.
        """
        if self._writer is not None and not self._writer.acquire(timeout=PATIENCE_S):
            raise Unavailable("the database is busy; try again in a few seconds")
        try:
            yield
        finally:
            if self._writer is not None:
                self._writer.release()

    def _look_for_file(self) -> None:
        """`Unavailable` where SQLite's file was taken away, or another one stands in its place: writers would go on in
        what nobody finds again. Looked for once a second: a look costs up to three microseconds.
        """
        if self._file is None or monotonic() - self._looked < LOOKS_S:
            return
        try:
            found = os.stat(str(self.engine.url.database))
        except OSError:
            raise Unavailable("the database's file is gone; bring it back, then start this again") from None
        if self._file != (found.st_dev, found.st_ino):
            raise Unavailable("another file stands in the place of the database's; start this again")
        self._looked = monotonic()

    def _know_file(self) -> None:
        if self._file is None:
            found = os.stat(str(self.engine.url.database))
            self._file = found.st_dev, found.st_ino

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """A connection of the pool. On SQLite some are kept out of it, the last one used first: fetching and giving
        back costs as much as the queries of a decision, and one whose process alone has written knows its pages.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            connection = self.engine.connect()
        try:
            yield connection
        except BaseException as failure:
            if not connection.invalidated and getattr(driver_of(connection), "closed", False):
                connection.invalidate()  # else the pool would try to roll back, and log that it cannot
            if only_reads(failure):
                connection.invalidate()
                self._begin_anew()
            connection.close()
            raise
        if self.is_sqlite and len(self._idle) < _KEPT:
            connection.rollback()
            self._idle.append(connection)
        else:
            connection.close()

    def _begin_anew(self) -> None:
        """Lets go of all connections that nobody uses. SQLite opens a file that it may not write (a disk that turned
        read-only) to read it: such a connection never writes again, nor does another of its process beside it. One to
        Postgres stays with its server, also where that is no longer the primary, and keeps what its session began with.
        """
        self._forget_idle()
        self.engine.dispose()

    def mark(self) -> int | None:
        """A number that changes when anything is committed to the database, by whichever process.

        None where that cannot be told (Postgres). SQLite tells it to a connection that writes nothing itself
        (https://sqlite.org/pragma.html#pragma_data_version).
        """
        if not self.is_sqlite:
            return None
        with self._watching:
            try:
                if self._watcher is None:
                    self._watcher = self.engine.raw_connection()
                asked = self._watcher.dbapi_connection  # outside of a transaction, else it would stand still
                number: int = asked.execute("PRAGMA data_version").fetchone()[0]
            except (sqlite3.Error, SQLAlchemyError):  # whoever asks must then take everything for changed
                log.warning("the database does not tell whether it changed", exc_info=True)
                self._watcher = None
                return None
        return number

    def shares_sessions(self) -> bool:
        """Whether what frees one connection's transaction serves the next one's: a pooler between us and Postgres that
        works by transaction (PgBouncer's `pool_mode = transaction`), behind which prepared statements get lost.
        """
        if self.is_sqlite:
            return False
        with telling_outages(), self.engine.connect() as first, self.engine.connect() as second:
            before = first.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
            first.rollback()
            return bool(second.exec_driver_sql("SELECT pg_backend_pid()").scalar_one() == before)

    def letters(self) -> str:
        """The encoding of texts: any but UTF8 lacks most letters, or knows none (SQL_ASCII)."""
        if self.is_sqlite:
            return "UTF8"
        with self.read() as connection:
            return str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())

    def create_tables(self) -> None:
        """Makes the tables that are missing. Used by tests; installations migrate (`migrate.py`)."""
        metadata.create_all(self.engine)

    def _wrote(self) -> None:
        if self._checkpoints is not None:
            self._checkpoints.committed()

    def _connected(self) -> Any:
        """A connection to SQLite that the pool no longer knows."""
        pooled = self.engine.raw_connection()
        pooled.detach()
        connection: Any = pooled.dbapi_connection
        return connection

    def close(self) -> None:
        """Gives every connection back."""
        if self._checkpoints is not None:
            self._checkpoints.close()
        self._forget_idle()
        self.engine.dispose()

    def _forget_idle(self) -> None:
        with suppress(IndexError):  # who else takes from them was quicker
            while True:
                self._idle.pop().close()
        with self._watching:
            if self._watcher is not None:
                self._watcher.close()
                self._watcher = None


def _connect_postgres(
    url: str, _dialect: Dialect, _record: Any, arguments: Sequence[Any], named: Mapping[str, Any]
) -> Any:
    """By the URL, where there is one, else by what SQLAlchemy has read in its own."""
    from features import postgres  # with its driver: where the state is on SQLite, neither is loaded

    return postgres.connect(url) if url else postgres.connect(*arguments, **named)


def _set_up_sqlite(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in (
        "page_size=8192",  # of a new file; a decision's record fills some pages, each of which is copied three times
        "journal_mode=WAL",
        "synchronous=FULL",
        "wal_autocheckpoint=1000",  # 8 MB: where `Checkpoints` falls behind, and in processes that commit once
        f"busy_timeout={1000 * PATIENCE_S}",
        "foreign_keys=ON",
        "secure_delete=ON",  # as Debian builds it; who is erased must not stay in the file between rows
        "cache_size=-32768",
    ):
        _set(connection, pragma)


def _set(connection: Any, pragma: str) -> None:
    """Tries again for a moment: SQLite waits for nobody who makes the same new file one with a write-ahead log."""
    until = monotonic() + _NEW_FILE_S
    while True:
        try:
            connection.execute(f"PRAGMA {pragma}").close()
            return
        except sqlite3.OperationalError as busy:
            if busy.sqlite_errorcode != sqlite3.SQLITE_BUSY or monotonic() > until:
                raise
            sleep(0.01)


def _begin_sqlite(connection: Connection) -> None:
    driver, info = driver_of(connection), connection.info
    waits = info.pop(_WAITS, None)
    if waits is not None and info.get("waited", True) != waits:
        info["waited"] = waits
        driver.execute(f"PRAGMA synchronous={'FULL' if waits else 'NORMAL'}")
    driver.execute("BEGIN" if waits is None else "BEGIN IMMEDIATE")


def any_key(columns: Sequence[ColumnElement[Any]], keys: Sequence[tuple[Any, ...]]) -> ColumnElement[bool]:
    """Rows whose `columns` together are one of `keys`. An index has to begin with the first of the columns: by several
    at once SQLite looks into none, and reads the table.
    """
    return columns[0].in_(sorted({key[0] for key in keys})) & tuple_(*columns).in_(keys)


def driver_of(connection: Connection) -> Any:
    """The driver's own connection, for what is asked too often to go through SQLAlchemy."""
    return connection.connection.dbapi_connection


def stored_time(value: datetime) -> int:
    """A time as `UtcTime` keeps it."""
    return (value - _EPOCH) // _MICROSECOND


def those_in(connection: Connection, column: Column[str], values: Collection[str]) -> set[str]:
    """Those of these texts that a column holds, which has an index or few rows."""
    found = select(column).where(any_of(column, texts("wanted"))).distinct()
    return set(connection.execute(found, {"wanted": sorted(values)}).scalars())


def slices(values: Sequence[Any], size: int = 500) -> Iterator[list[Any]]:
    """Parts small enough for one statement."""
    for start in range(0, len(values), size):
        yield list(values[start : start + size])


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    keys: Iterable[str] | None = None,
    update: Iterable[str] | None = None,
) -> int:
    """Inserts rows; where the key exists, replaces the `update` columns (default: all given but the keys).

    `update=()` keeps the row that is there ("insert or ignore"). Returns the number of rows inserted or changed.
    """
    if not rows:
        return 0
    key_columns = tuple(keys) if keys is not None else tuple(column.name for column in table.primary_key)
    changed = tuple(name for name in rows[0] if name not in key_columns) if update is None else tuple(update)
    statement = _upserting(table, key_columns, changed, connection.dialect.name)
    return connection.execute(statement, [dict(row) for row in rows]).rowcount


@lru_cache(maxsize=256)
def _upserting(table: Table, key_columns: Sequence[str], changed: Sequence[str], dialect: str) -> Any:
    """Kept, as SQLAlchemy then knows what it made of it: to write it again takes longer than to run it."""
    build = sqlite.insert if dialect == "sqlite" else postgresql.insert
    statement: Any = build(table).execution_options(preserve_rowcount=True)
    if not changed:
        return statement.on_conflict_do_nothing(index_elements=key_columns)
    new = {name: statement.excluded[name] for name in changed}
    return statement.on_conflict_do_update(index_elements=key_columns, set_=new)

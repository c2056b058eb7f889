"""Where packed rows stand: a SQLite file, Postgres or Redis, behind one small protocol."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import psycopg

Edit = Callable[[list[bytes | None]], list[bytes | None]]
_MANY = 500


class RowStore(Protocol):
    """Bytes by key. All methods may be called from any thread."""

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """The row of each key, None where there is none."""

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        """Reads these (distinct) keys' rows, lets `edit` make their new ones (None removes), and writes all or
        none, with nobody writing in between. `edit` may be called again if another writer was faster."""

    def keys(self) -> Iterator[str]:
        """All keys, in no order."""

    def close(self) -> None: ...


def open_store(url_or_path: str, table: str) -> RowStore:
    """`postgresql://…`, `redis://…`, else the path of a SQLite file. `table` keeps kinds of rows apart."""
    if url_or_path.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        return PostgresRows(url_or_path.replace("+psycopg", "", 1), table)
    if url_or_path.startswith(("redis://", "rediss://", "unix://")):
        return RedisRows(url_or_path, table)
    return SqliteRows(Path(url_or_path.removeprefix("sqlite:///")), table)


class SqliteRows:
    """One file in WAL mode; a connection for each thread; writers wait for one another."""

    def __init__(self, path: Path, table: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._table = path, _checked(table)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        with self._lock:
            self._connection().execute(f"CREATE TABLE IF NOT EXISTS {self._table} (key TEXT PRIMARY KEY, row BLOB)")

    def _connection(self) -> sqlite3.Connection:
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is None:
            held = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            held.execute("PRAGMA journal_mode = WAL")
            held.execute("PRAGMA synchronous = NORMAL")
            held.execute("PRAGMA mmap_size = 268435456")
            self._local.connection = held
            self._opened.append(held)
        return held

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        if len(keys) == 1:
            found = self._connection().execute(f"SELECT row FROM {self._table} WHERE key = ?", tuple(keys)).fetchone()
            return [found[0] if found else None]
        rows: dict[str, bytes] = {}
        for start in range(0, len(keys), _MANY):
            some = tuple(keys[start : start + _MANY])
            marks = ",".join("?" * len(some))
            rows.update(self._connection().execute(f"SELECT key, row FROM {self._table} WHERE key IN ({marks})", some))
        return [rows.get(key) for key in keys]

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            after = list(zip(keys, edit(self.read(keys)), strict=True))
            connection.executemany(
                f"INSERT INTO {self._table} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET row = excluded.row",
                [(key, row) for key, row in after if row is not None],
            )
            gone = [(key,) for key, row in after if row is None]
            connection.executemany(f"DELETE FROM {self._table} WHERE key = ?", gone)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def keys(self) -> Iterator[str]:
        for (key,) in self._connection().execute(f"SELECT key FROM {self._table}").fetchall():
            yield key

    def close(self) -> None:
        for connection in self._opened:
            connection.close()
        self._opened.clear()
        self._local = threading.local()


class PostgresRows:
    """A table in Postgres; rows are locked while they change. An empty row stands for one that is being made."""

    def __init__(self, url: str, table: str) -> None:
        self._url, self._table = url, f"opportune_{_checked(table)}"
        self._idle: list[psycopg.Connection[Any]] = []
        self._lock = threading.Lock()
        with self._connection() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", (self._table,))
            connection.execute(f"CREATE TABLE IF NOT EXISTS {self._table} (key TEXT PRIMARY KEY, row BYTEA NOT NULL)")

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction of its own, committed at the end."""
        import psycopg

        with self._lock:
            held = self._idle.pop() if self._idle else None
        if held is None or held.closed:
            held = psycopg.connect(self._url)
        try:
            with held.transaction():
                yield held
        finally:
            if held.broken:
                held.close()
            else:
                with self._lock:
                    self._idle.append(held)

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._connection() as connection:
            found = dict(
                connection.execute(
                    f"SELECT key, row FROM {self._table} WHERE key = ANY(%s)", (list(keys),), binary=True
                )
            )
        return [found.get(key) or None for key in keys]

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        ordered = sorted(keys)
        with self._connection() as connection:
            connection.cursor().executemany(
                f"INSERT INTO {self._table} VALUES (%s, '') ON CONFLICT DO NOTHING", [(key,) for key in ordered]
            )
            query = f"SELECT key, row FROM {self._table} WHERE key = ANY(%s) ORDER BY key FOR UPDATE"
            before = dict(connection.execute(query, (ordered,), binary=True))
            after = list(zip(keys, edit([before.get(key) or None for key in keys]), strict=True))
            connection.cursor().executemany(
                f"UPDATE {self._table} SET row = %s WHERE key = %s", [(row, key) for key, row in after if row]
            )
            gone = [key for key, row in after if row is None]
            connection.execute(f"DELETE FROM {self._table} WHERE key = ANY(%s)", (gone,))

    def keys(self) -> Iterator[str]:
        with self._connection() as connection:
            found = connection.execute(f"SELECT key FROM {self._table} WHERE row <> ''").fetchall()
        for (key,) in found:
            yield key

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()


class RedisRows:
    """Keys `opportune:TABLE:KEY`; a change is tried again when another writer was faster (WATCH, MULTI)."""

    def __init__(self, url: str, table: str) -> None:
        import redis

        self._client = redis.Redis.from_url(url)
        self._prefix = f"opportune:{_checked(table)}:"
        self._conflict = redis.WatchError

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        found: list[bytes | None] = self._client.mget([self._prefix + key for key in keys])  # type: ignore[assignment]
        return found

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        if not keys:
            return
        names = [self._prefix + key for key in keys]
        while True:
            with self._client.pipeline() as pipe:
                try:
                    pipe.watch(*names)  # type: ignore[no-untyped-call]
                    after = edit(pipe.mget(names))  # type: ignore[arg-type]
                    pipe.multi()
                    for name, row in zip(names, after, strict=True):
                        pipe.delete(name) if row is None else pipe.set(name, row)
                    pipe.execute()
                    return
                except self._conflict:
                    continue

    def keys(self) -> Iterator[str]:
        for name in self._client.scan_iter(match=f"{self._prefix}*", count=1000):
            yield name.decode().removeprefix(self._prefix)

    def close(self) -> None:
        self._client.close()


def _checked(table: str) -> str:
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name; use letters, digits and _")
    return table

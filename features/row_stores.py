"""Where packed rows stand: a SQLite file, Postgres or Redis, behind one small protocol."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import psycopg

log = logging.getLogger(__name__)
Edit = Callable[[list[bytes | None]], list[bytes | None]]
_T = TypeVar("_T")
_KEYS = 1_000
"""Keys that are read at once: there may be millions, and a table of so many takes longer than a statement may."""
_MANY = 500
_TRIES = 3
_REDIS = ("redis://", "rediss://", "unix://")
_REDIS_S = 2.0
"""How long an answer of Redis is waited for, unless its URL says otherwise: less than a decision may take (5 s), or the
database would be taken for what hangs."""
_LOOK_S = 5.0
"""How long a file's place is trusted."""
_LOG_S = 0.5
"""How long emptying a log may keep writers waiting for those who read."""
_AGAIN_S = 0.01
"""A pause before another try, while a thread copies what was committed into the file (`storage/checkpoints.py`)."""


class StoreAway(Exception):
    """The store does not answer now; the same call may well succeed later."""


@contextmanager
def _telling(*failures: type[Exception]) -> Iterator[None]:
    """Turns the driver's words for a store that is away into `StoreAway`."""
    try:
        yield
    except failures as failure:
        raise _away(failure) from failure


def _away(failure: Exception) -> StoreAway:
    return StoreAway(f"the online store does not answer: {type(failure).__name__}")


class RowStore(Protocol):
    """Bytes by key. All methods may be called from any thread, and raise `StoreAway` while the store is away."""

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        """The row of each key, None where there is none."""

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        """Reads these (distinct) keys' rows, lets `edit` make their new ones (None removes), and writes all or
        none, with nobody writing in between. `edit` may be called again if another writer was faster."""

    def keys(self, containing: str = "") -> Iterator[str]:
        """All keys (with this text in them: letters, digits), in no order."""

    def close(self) -> None: ...


def open_store(url_or_path: str, table: str) -> RowStore:
    """`postgresql://…`, `redis://…`, else the path of a SQLite file. `table` keeps kinds of rows apart."""
    if url_or_path.startswith(("postgresql://", "postgres://", "postgresql+psycopg://")):
        return PostgresRows(url_or_path.replace("+psycopg", "", 1), table)
    if url_or_path.startswith(_REDIS):
        return RedisRows(url_or_path, table)
    return SqliteRows(Path(url_or_path.removeprefix("sqlite:///")), table)


def empty_log(url_or_path: str) -> None:
    """Empties a SQLite file's write-ahead log, in which rows that were deleted still stand; another time, where
    somebody is reading. Other stores keep such to themselves."""
    if "://" in url_or_path and not url_or_path.startswith("sqlite:"):
        return
    path, end = Path(url_or_path.removeprefix("sqlite:///")), monotonic() + _LOG_S
    with closing(sqlite3.connect(path, timeout=_LOG_S, isolation_level=None)) as connection:
        while busy := _log_is_kept(connection):
            if monotonic() > end:
                break
            sleep(_AGAIN_S)
    if busy:
        log.info("%s is being read; what was erased goes from its log with later writes", path.name)


def _log_is_kept(connection: sqlite3.Connection) -> bool:
    """Tries to empty the log. It is kept where somebody reads, and, without waiting, where another one copies it."""
    try:
        return bool(connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0])
    except sqlite3.OperationalError:
        return True


def drops_rows(url_or_path: str) -> bool:
    """Whether the store, once it is full, makes room by itself: a Redis with a limit and a policy `allkeys-…`."""
    if not url_or_path.startswith(_REDIS):
        return False
    import redis

    with _telling(redis.RedisError), redis.Redis.from_url(url_or_path, socket_timeout=_REDIS_S) as client:
        told: Any = client.info("memory")
    return bool(told.get("maxmemory")) and str(told.get("maxmemory_policy")).startswith("allkeys")


class SqliteRows:
    """One file in WAL mode; a connection for each thread; writers wait for one another.

    A file that was deleted, or that another one took the place of, is opened anew within seconds: rows of the old one
    would be gone with the process.
    """

    def __init__(self, path: Path, table: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path, self._table = path, _checked(table)
        self._local = threading.local()
        self._opened: list[sqlite3.Connection] = []
        self._lock = threading.Lock()
        self._file: tuple[int, int] | None = None
        self._look()

    def _look(self) -> None:
        """Makes the file if it is not there; connections to another one are used no more."""
        self._look_at = monotonic() + _LOOK_S
        with self._lock:
            if self._file is not None and _identity(self._path) == self._file:
                return
            self._local = threading.local()
            self._connection().execute(f"CREATE TABLE IF NOT EXISTS {self._table} (key TEXT PRIMARY KEY, row BLOB)")
            self._file = _identity(self._path)

    def _connection(self) -> sqlite3.Connection:
        held: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if held is None:
            held = sqlite3.connect(self._path, timeout=30, isolation_level=None, check_same_thread=False)
            held.execute("PRAGMA journal_mode = WAL")
            held.execute("PRAGMA synchronous = NORMAL")
            held.execute("PRAGMA mmap_size = 268435456")
            held.execute("PRAGMA secure_delete = ON")  # as Debian builds it; who is erased must not stay between rows
            self._local.connection = held
            self._opened.append(held)
        return held

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        try:  # not `_telling`: a context manager costs as much here as a third of the query
            if monotonic() >= self._look_at:
                self._look()
            return self._read(self._connection(), keys)
        except sqlite3.OperationalError as failure:
            raise _away(failure) from failure

    def _read(self, connection: sqlite3.Connection, keys: Sequence[str]) -> list[bytes | None]:
        if len(keys) == 1:
            found = connection.execute(f"SELECT row FROM {self._table} WHERE key = ?", tuple(keys)).fetchone()
            return [found[0] if found else None]
        rows: dict[str, bytes] = {}
        for start in range(0, len(keys), _MANY):
            some = tuple(keys[start : start + _MANY])
            marks = ",".join("?" * len(some))
            rows.update(connection.execute(f"SELECT key, row FROM {self._table} WHERE key IN ({marks})", some))
        return [rows.get(key) for key in keys]

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        with _telling(sqlite3.OperationalError):
            if monotonic() >= self._look_at:
                self._look()
            self._change(keys, edit)

    def _change(self, keys: Sequence[str], edit: Edit) -> None:
        connection = self._connection()
        connection.execute("BEGIN IMMEDIATE")
        try:
            before = self._read(connection, keys)
            after = _changed(keys, before, edit(list(before)))
            connection.executemany(
                f"INSERT INTO {self._table} VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET row = excluded.row",
                [(key, row) for key, row in after if row is not None],
            )
            gone = [(key,) for key, row in after if row is None]
            if gone:
                connection.executemany(f"DELETE FROM {self._table} WHERE key = ?", gone)
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:  # a full disk has ended it by itself
                connection.execute("ROLLBACK")
            raise

    def keys(self, containing: str = "") -> Iterator[str]:
        query, after = f"SELECT key FROM {self._table} WHERE key > ? ORDER BY key LIMIT {_KEYS}", ""
        while True:
            with _telling(sqlite3.OperationalError):
                found = self._connection().execute(query, (after,)).fetchall()
            if not found:
                return
            yield from (key for (key,) in found if containing in key)
            (after,) = found[-1]

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
    def _connection(self, one_statement: bool = False) -> Iterator[psycopg.Connection[Any]]:
        """A connection in a transaction of its own, committed at the end; of itself, if it is one statement."""
        from psycopg.errors import ReadOnlySqlTransaction

        from features.postgres import connect

        with self._lock:
            held = self._idle.pop() if self._idle else None
        if held is None or held.closed:
            held = connect(self._url, autocommit=True)
        try:
            with nullcontext() if one_statement else held.transaction():
                yield held
        except ReadOnlySqlTransaction:
            held.close()  # it would stay with a server that is no longer the primary
            raise
        finally:
            if held.closed:  # the server has ended it, so the idle ones are dead too
                self.close()
            else:
                with self._lock:
                    self._idle.append(held)

    def _steadily(self, work: Callable[[], _T]) -> _T:
        """Runs `work` again when the server had ended its connection, or had chosen it to lose a deadlock; not where
        waiting for it took all the time that there was.
        """
        import psycopg
        from psycopg.errors import ConnectionTimeout, QueryCanceled, ReadOnlySqlTransaction

        from features.postgres import Silent

        with _telling(psycopg.OperationalError, ReadOnlySqlTransaction):
            for _ in range(_TRIES - 1):
                try:
                    return work()
                except (ConnectionTimeout, QueryCanceled, Silent):
                    raise
                except psycopg.OperationalError:
                    continue
            return work()

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        return self._steadily(partial(self._read, keys))

    def _read(self, keys: Sequence[str]) -> list[bytes | None]:
        with self._connection(one_statement=True) as connection:
            found = dict(
                connection.execute(
                    f"SELECT key, row FROM {self._table} WHERE key = ANY(%s)", (list(keys),), binary=True
                )
            )
        return [found.get(key) or None for key in keys]

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        self._steadily(partial(self._change, keys, edit))

    def _change(self, keys: Sequence[str], edit: Edit) -> None:
        ordered = sorted(keys)
        with self._connection() as connection:
            connection.cursor().executemany(
                f"INSERT INTO {self._table} VALUES (%s, '') ON CONFLICT DO NOTHING", [(key,) for key in ordered]
            )
            query = f"SELECT key, row FROM {self._table} WHERE key = ANY(%s) ORDER BY key FOR UPDATE"
            held = dict(connection.execute(query, (ordered,), binary=True))
            before = [held.get(key) or None for key in keys]
            rows = edit(list(before))
            changed = [(row, key) for key, row in _changed(keys, before, rows) if row]
            connection.cursor().executemany(f"UPDATE {self._table} SET row = %s WHERE key = %s", changed)
            gone = [key for key, row in zip(keys, rows, strict=True) if row is None]  # what was only being made, too
            connection.execute(f"DELETE FROM {self._table} WHERE key = ANY(%s)", (gone,))

    def keys(self, containing: str = "") -> Iterator[str]:
        after = ""
        while found := self._steadily(partial(self._keys, after)):
            yield from (key for key, is_made in found if is_made and containing in key)
            after = found[-1][0]

    def _keys(self, after: str) -> list[tuple[str, bool]]:
        with self._connection(one_statement=True) as connection:
            query = f"SELECT key, row <> '' FROM {self._table} WHERE key > %s ORDER BY key LIMIT {_KEYS}"
            return connection.execute(query, (after,)).fetchall()

    def close(self) -> None:
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()


class RedisRows:
    """Keys `opportune:TABLE:KEY`; a change is tried again when another writer was faster (WATCH, MULTI)."""

    def __init__(self, url: str, table: str) -> None:
        import redis

        self._client = redis.Redis.from_url(url, socket_timeout=_REDIS_S, socket_connect_timeout=_REDIS_S)
        self._prefix = f"opportune:{_checked(table)}:"
        self._conflict = redis.WatchError
        # Refusals too (MISCONF, NOREPLICAS, NOPERM): of bytes by key there is no other fault.
        self._away = redis.RedisError

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        if not keys:
            return []
        with _telling(self._away):
            found: list[bytes | None] = self._client.mget([self._prefix + key for key in keys])  # type: ignore[assignment]
        return found

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        if keys:
            with _telling(self._away):
                self._change(keys, edit)

    def _change(self, keys: Sequence[str], edit: Edit) -> None:
        names = [self._prefix + key for key in keys]
        while True:
            with self._client.pipeline() as pipe:
                try:
                    pipe.watch(*names)  # type: ignore[no-untyped-call]
                    before: list[bytes | None] = pipe.mget(names)  # type: ignore[assignment]
                    after = _changed(names, before, edit(list(before)))
                    pipe.multi()
                    for name, row in after:
                        pipe.delete(name) if row is None else pipe.set(name, row)
                    pipe.execute()
                    return
                except self._conflict:
                    continue

    def keys(self, containing: str = "") -> Iterator[str]:
        found = self._client.scan_iter(match=f"{self._prefix}*{containing}*", count=1000)
        while True:
            with _telling(self._away):  # around each look alone: what the caller raises meanwhile is its own
                name = next(found, None)
            if name is None:
                return
            yield name.decode().removeprefix(self._prefix)

    def close(self) -> None:
        self._client.close()


def _changed(
    keys: Sequence[str], before: Sequence[bytes | None], after: Sequence[bytes | None]
) -> list[tuple[str, bytes | None]]:
    """What is to be written: an edit hands back the very row that it got for one that stays."""
    told = zip(keys, before, after, strict=True)
    return [(key, new) for key, old, new in told if new is not old]


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file stands there; None: there is none."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return None
    return told.st_dev, told.st_ino


def _checked(table: str) -> str:
    if not table.isidentifier():
        raise ValueError(f"{table!r} is no table name; use letters, digits and _")
    return table

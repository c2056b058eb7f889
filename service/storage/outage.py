"""A database that is away is told as `Unavailable` (503), not as a failure of what was asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.exc import DBAPIError, TimeoutError

from service.errors import Unavailable

_ONLY_READS, _DISK_FULL = "25006", "53100"
# SQLSTATE: connection; a standby that only reads; a transaction that stood open or took long; rollback (deadlock); out
# of resources; lock; shutdown, timeout; the server's own disk.
_AWAY_STATES = ("08", _ONLY_READS, "25P03", "25P04", "40", "53", "55P03", "57", "58")
# SQLite result codes: BUSY, LOCKED, READONLY, IOERR, FULL, CANTOPEN (https://sqlite.org/rescode.html).
_AWAY_CODES = {5, 6, 8, 10, 13, 14}
_SQLITE_READONLY, _SQLITE_IOERR, _SQLITE_FULL = 8, 10, 13
_DRIVERS = {"sqlite3", "psycopg"}


@contextmanager
def telling_outages() -> Iterator[None]:
    """Turns failures of the database itself into `Unavailable`; faults of statements and data stay what they are."""
    try:
        yield
    except Exception as failure:
        if not is_outage(failure):
            raise
        raise Unavailable(_detail(failure)) from failure


def _detail(failure: Exception) -> str:
    state, code = _state(failure), _sqlite_code(failure)
    if code == _SQLITE_FULL or state == _DISK_FULL:
        return "the database's disk is full; make room, then try again"
    if code == _SQLITE_IOERR:  # of a full disk, too, where it is the shared memory that cannot grow
        return "the database cannot read or write its file; see whether the disk is full, then try again"
    if code == _SQLITE_READONLY:
        return "the database may not be written; give its file to the user who runs this, then try again"
    if state == _ONLY_READS:
        return "the database takes no writes now: its server is a standby, or was set to only read"
    return "the database does not answer now; try again in a few seconds"


def only_reads(failure: BaseException) -> bool:
    """Whether the database says that this connection may only read; told raw, or as `Unavailable`."""
    told = failure, failure.__cause__
    return any(_sqlite_code(one) == _SQLITE_READONLY or _state(one) == _ONLY_READS for one in told)


def _state(failure: BaseException | None) -> str | None:
    """Postgres' SQLSTATE; None where it told none."""
    return getattr(getattr(failure, "orig", failure), "sqlstate", None)


def _sqlite_code(failure: BaseException | None) -> int:
    """SQLite's primary result code; 0 where it is not SQLite's."""
    cause = getattr(failure, "orig", failure)
    return (getattr(cause, "sqlite_errorcode", None) or 0) & 0xFF


def is_outage(failure: Exception) -> bool:
    """Whether it is the database's, told by SQLAlchemy or its driver, and the same work may well succeed later."""
    if isinstance(failure, TimeoutError):  # no connection became free
        return True
    cause = failure.orig if isinstance(failure, DBAPIError) else failure
    if cause is failure and type(failure).__module__.partition(".")[0] not in _DRIVERS:
        return False
    if getattr(cause, "sqlite_errorcode", None) is not None:
        return _sqlite_code(failure) in _AWAY_CODES
    state = _state(failure)
    if state is not None:
        return state.startswith(_AWAY_STATES)
    invalid = isinstance(failure, DBAPIError) and failure.connection_invalidated
    return invalid or type(cause).__name__ in {"OperationalError", "ConnectionTimeout"}

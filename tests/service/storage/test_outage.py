"""A database that is away is told from a fault of what was asked."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from service.errors import Unavailable
from service.storage import lease  # its table is what is written to
from service.storage.database import Database
from service.storage.outage import is_outage, telling_outages
from tests.conftest import free_port


@pytest.mark.parametrize(
    ("failure", "away"),
    [
        (psycopg.errors.AdminShutdown(), True),
        (psycopg.errors.DeadlockDetected(), True),
        (psycopg.errors.QueryCanceled(), True),
        (psycopg.errors.DiskFull(), True),
        (psycopg.errors.IdleInTransactionSessionTimeout(), True),
        (psycopg.errors.ReadOnlySqlTransaction(), True),
        (psycopg.errors.TransactionTimeout(), True),
        (psycopg.errors.IoError(), True),
        (psycopg.OperationalError("connection refused"), True),
        (psycopg.errors.ProgramLimitExceeded(), False),
        (psycopg.errors.UniqueViolation(), False),
        (psycopg.errors.UndefinedTable(), False),
        (psycopg.DataError(), False),
    ],
)
def test_what_postgres_says(failure: Exception, away: bool) -> None:
    assert is_outage(DBAPIError("SELECT 1", {}, failure)) is away


def test_a_file_that_may_not_be_written_is_told_as_such(tmp_path: Path) -> None:
    """To try again in a few seconds, as of one that does not answer, would never help."""
    sqlite3.connect(tmp_path / "state.db").execute("CREATE TABLE one (n)").connection.close()
    reader = sqlite3.connect(f"file:{tmp_path}/state.db?mode=ro", uri=True)
    with pytest.raises(Unavailable, match="give its file to the user"), telling_outages():
        reader.execute("INSERT INTO one VALUES (1)")
    reader.close()


def test_writes_go_on_when_a_disk_that_turned_read_only_is_itself_again(tmp_path: Path) -> None:
    """SQLite opens a file that it may not write to read it: such a connection never wrote again, until a restart."""
    path = tmp_path / "state.db"
    database, read_only = Database(f"sqlite:///{path}"), [False]

    def as_sqlite_opens_it(*_: object) -> sqlite3.Connection | None:
        if not read_only[0]:
            return None
        return sqlite3.connect(f"file:{path}?mode=ro", uri=True, check_same_thread=False)

    def write() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO notes VALUES (1)"))

    event.listen(database.engine, "do_connect", as_sqlite_opens_it)
    with database.write() as connection:
        connection.execute(text("CREATE TABLE notes (n)"))
    database.close()  # as of a service whose connections were all in use, or had failed
    read_only[0] = True
    for _ in range(3):
        with pytest.raises(Unavailable, match="may not be written"):
            write()
        with database.read() as connection:  # in between it is read all the same
            assert connection.execute(text("SELECT count(*) FROM notes")).scalar_one() == 0
        database.mark()
    read_only[0] = False
    with pytest.raises(Unavailable):  # what lay in the pool is told to be so, once
        write()
    write()
    database.close()


def test_writes_go_on_when_a_server_that_only_read_takes_them_again(postgres_url: str) -> None:
    """A connection keeps what its session began with, and stays with a former primary: it never wrote again."""
    database, name = Database(postgres_url.replace(":", "+psycopg:", 1)), postgres_url.rpartition("/")[2]

    def write() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO notes VALUES (1)"))

    with database.write() as connection:
        connection.execute(text("CREATE TABLE notes (n INTEGER)"))
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        database.close()  # the next connections have it
        for _ in range(3):
            with pytest.raises(Unavailable, match="takes no writes now"):
                write()
            with database.read() as connection:  # in between it is read all the same
                assert connection.execute(text("SELECT count(*) FROM notes")).scalar_one() == 0
        admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    with pytest.raises(Unavailable):  # what lay in the pool is told to be so, once
        write()
    write()
    database.close()


def test_a_wrong_statement_is_no_outage(database: Database) -> None:
    with pytest.raises(DBAPIError), database.read() as connection:
        connection.execute(text("SELECT * FROM nowhere"))


def test_a_fault_of_the_data_is_no_outage(database: Database) -> None:
    def twice() -> None:
        with database.write() as connection:
            for _ in range(2):
                connection.execute(text(f"INSERT INTO {lease.leases.name} (name, holder, until) VALUES ('a', 'b', 0)"))

    with pytest.raises(IntegrityError):
        twice()


def test_a_server_that_is_not_there_is_an_outage() -> None:
    database = Database(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    with pytest.raises(Unavailable, match="try again"), database.read():
        pass
    with pytest.raises(Unavailable, match="try again"), database.write():
        pass
    database.close()


def test_a_connection_that_the_server_ends_is_an_outage_and_the_next_is_well(postgres_url: str) -> None:
    database = Database(postgres_url.replace("postgresql://", "postgresql+psycopg://"))

    def end_mine() -> None:
        with database.write() as connection:
            mine = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            with psycopg.connect(postgres_url, autocommit=True) as other:
                other.execute("SELECT pg_terminate_backend(%s)", (mine,))
            connection.execute(text("SELECT 1"))

    with pytest.raises(Unavailable):
        end_mine()
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    database.close()


def test_a_lock_held_too_long_is_an_outage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.storage.database.PATIENCE_S", 0.01)
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE held (a INTEGER)"))
    other = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    def write() -> None:
        with database.write():
            pass

    with pytest.raises(Unavailable):
        write()
    other.close()
    write()
    database.close()


def test_a_full_disk_is_told_as_such(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    with database.write() as connection:
        connection.execute(text("CREATE TABLE notes (body BLOB)"))

    def fill() -> None:
        with database.write() as connection:
            pages = connection.execute(text("PRAGMA page_count")).scalar_one()
            connection.execute(text(f"PRAGMA max_page_count = {pages}"))  # as a disk without room
            connection.execute(text("INSERT INTO notes VALUES (zeroblob(1000000))"))

    with pytest.raises(Unavailable) as told:
        fill()
    assert told.value.detail == "the database's disk is full; make room, then try again"
    database.close()


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (psycopg.errors.DiskFull(), "the database's disk is full"),
        (psycopg.errors.ReadOnlySqlTransaction(), "the database takes no writes now"),
        (psycopg.errors.AdminShutdown(), "the database does not answer now"),
    ],
)
def test_what_a_server_lacks_is_told_as_such(failure: Exception, told: str) -> None:
    with pytest.raises(Unavailable, match=told), telling_outages():
        raise failure

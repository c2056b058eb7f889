"""A Postgres that hangs: it has taken the connection, and says nothing more."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from features import postgres
from features.postgres import PATIENCE_S, STATEMENT_S, Patient, Silent, connect
from features.row_stores import PostgresRows, StoreAway
from service.errors import Unavailable
from service.storage.database import Database, driver_of
from tests.fakes.postgres_server import PostgresServer, free_port

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Patient, "patience_s", 0.5)


@pytest.fixture
def frozen(stoppable: PostgresServer) -> Iterator[PostgresServer]:
    """One that the test freezes; it is thawed before it is removed."""
    yield stoppable
    stoppable.thaw()


def test_who_asks_a_server_that_hangs_is_let_go(frozen: PostgresServer, hasty: None) -> None:
    url = f"{frozen.url}/postgres"
    connection, rows, database = connect(url), PostgresRows(url, "t"), Database(url.replace(":", "+psycopg:", 1))
    rows.read(["a"])
    with database.read():
        pass
    frozen.freeze()
    with pytest.raises(Silent, match=r"not answered for 0\.5 s"):
        connection.execute("SELECT 1")
    assert connection.closed
    with pytest.raises(StoreAway):
        rows.read(["a"])
    with pytest.raises(Unavailable), database.read():
        pass
    frozen.thaw()
    assert rows.read(["a"]) == [None]
    with database.write() as again:
        assert again.exec_driver_sql("SELECT 1").scalar_one() == 1
    rows.close()
    database.close()


def test_a_statement_that_hangs_in_a_transaction_is_an_outage(frozen: PostgresServer, hasty: None) -> None:
    database = Database(f"{frozen.url}/postgres".replace(":", "+psycopg:", 1))

    def write() -> None:
        with database.write() as connection:
            connection.exec_driver_sql("SELECT 1")
            frozen.freeze()
            driver_of(connection).execute("SELECT 1")

    with pytest.raises(Unavailable):
        write()
    database.close()


def test_the_server_lets_go_first(postgres_url: str) -> None:
    assert STATEMENT_S < PATIENCE_S == Patient.patience_s
    with connect(postgres_url) as connection:
        assert connection.execute("SHOW statement_timeout").fetchall() == [(f"{STATEMENT_S}s",)]
        told = connection.info.get_parameters()
    assert (told["connect_timeout"], told["tcp_user_timeout"]) == ("5", "10000")


def test_who_stops_in_a_transaction_holds_its_locks_for_a_time(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is stopped, or whose host has vanished: events, or a customer's decisions, waited for hours."""
    with connect(postgres_url) as connection:
        told = {name: connection.execute(f"SHOW {name}").fetchall()[0][0] for name in postgres._LIMITS}
    assert told["idle_in_transaction_session_timeout"] == "10min"
    assert told["tcp_keepalives_idle"] == "30"
    monkeypatch.setitem(postgres._LIMITS, "idle_in_transaction_session_timeout", 200)
    database = Database(postgres_url.replace(":", "+psycopg:", 1))
    with database.write() as connection:
        connection.exec_driver_sql("CREATE TABLE leases (holder text)")

    def stop_and_go_on() -> None:
        with database.write() as stopped:
            stopped.exec_driver_sql("LOCK TABLE leases")
            with connect(postgres_url) as other:
                other.execute("INSERT INTO leases VALUES ('other')")  # waits until the server lets go
            stopped.exec_driver_sql("INSERT INTO leases VALUES ('stopped')")

    with pytest.raises(Unavailable):
        stop_and_go_on()
    with database.write() as again:
        assert again.exec_driver_sql("SELECT holder FROM leases").scalars().all() == ["other"]
    database.close()


def test_options_of_the_url_hold_beside_ours(postgres_url: str) -> None:
    """A search_path there says in which schema the tables are."""
    url = f"{postgres_url}?options=-csearch_path%3Dapp&connect_timeout=9"
    database = Database(url.replace(":", "+psycopg:", 1))
    with database.read() as connection, connect(url) as beside:
        for driver in (driver_of(connection), beside):
            assert driver.execute("SHOW search_path").fetchall() == [("app",)]
            assert driver.execute("SHOW statement_timeout").fetchall() == [(f"{STATEMENT_S}s",)]
            assert driver.info.get_parameters()["connect_timeout"] == "9"
    database.close()


def test_several_hosts_of_a_url_are_tried_in_turn(postgres_url: str) -> None:
    """As libpq writes them, and whoever runs a standby copies them."""
    first, found, rest = postgres_url.rpartition("@")
    url = f"{first}{found}127.0.0.1:{free_port()},{rest}?target_session_attrs=read-write"
    database, rows = Database(url.replace(":", "+psycopg:", 1)), PostgresRows(url, "t")
    with database.write() as connection:
        assert connection.exec_driver_sql("SHOW statement_timeout").scalar_one() == f"{STATEMENT_S}s"
    assert rows.read(["a"]) == [None]
    database.close()
    rows.close()


def test_what_the_server_sets_of_transactions_and_letters_is_ours(postgres_url: str) -> None:
    """Behind a lock a count must see what others have written meanwhile, else a cap of N gives N + 1."""
    name = postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'")
        admin.execute(f"ALTER DATABASE {name} SET client_encoding = 'LATIN1'")
        admin.execute("CREATE TABLE notes (body TEXT)")
        database = Database(postgres_url.replace(":", "+psycopg:", 1))
        with database.read() as connection, connect(postgres_url, autocommit=True) as beside, beside.transaction():
            for driver in (driver_of(connection), beside):
                before = driver.execute("SELECT count(*) FROM notes").fetchall()[0][0]
                admin.execute("INSERT INTO notes VALUES ('written meanwhile')")
                assert driver.execute("SELECT count(*) FROM notes").fetchall() == [(before + 1,)]
                assert driver.execute("SELECT %s::TEXT", ["日本"]).fetchall() == [("日本",)]
        database.close()


def test_a_locked_table_is_waited_for_once(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    rows = PostgresRows(postgres_url, "t")
    monkeypatch.setitem(postgres._LIMITS, "statement_timeout", 100)
    rows.close()  # the next connection has it
    read = rows._read
    monkeypatch.setattr(rows, "_read", lambda keys: asked.append(keys) or read(keys))
    with connect(postgres_url) as holding:
        holding.execute("LOCK TABLE opportune_t IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(StoreAway):
            rows.read(["a"])
    assert asked == [["a"]]
    rows.close()


def test_a_store_that_only_reads_is_away(postgres_url: str) -> None:
    """As after a failover to a standby: no event is to blame."""
    rows = PostgresRows(postgres_url, "t")
    name = postgres_url.rpartition("/")[2]
    with psycopg.connect(postgres_url, autocommit=True) as admin:
        admin.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        rows.close()  # the next connection has it
        with pytest.raises(StoreAway):
            rows.change(["a"], lambda _: [b"1"])
        admin.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    rows.change(["a"], lambda _: [b"1"])  # by a connection that has it no more
    assert rows.read(["a"]) == [b"1"]
    rows.close()

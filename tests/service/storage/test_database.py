from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, String, Table, create_engine, select, text
from sqlalchemy.pool import StaticPool

from service.errors import Unavailable
from service.storage import heartbeats, idempotency_store, lease
from service.storage.database import Database, Json, UtcTime, metadata, upsert

things = Table(
    "test_things",
    metadata,
    Column("name", String, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("at", UtcTime),
    Column("body", Json),
)
NOW = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
ROOT = Path(__file__).parents[3]


def test_times_and_json_come_back_as_they_went_in(database: Database) -> None:
    with database.write() as connection:
        upsert(connection, things, [{"name": "ü", "count": 1, "at": NOW, "body": {"a": [1, None, "ไทย"]}}])
    with database.read() as connection:
        row = connection.execute(select(things)).one()
    assert (row.at, row.body) == (NOW, {"a": [1, None, "ไทย"]})


def test_a_time_without_zone_is_refused(database: Database) -> None:
    with pytest.raises(Exception, match="no time zone"), database.write() as connection:
        upsert(connection, things, [{"name": "x", "count": 1, "at": datetime(2026, 1, 1), "body": None}])


def test_a_failed_block_writes_nothing(database: Database) -> None:
    def fail_half_way() -> None:
        with database.write() as connection:
            upsert(connection, things, [{"name": "x", "count": 1}])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    with database.read() as connection:
        assert connection.execute(select(things)).all() == []


def test_a_writer_whose_turn_does_not_come_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the file, each turn takes its time; those behind must not wait for all of them."""
    monkeypatch.setattr("service.storage.database.PATIENCE_S", 0.01)
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    told: list[Exception] = []

    def write() -> None:
        try:
            with database.write():
                pass
        except Unavailable as away:
            told.append(away)

    waiting = threading.Thread(target=write)
    with database.write():
        waiting.start()
        waiting.join()
    assert [str(one) for one in told] == ["the database is busy; try again in a few seconds"]
    write()
    assert len(told) == 1
    database.close()


def test_upsert_replaces_or_keeps(database: Database) -> None:
    with database.write() as connection:
        upsert(connection, things, [{"name": "x", "count": 1}])
        upsert(connection, things, [{"name": "x", "count": 2}], update=())
        assert connection.execute(select(things.c.count)).scalar_one() == 1
        upsert(connection, things, [{"name": "x", "count": 3}])
        assert connection.execute(select(things.c.count)).scalar_one() == 3


def test_upsert_counts_what_it_changed(database: Database) -> None:
    rows = [{"name": str(n), "count": n, "at": NOW, "body": {"n": n}} for n in range(5000)]
    with database.write() as connection:
        assert upsert(connection, things, rows[:10], update=()) == 10
        assert upsert(connection, things, rows, update=()) == 4990
        assert upsert(connection, things, rows[:1], update=()) == 0
        assert upsert(connection, things, rows) == 5000
        assert connection.execute(select(things.c.body).where(things.c.name == "7")).scalar_one() == {"n": 7}


def test_parallel_read_and_write_transactions_lose_no_update(database: Database) -> None:
    with database.write() as connection:
        upsert(connection, things, [{"name": "x", "count": 0}])

    def add_one() -> None:
        for _ in range(10):
            with database.write() as connection:
                count = connection.execute(select(things.c.count).with_for_update()).scalar_one()
                upsert(connection, things, [{"name": "x", "count": count + 1}])

    workers = [threading.Thread(target=add_one) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    with database.read() as connection:
        assert connection.execute(select(things.c.count)).scalar_one() == 80


def test_a_lease_has_one_holder_and_ends(database: Database) -> None:
    with database.write() as connection:
        assert lease.take(connection, "flush", "a", NOW, 10)
        assert not lease.take(connection, "flush", "b", NOW + timedelta(seconds=9), 10)
        assert lease.take(connection, "flush", "a", NOW + timedelta(seconds=9), 10)
        assert lease.take(connection, "flush", "b", NOW + timedelta(seconds=19), 10)
        lease.release(connection, "flush", "a")
        assert not lease.take(connection, "flush", "c", NOW + timedelta(seconds=19), 10)  # b still has it
        lease.release(connection, "flush", "b")
        assert lease.take(connection, "flush", "a", NOW, 10)


def test_a_lease_that_a_wrong_clock_took_is_free(database: Database) -> None:
    """A machine that came up in another year, and was killed before its clock was put right."""
    with database.write() as connection:
        assert lease.take(connection, "flush", "a", NOW + timedelta(days=400), 10)
        assert lease.take(connection, "flush", "b", NOW, 10)
        assert not lease.take(connection, "flush", "a", NOW + timedelta(seconds=5), 10)
        assert not lease.take(connection, "flush", "a", NOW - timedelta(seconds=55), 10)  # clocks lie apart a little


def test_a_key_for_idempotency_that_a_wrong_clock_claimed_is_claimed_again(database: Database) -> None:
    with database.write() as connection:
        begun = idempotency_store.begin(connection, "k", "body", NOW + timedelta(days=400))
        again = idempotency_store.begin(connection, "k", "body", NOW)
        assert isinstance(begun, idempotency_store.Once)
        assert again == idempotency_store.Once(begun.name, again=True)
        assert isinstance(idempotency_store.begin(connection, "k", "body", NOW), idempotency_store.Earlier)


def test_a_heartbeat_is_the_last_one(database: Database) -> None:
    with database.write() as connection:
        heartbeats.beat(connection, "journeys", NOW, NOW, {"due": 3})
        heartbeats.beat(connection, "journeys", NOW + timedelta(hours=1), NOW, {"due": 0})
    with database.read() as connection:
        assert heartbeats.read_all(connection) == {"journeys": {"at": NOW + timedelta(hours=1), "seen": NOW, "due": 0}}


def test_a_loop_that_is_at_work_is_seen_and_has_finished_nothing(database: Database) -> None:
    with database.write() as connection:
        heartbeats.touch(connection, "journeys", NOW)
        assert heartbeats.read_all(connection) == {}
        heartbeats.beat(connection, "journeys", NOW, NOW, {"due": 3})
        heartbeats.touch(connection, "journeys", NOW + timedelta(hours=1))
        assert heartbeats.read_all(connection) == {"journeys": {"at": NOW, "seen": NOW + timedelta(hours=1), "due": 3}}


def test_nothing_is_written_into_a_file_that_was_taken_away_or_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite writes on, and whoever was told that it is kept would find nothing."""
    monkeypatch.setattr("service.storage.database.LOOKS_S", 0.0)
    home, away = tmp_path / "home", tmp_path / "away"
    database = Database(f"sqlite:///{home / 'state.db'}")
    database.create_tables()

    def write() -> None:
        with database.write() as connection:
            upsert(connection, things, [{"name": "a", "count": 1}])

    write()
    shutil.copytree(home, tmp_path / "copy")
    home.rename(away)
    with pytest.raises(Unavailable, match="the database's file is gone; bring it back"):
        write()
    with database.engine.connect(), pytest.raises(Unavailable, match="is gone"):
        database.engine.connect()  # the pool has no other; a new one would make a new, empty file
    assert not home.exists()
    (tmp_path / "copy").rename(home)
    with pytest.raises(Unavailable, match="another file stands in the place"):
        write()
    shutil.rmtree(home)
    away.rename(home)
    write()
    database.close()


def test_a_file_keeps_the_pages_that_it_was_made_with(tmp_path: Path) -> None:
    old = sqlite3.connect(tmp_path / "old.db")
    old.execute("CREATE TABLE kept (a INTEGER)")
    old.close()
    for name, size in (("old", 4096), ("new", 8192)):
        database = Database(f"sqlite:///{tmp_path / name}.db")
        with database.write() as connection:
            connection.execute(text("CREATE TABLE more (a INTEGER)"))
            assert connection.execute(text("PRAGMA page_size")).scalar_one() == size
        database.close()


def test_many_processes_may_make_one_new_file_at_once() -> None:
    """SQLite waits for nobody who switches a new file to the write-ahead log: some thirty of 1,200 were refused."""
    code = """if True:
        import multiprocessing, tempfile
        from service.storage.database import Database

        def read(barrier, url):
            database = Database(url)
            barrier.wait()
            with database.read():
                pass

        fork = multiprocessing.get_context("fork")
        for _ in range(40):
            with tempfile.TemporaryDirectory() as folder:
                barrier = fork.Barrier(8)
                made = [fork.Process(target=read, args=(barrier, f"sqlite:///{folder}/state.db")) for _ in range(8)]
                for process in made: process.start()
                for process in made: process.join()
                assert all(process.exitcode == 0 for process in made)
    """
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def test_a_pooler_that_works_by_transaction_is_known(database: Database) -> None:
    """PgBouncer gives the server's connection that one transaction has freed to the next, whoever asks."""
    assert not database.shares_sessions()
    if not database.is_sqlite:
        own, database.engine = database.engine, create_engine(database.engine.url, poolclass=StaticPool)
        assert database.shares_sessions()
        database.engine.dispose()
        database.engine = own

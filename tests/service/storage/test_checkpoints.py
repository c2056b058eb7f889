from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import Column, Integer, Table

from service.errors import Unavailable
from service.storage import checkpoints
from service.storage.database import Database, metadata

numbers = Table("test_numbers", metadata, Column("number", Integer, primary_key=True))


def in_the_file_alone(path: Path) -> int:
    """How many rows are there for who does not read the log."""
    connection = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    try:
        found: int = connection.execute("SELECT count(*) FROM test_numbers").fetchone()[0]
    except sqlite3.DatabaseError:  # half written: `immutable` promises that nobody writes
        return 0
    finally:
        connection.close()
    return found


def wait_for(path: Path, rows: int) -> None:
    end = time.monotonic() + 30
    while in_the_file_alone(path) != rows:
        assert time.monotonic() < end, f"{in_the_file_alone(path)} of {rows} rows are in the file"
        time.sleep(0.05)


def written(database: Database, first: int, last: int) -> None:
    for number in range(first, last):
        with database.write() as connection:
            connection.execute(numbers.insert(), {"number": number})


def test_what_was_committed_is_copied_into_the_file_beside_those_who_commit(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    database = Database(f"sqlite:///{path}")
    database.create_tables()
    written(database, 0, 3 * checkpoints.MANY)
    wait_for(path, 3 * checkpoints.MANY)
    written(database, 3 * checkpoints.MANY, 3 * checkpoints.MANY + 1)
    wait_for(path, 3 * checkpoints.MANY + 1)
    database.close()


def test_where_no_thread_can_be_started_what_was_committed_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a transaction that was told as failed everything was there, and the process could not end."""
    path, start, refused = tmp_path / "state.db", threading.Thread.start, [True]

    def starts(thread: threading.Thread) -> None:
        if thread.name == "checkpoints" and refused:
            refused.pop()
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)
    database = Database(f"sqlite:///{path}")
    database.create_tables()
    written(database, 0, 1)
    assert not refused
    written(database, 1, 1 + checkpoints.MANY)
    wait_for(path, 1 + checkpoints.MANY)
    database.close()
    refused.append(True)
    other = Database(f"sqlite:///{path}")
    written(other, 9, 10)
    other.close()


def test_a_file_that_is_gone_does_not_end_the_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever connects looks whether it is the file of before, and says so; the next commit is copied all the same."""
    monkeypatch.setattr(checkpoints, "AFTER_S", 0.0)
    monkeypatch.setattr(checkpoints, "EVERY_S", 0.0)
    asked: list[None] = []
    again = threading.Event()

    def connect() -> sqlite3.Connection:
        asked.append(None)
        if len(asked) == 1:
            raise Unavailable("the database's file is gone")
        again.set()
        return sqlite3.connect(tmp_path / "state.db", check_same_thread=False)

    made = checkpoints.Checkpoints(connect)
    end = time.monotonic() + 30
    while not again.is_set():
        assert time.monotonic() < end, "nobody copies any more"
        made.committed()
        time.sleep(0.01)
    made.close()


def test_closing_ends_the_thread(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.create_tables()
    before = threading.active_count()
    written(database, 0, 1)
    assert threading.active_count() == before + 1
    database.close()
    assert threading.active_count() == before


def test_a_copy_that_fails_is_tried_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    closed = sqlite3.connect(path, check_same_thread=False)
    closed.close()  # whatever is asked of it fails
    copying = checkpoints.Checkpoints(lambda: closed)
    for time_told in (1, 2):
        copying.committed()
        end = time.monotonic() + 30
        while caplog.text.count("could not be copied") < time_told:
            assert time.monotonic() < end
            time.sleep(0.05)
    copying.close()
    assert "Traceback" not in caplog.text  # commands show it as it is


def test_closing_ends_a_thread_that_has_just_looked_whether_to_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copying = checkpoints.Checkpoints(lambda: sqlite3.connect(tmp_path / "state.db", check_same_thread=False))
    closing = threading.Thread(target=copying.close, daemon=True)
    closed = copying._closed
    look = closed.wait

    def close_behind_the_look(seconds: float) -> bool:
        told = look(0)
        if not told:
            closing.start()
            while not copying._many.is_set():  # the last thing that closing does before it waits
                time.sleep(0.01)
        return told

    monkeypatch.setattr(closed, "wait", close_behind_the_look)
    copying.committed()
    end = time.monotonic() + 30
    while closing.ident is None or closing.is_alive():
        assert time.monotonic() < end
        time.sleep(0.05)

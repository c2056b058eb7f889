"""A Postgres belongs to the event log of one home."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from service.doctor import adopt, examine
from service.settings import Settings
from service.storage.database import Database
from service.storage.home_store import FILE, home_of, other_home, settle_home
from service.storage.migrate import migrate
from service.wiring import Parts, build, readiness
from tests.fakes.databases import new_database

NOW = datetime(2026, 11, 30, tzinfo=UTC)
Opened = Callable[[], Database]


@pytest.fixture
def opened(postgres_server: str) -> Iterator[Opened]:
    """Makes empty databases."""
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make() -> Database:
            url = stack.enter_context(new_database(postgres_server))
            database = Database(url.replace("postgresql://", "postgresql+psycopg://"))
            stack.callback(database.close)
            migrate(database)
            return database

        yield make


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    return folder


def other(tmp_path: Path) -> Path:
    folder = tmp_path / "other"
    folder.mkdir()
    return folder


def test_a_second_home_is_told_and_gets_no_name(opened: Opened, home: Path, tmp_path: Path) -> None:
    database, second = opened(), other(tmp_path)
    named = settle_home(database, home, NOW)
    assert named
    assert settle_home(database, home, NOW) == named
    assert other_home(named, named) is None
    assert settle_home(database, second, NOW) == ""
    assert "OPPORTUNE_HOME" in str(other_home(named, ""))
    assert not (second / FILE).exists()
    (second / FILE).write_text("that-of-another-database\n")
    assert settle_home(database, second, NOW) == "that-of-another-database"
    with database.read() as connection:
        assert home_of(connection) == named


def test_an_older_home_and_its_database_find_together_at_the_first_start(opened: Opened, home: Path) -> None:
    (home / "events").mkdir()
    database = opened()
    assert settle_home(database, home, NOW) == (home / FILE).read_text().strip()


def test_a_database_made_anew_takes_the_name_of_the_home(opened: Opened, home: Path) -> None:
    named = settle_home(opened(), home, NOW)
    assert settle_home(opened(), home, NOW) == named


def test_a_backup_of_both_is_good_and_so_is_one_of_the_database_of_before(
    opened: Opened, home: Path, tmp_path: Path
) -> None:
    database = opened()
    named = settle_home(database, home, NOW)
    shutil.copytree(home, tmp_path / "restored")
    assert settle_home(database, tmp_path / "restored", NOW) == named
    with database.write() as connection:
        connection.execute(text("DELETE FROM homes"))
    assert settle_home(database, home, NOW) == named


def test_processes_that_start_together_agree(opened: Opened, home: Path) -> None:
    database = opened()
    with ThreadPoolExecutor(8) as pool:
        names = set(pool.map(lambda _: settle_home(database, home, NOW), range(16)))
    assert names == {(home / FILE).read_text().strip()}
    assert os.listdir(home) == [FILE]


def test_sqlite_lies_in_its_home(home: Path) -> None:
    database = Database(f"sqlite:///{home / 'state.db'}")
    migrate(database)
    assert settle_home(database, home, NOW) is None
    database.close()
    assert not (home / FILE).exists()


def test_a_second_home_goes_on_and_is_told_until_it_is_adopted(
    postgres_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """All else is shared, so caps hold and copy is the same; what is split is told wherever somebody looks."""
    first, second = (
        Settings(home=tmp_path / name, database_url=postgres_url, text_vectors=False) for name in ("first", "second")
    )
    running = build(first)
    assert not _told(running)
    assert not caplog.records
    beside = build(second)
    assert "events that come through this one are missing there" in caplog.text
    [told] = _told(beside)
    assert readiness(beside)[0]
    assert "here none" in told
    assert not _told(running)
    beside.close()
    assert examine(second) == 1
    assert "fail  home           the database belongs to the event log of another home" in capsys.readouterr().out

    assert "belongs to" in adopt(second)
    adopted = build(second)
    assert not _told(adopted)
    adopted.close()
    assert len(_told(running)) == 1
    with running.database.read() as connection:
        assert home_of(connection) == (tmp_path / "second" / FILE).read_text().strip()
    running.close()
    again = build(first)
    assert len(_told(again)) == 1
    again.close()


def test_a_copy_of_a_home_is_told_once_one_of_them_is_adopted(postgres_url: str, tmp_path: Path) -> None:
    """It bears the name of its original, as a backup must."""
    first = Settings(home=tmp_path / "first", database_url=postgres_url, text_vectors=False)
    build(first).close()
    shutil.copytree(tmp_path / "first", tmp_path / "copy")
    copy = Settings(home=tmp_path / "copy", database_url=postgres_url, text_vectors=False)
    beside = build(copy)
    assert not _told(beside)
    adopt(first)
    assert len(_told(beside)) == 1
    beside.close()
    for settings, told in ((first, 0), (copy, 1)):
        parts = build(settings)
        assert len(_told(parts)) == told
        parts.close()


def _told(parts: Parts) -> list[str]:
    return [one for one in readiness(parts)[1]["problems"] if one.startswith("home:")]


def test_nothing_is_adopted_where_the_state_lies_in_the_home(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to adopt"):
        adopt(Settings(home=tmp_path, text_vectors=False))

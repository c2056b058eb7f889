"""Statements through the driver give what they give through SQLAlchemy, and their failures are told alike."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from sqlalchemy import Boolean, Column, Integer, String, Table, bindparam, select

from service.errors import Unavailable
from service.storage.database import Database, Json, UtcTime, any_of, driver_of, metadata, texts
from service.storage.prepared import Prepared, insert_rows

marks = Table(
    "test_marks",
    metadata,
    Column("name", String, primary_key=True),
    Column("seen", Boolean, nullable=False),
    Column("count", Integer),
    Column("at", UtcTime),
    Column("body", Json),
)
_SOME = select(marks).where(any_of(marks.c.name, texts("names"))).order_by(marks.c.name)
_LATE = select(marks.c.name, marks.c.at).where(marks.c.at >= bindparam("since", type_=UtcTime()), marks.c.count == 7)


def fill(database: Database) -> None:
    rows = [("a", True, 7, 1_000_000, b'{"k":[1]}'), ("ü", False, 7, 2_000_000, None), ("z", True, None, None, b"[]")]
    with database.write() as connection:
        insert_rows(connection, marks, rows)


def test_rows_are_those_of_sqlalchemy(database: Database) -> None:
    fill(database)
    with database.read() as connection:
        for names in (["a", "ü", "nobody"], [], ["z"]):
            expected = [tuple(row) for row in connection.execute(_SOME, {"names": names})]
            assert [tuple(row) for row in Prepared(_SOME).rows(connection, names=names)] == expected
        since = datetime.fromtimestamp(1.5, UTC)
        late = Prepared(_LATE)
        assert [row[0] for row in late.rows(connection, since=since)] == ["ü"]
        assert [tuple(row) for row in late.rows(connection, since=datetime.fromtimestamp(2, UTC))] == [
            ("ü", datetime.fromtimestamp(2, UTC))
        ]


def test_what_a_failed_block_wrote_is_gone_and_the_next_one_is_well(database: Database) -> None:
    fill(database)

    def twice() -> None:
        with database.write() as connection:
            insert_rows(connection, marks, [("b", True, 1, 1, None), ("a", True, 1, 1, None)])

    with pytest.raises(Exception, match=r"(?i)unique") as told:
        twice()
    assert not isinstance(told.value, Unavailable)  # a fault of the data, however often it is tried
    with database.read() as connection:
        assert len(Prepared(select(marks.c.name)).rows(connection)) == 3


def test_a_read_on_sqlite_sees_one_moment(database: Database) -> None:
    fill(database)
    names = Prepared(select(marks.c.name))
    with database.read() as connection:
        before = names.rows(connection)
        with database.write() as other:
            insert_rows(other, marks, [("new", True, 1, 1, None)])
        assert (names.rows(connection) == before) is database.is_sqlite
    with database.read() as connection:
        assert {row[0] for row in names.rows(connection)} == {"a", "ü", "z", "new"}


def test_a_commit_waits_for_the_disk_unless_told_not_to(database: Database) -> None:
    def level(durable: bool) -> str:
        with database.write(durable) as connection:
            ask = "PRAGMA synchronous" if database.is_sqlite else "SHOW synchronous_commit"
            return str(driver_of(connection).execute(ask).fetchone()[0])

    full, normal = ("2", "1") if database.is_sqlite else ("on", "off")
    assert [level(durable) for durable in (True, False, False, True)] == [full, normal, normal, full]


def test_a_full_disk_is_an_outage(database: Database) -> None:
    if not database.is_sqlite:
        pytest.skip("Postgres' own disk is not ours to fill")

    def write_much() -> None:
        with database.write() as connection:
            driver_of(connection).execute("PRAGMA max_page_count = 1")
            insert_rows(connection, marks, [(str(n), True, n, n, b"x" * 4_000) for n in range(100)])

    with pytest.raises(Unavailable):
        write_much()
    with database.write() as connection:
        driver_of(connection).execute("PRAGMA max_page_count = 1073741823")
        insert_rows(connection, marks, [("after", True, 1, 1, None)])

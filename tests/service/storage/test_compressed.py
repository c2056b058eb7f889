from __future__ import annotations

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, LargeBinary, Table, select, type_coerce

from service.storage.compressed import Compressed, compressed, plain
from service.storage.database import Database, metadata

bodies = Table("test_bodies", metadata, Column("number", Integer, primary_key=True), Column("body", Compressed))
as_stored = type_coerce(bodies.c.body, LargeBinary)


@given(st.binary(max_size=2_000))
def test_what_is_compressed_comes_back(body: bytes) -> None:
    assert plain(compressed(body)) == body


def test_much_alike_takes_little() -> None:
    assert len(compressed(b"bought pasta 3 times in 90 days" * 100)) < 200


def test_the_database_keeps_it_small_and_gives_it_back_whole(database: Database) -> None:
    body = b"the same again and again, " * 100
    with database.write() as connection:
        connection.execute(bodies.insert(), [{"number": 1, "body": body}, {"number": 2, "body": None}])
    with database.read() as connection:
        assert connection.execute(select(bodies.c.body).order_by(bodies.c.number)).scalars().all() == [body, None]
        assert len(connection.execute(select(as_stored).where(bodies.c.number == 1)).scalar_one()) < 200


@pytest.mark.parametrize("before", [zlib.compress(b"{}"), b"\x02\x02\x00\x00\x00{}", (24).to_bytes(4, "little"), b""])
def test_what_was_written_before_reads_as_it_is(database: Database, before: bytes) -> None:
    with database.write() as connection:
        connection.execute(bodies.insert().values(number=1, body=type_coerce(before, LargeBinary)))
    with database.read() as connection:
        assert connection.execute(select(bodies.c.body)).scalar_one() == before


def test_a_damaged_block_is_told() -> None:
    with pytest.raises(ValueError, match="no whole block"):
        plain(compressed(b"the same again and again, " * 100)[:-9])

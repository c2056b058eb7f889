"""What several processes do at once on Postgres: none holds what another waits for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import product

import pytest
import xxhash
from sqlalchemy import text

from service.customers.identity_store import Link, set_owners
from service.decisions.ledger_store import lock
from service.decisions.parts_store import add_parts
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk
from tests.service.decisions.test_attribute_outcomes import event, handle

_WAITING = text("SELECT count(*) FROM pg_locks WHERE NOT granted")


def _place(name: str) -> int:
    """In which order `lock` takes names."""
    return xxhash.xxh3_64_intdigest(f"customer {name}".encode())


@contextmanager
def _held(database: Database, name: str) -> Iterator[None]:
    with database.write() as connection:
        lock(connection, [name], ())
        yield


def _until_one_waits(database: Database) -> None:
    with database.read() as connection:
        while connection.execute(_WAITING).scalar_one() == 0:
            time.sleep(0.01)


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Database]:
    database = Database(postgres_url.replace("postgresql://", "postgresql+psycopg://"))
    database.create_tables()
    yield database
    database.close()


def test_many_who_are_joined_at_once_wait_in_the_order_of_decisions(postgres: Database) -> None:
    """The join waits for a name that comes before all others: it must hold none of those that decisions ask for."""
    desk = Desk(postgres)
    alike = [[f"{letter}{n}" for n in range(20)] for letter in "abcd"]
    one, other, alias, owner = next(
        names for names in product(*alike) if _place(names[3]) < min(map(_place, names[:3]))
    )  # `one` is joined to `other` first, then `alias` to `owner`
    with postgres.write() as connection:
        set_owners(connection, [Link(one, other, NOON)])
        set_owners(connection, [Link(alias, owner, NOON)])
    events = [
        event(None, other, type="identify", anonymous_id=one),
        event(None, owner, type="identify", anonymous_id=alias),
    ]
    with ThreadPoolExecutor(2) as others:
        with _held(postgres, owner):
            joining = others.submit(handle, desk, *events)
            _until_one_waits(postgres)
            with postgres.write() as connection:
                connection.execute(text("SET LOCAL lock_timeout = '5s'"))
                lock(connection, [one, other, alias], ())
        joining.result()


def test_parts_of_records_are_added_in_one_order(postgres: Database) -> None:
    def add(*names: str) -> None:
        with postgres.write() as connection:
            add_parts(connection, dict.fromkeys(names, b"{}"))

    with ThreadPoolExecutor(1) as others:
        with postgres.write() as connection:
            add_parts(connection, {"a": b"{}"})
            adding = others.submit(add, "b", "a")
            _until_one_waits(postgres)
            add_parts(connection, {"b": b"{}"})
        adding.result()

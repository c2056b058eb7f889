"""One conformance suite for the fake and the real row stores."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from features.row_stores import PostgresRows, RedisRows, RowStore, StoreAway, drops_rows, empty_log, open_store
from service.settings import Decisions
from tests.conftest import free_port
from tests.fakes.row_store import MemoryRows

KINDS = ["memory", "sqlite", "postgres", "redis"]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RowStore]:
    match request.param:
        case "memory":
            opened: RowStore = MemoryRows()
        case "sqlite":
            opened = open_store(str(tmp_path / "online.db"), "t")
        case "postgres":
            opened = open_store(request.getfixturevalue("postgres_url"), "t")
        case _:
            opened = open_store(request.getfixturevalue("redis_url"), f"t{os.urandom(4).hex()}")
    yield opened
    opened.close()


def put(store: RowStore, **rows: bytes | None) -> None:
    store.change(list(rows), lambda _: list(rows.values()))


def test_rows_come_back_in_the_order_asked(store: RowStore) -> None:
    put(store, a=b"1", b=b"\x00\xff", กข=b"3")
    assert store.read(["กข", "none", "a", "b", "a"]) == [b"3", None, b"1", b"\x00\xff", b"1"]
    assert store.read([]) == []
    assert sorted(store.keys()) == ["a", "b", "กข"]
    assert list(store.keys("b")) == ["b"]


def test_none_removes(store: RowStore) -> None:
    put(store, a=b"1", b=b"2")
    put(store, a=None, c=None)
    assert store.read(["a", "b", "c"]) == [None, b"2", None]
    assert list(store.keys()) == ["b"]


def test_many_keys_are_not_held_all_at_once(store: RowStore) -> None:
    names = [f"{number:06d}" + "x" * 500 for number in range(12_000)]
    for start in range(0, len(names), 1_000):
        some = names[start : start + 1_000]
        store.change(some, lambda _: [b"1"] * 1_000)
    tracemalloc.start()
    try:
        seen = sum(key.endswith("x") for key in store.keys())  # noqa: SIM118
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert seen == len(names)
    assert peak < len(names) * 500 * 0.7


def test_an_edit_sees_what_is_there_and_an_error_changes_nothing(store: RowStore) -> None:
    put(store, a=b"1")
    store.change(["b", "a"], lambda rows: [b"new" if rows[0] is None else None, (rows[1] or b"") + b"+"])
    assert store.read(["a", "b"]) == [b"1+", b"new"]

    def fail(_: list[bytes | None]) -> list[bytes | None]:
        raise LookupError

    with pytest.raises(LookupError):
        store.change(["a", "c"], fail)
    put(store, d=b"4")
    assert store.read(["a", "c", "d"]) == [b"1+", None, b"4"]


def test_writers_at_the_same_time_lose_nothing(store: RowStore) -> None:
    def add(row: bytes | None) -> bytes:
        return str(int(row or b"0") + 1).encode()

    def work(keys: list[str]) -> None:
        for _ in range(25):
            store.change(keys, lambda rows: [add(row) for row in rows])

    threads = [threading.Thread(target=work, args=(keys,)) for keys in (["a", "b"], ["b", "a"], ["a", "c"], ["b"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.read(["a", "b", "c"]) == [b"75", b"75", b"25"]


def test_many_keys_at_once(store: RowStore) -> None:
    keys = [f"k{i}" for i in range(1500)]
    store.change(keys, lambda rows: [key.encode() for key in keys])
    assert store.read(keys) == [key.encode() for key in keys]


def test_connections_that_the_server_has_ended_are_made_anew(postgres_url: str) -> None:
    import psycopg

    store = open_store(postgres_url, "t")
    put(store, a=b"1")
    for _ in range(2):
        barrier = threading.Barrier(4)  # four connections at once, so that four lie idle afterwards

        def meet(rows: list[bytes | None], barrier: threading.Barrier = barrier) -> list[bytes | None]:
            barrier.wait(10)
            return rows

        keys = ["k1", "k2", "k3", "k4"]
        threads = [threading.Thread(target=store.change, args=([key], meet)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with psycopg.connect(postgres_url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert store.read(["a"]) == [b"1"]
    put(store, a=b"2")
    assert store.read(["a"]) == [b"2"]
    store.close()


@pytest.mark.parametrize("kind", ["postgres", "redis"])
def test_a_store_that_is_away_is_told_as_such(kind: str, request: pytest.FixtureRequest) -> None:
    if kind == "redis":
        store: RowStore = open_store(f"redis://127.0.0.1:{free_port()}", "t")
    else:
        opened = open_store(request.getfixturevalue("postgres_url"), "t")
        assert isinstance(opened, PostgresRows)
        opened.close()
        opened._url = f"postgresql://nobody@127.0.0.1:{free_port()}/none"
        store = opened
    with pytest.raises(StoreAway):
        store.read(["a"])
    with pytest.raises(StoreAway):
        put(store, a=b"1")
    with pytest.raises(StoreAway):
        list(store.keys())
    store.close()


def test_a_redis_that_refuses_to_write_is_away(redis_url: str) -> None:
    """As without a disk for its snapshots (MISCONF), or without its replicas: no row is to blame."""
    store = open_store(redis_url, f"t{os.urandom(4).hex()}")
    admin = redis.Redis.from_url(redis_url)
    admin.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(StoreAway, match="ResponseError"):
            put(store, a=b"1")
    finally:
        admin.config_set("min-replicas-to-write", 0)
        admin.close()
    put(store, a=b"1")
    store.close()


def test_redis_is_waited_for_less_than_a_decision_may_take() -> None:
    """Else a decision that waits for features is late, and the database is taken for what hangs."""
    urls = ("redis://127.0.0.1", "redis://127.0.0.1?socket_timeout=9")
    ours, told = (RedisRows(url, "t")._client.connection_pool.make_connection().socket_timeout for url in urls)
    assert ours <= Decisions().time_budget_ms / 2_000
    assert told == 9


def test_a_table_name_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no table name"):
        open_store(str(tmp_path / "x.db"), "a; drop")


WRITER = """
import sys
from features.row_stores import open_store
store = open_store(sys.argv[1], "t")
print("ready", flush=True)
n = 0
while True:
    n += 1
    store.change(["a", "b"], lambda rows: [str(n).encode()] * 2)
    if n == 20:
        print("going", flush=True)
"""


def test_a_kill_leaves_whole_changes(tmp_path: Path) -> None:
    path = str(tmp_path / "online.db")
    writer = subprocess.Popen([sys.executable, "-c", WRITER, path], stdout=subprocess.PIPE, cwd=Path.cwd())
    assert writer.stdout is not None
    assert [writer.stdout.readline(), writer.stdout.readline()] == [b"ready\n", b"going\n"]
    writer.send_signal(signal.SIGKILL)
    writer.wait(10)
    writer.stdout.close()
    store = open_store(path, "t")
    first, second = store.read(["a", "b"])
    assert first == second
    assert int(first or 0) >= 20
    store.close()


_COPYING = """
import fcntl, sys
with open(sys.argv[1], "r+b") as shared:
    fcntl.lockf(shared, fcntl.LOCK_EX, 1, 121)  # WAL_CKPT_LOCK, as who copies the log
    print("holds", flush=True)
    sys.stdin.read()
"""


def test_a_log_is_emptied_though_another_one_is_just_copying_it(tmp_path: Path) -> None:
    path = tmp_path / "online.db"
    store = open_store(str(path), "t")
    put(store, a=b"somebody")
    put(store, a=None)
    command = [sys.executable, "-c", _COPYING, f"{path}-shm"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as copying:
        assert copying.stdin is not None
        assert copying.stdout is not None
        assert copying.stdout.readline() == b"holds\n"
        done = threading.Timer(0.1, copying.stdin.close)
        done.start()
        empty_log(str(path))
        done.join()
    assert Path(f"{path}-wal").stat().st_size == 0
    store.close()


def test_a_redis_that_makes_room_by_itself_is_known(redis_url: str, tmp_path: Path) -> None:
    assert not drops_rows(str(tmp_path / "online.db"))
    admin = redis.Redis.from_url(redis_url)
    try:
        admin.config_set("maxmemory-policy", "allkeys-lru")
        assert not drops_rows(redis_url)  # it has no limit
        admin.config_set("maxmemory", "1gb")
        assert drops_rows(redis_url)
        admin.config_set("maxmemory-policy", "noeviction")
        assert not drops_rows(redis_url)
    finally:
        admin.config_set("maxmemory", 0)
        admin.config_set("maxmemory-policy", "noeviction")
        admin.close()

"""Every engine gives the same tables."""

from __future__ import annotations

import importlib.util
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest

from features.build import snapshot_folder
from features.engines import Engine, one_by_one
from features.event_log import EventLog
from features.ray_engine import NoRay, ray_engine
from features.snapshots import build_snapshots
from tests.fakes.daily_orders import orders
from tests.fakes.event_streams import START, frame

DAYS = [START + timedelta(days=day) for day in (2, 4)]


def refuse(number: int) -> int:
    raise ArithmeticError(f"not with {number}")


@pytest.fixture(scope="module")
def on_ray() -> Iterator[Engine]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed; pip install '.[ray]'")
    with ray_engine(cpus=2) as engine:
        yield engine


@pytest.mark.slow
def test_ray_gives_the_tables_that_one_process_gives(on_ray: Engine, tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events", 4)
    log.append(frame(orders(0, 5)), "a")
    build_snapshots(log, DAYS, tmp_path / "here")
    done: list[tuple[int, int]] = []
    build_snapshots(log, DAYS, tmp_path / "ray", engine=on_ray, progress=lambda n, of: done.append((n, of)))
    assert done == [(1, 4), (2, 4), (3, 4), (4, 4)]
    for day in DAYS:
        for bucket in range(4):
            name = f"bucket={bucket:02d}.parquet"
            paths = [snapshot_folder(tmp_path / engine, day) / name for engine in ("here", "ray")]
            here, there = (pl.read_parquet(path, hive_partitioning=False) for path in paths)
            assert here.equals(there)
            assert pl.read_parquet_metadata(paths[0])["source"] == pl.read_parquet_metadata(paths[1])["source"]


@pytest.mark.slow
def test_an_error_on_ray_is_the_error(on_ray: Engine) -> None:
    with pytest.raises(ArithmeticError, match="not with 1"):
        list(on_ray(refuse, [1]))


def test_an_error_ends_the_work() -> None:
    with pytest.raises(ArithmeticError, match="not with 1"):
        list(one_by_one(refuse, [1, 2]))


def test_without_ray_one_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NoRay, match=r"pip install '\.\[ray\]'"), ray_engine():
        pass


def test_where_no_cluster_answers_one_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # nobody listens there
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(NoRay, match=f"no Ray cluster answers at {address}"), ray_engine(address):
            pass


def test_ray_is_imported_only_when_asked_for() -> None:
    code = "import sys, features.snapshots, features.ray_engine, service.commands; print('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"

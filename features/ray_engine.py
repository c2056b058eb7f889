"""The work of features on Ray: one task a bucket, on this machine or on a cluster. The only door to Ray.

On a cluster every machine must have Opportune installed and see the home folder under the same path.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

from features.engines import Engine
from features.variables import variables

_T = TypeVar("_T")
_R = TypeVar("_R")
OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""Tasks pass file names and counts, so Ray's smallest store will do; its default takes a third of the memory."""

_KNOCK_S = 10.0


class NoRay(RuntimeError):
    """Ray is not installed, or cannot be reached."""


@contextmanager
def ray_engine(address: str | None = None, cpus: int | None = None) -> Iterator[Engine]:
    """An engine on the Ray cluster at an address (`auto`, `HOST:PORT`, `ray://HOST:PORT`), by default one of its own
    on this machine with `cpus` tasks at a time (default: as many as it has cores), which ends with the block.

    Neither dashboard nor usage statistics are started. Raises NoRay saying what to do.
    """
    if importlib.util.find_spec("ray") is None:
        raise NoRay("Ray is not installed; install Opportune with the extra `ray` (pip install '.[ray]')")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    scratch = None if address else tempfile.mkdtemp(prefix="opr", dir=_short_folder())
    try:
        _connect(address, cpus, scratch)
        yield _on_ray
    finally:
        ray.shutdown()
        if scratch:
            shutil.rmtree(scratch, ignore_errors=True)


def _connect(address: str | None, cpus: int | None, scratch: str | None) -> None:
    import ray

    # Each task has one core: threads of Polars beyond it would only wait for one another.
    told = {"POLARS_MAX_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0", **variables()}
    common: dict[str, Any] = {"runtime_env": {"env_vars": told}, "log_to_driver": False, "logging_level": "ERROR"}
    if address:
        _knock(address)
        try:
            ray.init(address=address, **common)
        except (ConnectionError, ValueError) as cause:
            raise NoRay(f"no Ray cluster answers at {address}: {cause}") from cause
        return
    ray.init(
        num_cpus=cpus or os.cpu_count() or 1,
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=scratch,
        _node_ip_address="127.0.0.1",
        **common,
    )


def _knock(address: str) -> None:
    """Ray itself tries for many minutes to reach a machine where nothing answers."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdigit()):
        return  # a name such as `auto`
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_KNOCK_S).close()
    except OSError as cause:
        raise NoRay(f"no Ray cluster answers at {address}: {cause}") from cause


def _on_ray(function: Callable[[_T], _R], items: Sequence[_T]) -> Iterator[_R]:
    """Results as they come. Files are written whole or not at all, so a task of a lost worker is simply run again."""
    import ray

    task = ray.remote(num_cpus=1, max_retries=3)(function)
    waiting = [task.remote(item) for item in items]
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1)
            yield from ray.get(done)
    except ray.exceptions.RayTaskError as failed:
        raise failed.cause if isinstance(failed.cause, Exception) else failed from failed
    finally:
        for left in waiting:
            ray.cancel(left)


def _short_folder() -> str | None:
    """Where Ray's sockets go: their whole paths must have fewer than 107 letters."""
    usual = tempfile.gettempdir()
    return usual if len(usual) < 30 else "/tmp" if os.path.isdir("/tmp") else None

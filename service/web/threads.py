"""Blocking work (SQL, files) off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio.to_thread

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a blocking function in the thread pool and waits for its result."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))

"""Blocking work (SQL, files) off the event loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import ParamSpec, TypeVar

import anyio
import anyio.to_thread

from service.errors import Unavailable

P = ParamSpec("P")
R = TypeVar("R")


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Runs a blocking function in the thread pool and waits for its result."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))


async def within(limit_s: float | None, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """`in_thread`, but `Unavailable` when it takes longer than `limit_s`; the function then ends by itself."""
    try:
        with anyio.fail_after(limit_s):
            return await anyio.to_thread.run_sync(partial(function, *args, **kwargs), abandon_on_cancel=True)
    except TimeoutError:
        raise Unavailable(f"the database took longer than {limit_s:g} s") from None

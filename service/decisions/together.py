"""Requests that wait at the same time are decided together: read once, scored at once, one commit for all.

The first request is decided at once; those that come while it is being decided wait and go together after it. So a
quiet service answers as fast as it can, and a busy one spends little on each.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import orjson

from service.decisions.rank_actions import Decider
from service.decisions.schemas import DecisionIn

MOST = 32
"""Requests decided together: more save little, and each waits for all."""
LANES = 1
"""Batches under way. A second would be scored while the first waits for the disk, but each would be half as large,
which costs more than it brings."""
Waiting = tuple[DecisionIn, "asyncio.Future[bytes]"]


class Together:
    """Decides for one event loop. An answer comes as JSON, once it is durable (see `decisions.durable`)."""

    def __init__(self, decider: Decider, most: int = MOST, lanes: int = LANES) -> None:
        self._decider = decider
        self._most = most
        self._free = lanes
        self._waiting: deque[Waiting] = deque()
        self._pool = ThreadPoolExecutor(lanes, "decide")

    async def decide(self, request: DecisionIn) -> bytes:
        """The answer to one request. Raises the `Problem` that names what is wrong with it."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting.append((request, future))
        if self._free:
            self._free -= 1
            self._go()
        return await future

    def close(self) -> None:
        """Waits for what is under way."""
        self._pool.shutdown()

    def _go(self) -> None:
        """Hands the next batch to a thread; called on the event loop only, as is `_done`."""
        some = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        if not some:
            self._free += 1
            return
        requests = [request for request, _ in some]
        deciding = asyncio.get_running_loop().run_in_executor(self._pool, self._decide, requests)
        deciding.add_done_callback(partial(self._done, some))

    def _decide(self, requests: Sequence[DecisionIn]) -> list[bytes | Exception]:
        return [
            told if isinstance(told, Exception) else orjson.dumps(told, option=orjson.OPT_UTC_Z)
            for told in self._decider.decide_each(requests)
        ]

    def _done(self, some: Sequence[Waiting], deciding: asyncio.Future[list[bytes | Exception]]) -> None:
        self._go()
        failure = deciding.exception()
        told = [failure] * len(some) if failure is not None else deciding.result()
        for (_, future), answer in zip(some, told, strict=True):
            if future.done():  # its client has gone
                continue
            if isinstance(answer, bytes):
                future.set_result(answer)
            else:
                future.set_exception(answer)

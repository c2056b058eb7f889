"""Requests that wait at the same time are decided together: read once, scored at once, one commit for all.

The first request is decided at once, with those of the same moment; those that come while it is being decided wait and
go together after it. So a quiet service answers as fast as it can, and a busy one spends little on each. After a batch,
those just answered have a moment to ask again: without it, sixteen clients in turn would make batches of one and of
fifteen.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import orjson

from service.clock import monotonic
from service.decisions.answers import json_of
from service.decisions.rank_actions import Decider
from service.decisions.schemas import DecisionIn
from service.decisions.steady import SteadyDecider
from service.storage.idempotency_store import Once

log = logging.getLogger(__name__)
MOST = 32
"""Requests decided together: more save little, and each waits for all."""
LANES = 1
"""Batches under way. A second would be scored while the first waits for the disk, but each would be half as large,
which costs more than it brings."""
PATIENCE, LONGEST_PATIENCE_S = 0.25, 0.005
"""How long those who wait are kept for those just answered, as a share of the batch's time: a batch costs as much as
several decisions in it."""
TICK_S = 0.001
"""uvloop's timers count in these: what is due in one may come at any moment before."""
SPARE = 6
"""Threads beside the lanes, for batches whose database takes longer than the time budget."""
Told = bytes | Exception
"""An answer as JSON, or why there is none."""
Answered = Callable[[Told], None]
Waiting = tuple[DecisionIn, Answered, Once | None]
Decide = Callable[[Sequence[DecisionIn]], Sequence[dict[str, Any] | Exception]]


@dataclass(slots=True)
class Batch:
    """Requests under way together. `late`: their time is over, and they are answered in another way."""

    waiting: Sequence[Waiting]
    started: float
    timer: asyncio.TimerHandle | None = None
    late: bool = False

    @property
    def requests(self) -> list[DecisionIn]:
        return [request for request, _, _ in self.waiting]


class Together:
    """Decides for one event loop. An answer comes as JSON, once it is durable (see `decisions.durable`).

    Over a `SteadyDecider` with a time budget: a batch that takes longer is answered without the database.
    """

    def __init__(self, decider: Decider | SteadyDecider, most: int = MOST, lanes: int = LANES) -> None:
        self._decider = decider
        self._steady = decider if isinstance(decider, SteadyDecider) and decider.time_budget_s > 0 else None
        self._most = most
        self._free = lanes
        self._hoped_for = 0
        self._patience: asyncio.TimerHandle | None = None
        self._waiting: deque[Waiting] = deque()
        self._pool = ThreadPoolExecutor(lanes + (SPARE if self._steady else 0), "decide")

    async def decide(self, request: DecisionIn, once: Once | None = None) -> bytes:
        """The answer to one request. Raises the `Problem` that names what is wrong with it.

        `once` names the decision; where that was made before, its answer comes again.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.ask(request, partial(_settle, future), once)
        return await future

    def ask(self, request: DecisionIn, answered: Answered, once: Once | None = None) -> None:
        """The same for a caller that is no coroutine: `answered` is called on the event loop."""
        self._waiting.append((request, answered, once))
        if self._free:
            self._free -= 1
            asyncio.get_running_loop().call_soon(self._go)  # with those that came at the same moment
        elif self._patience is not None and len(self._waiting) >= self._hoped_for:
            self._go_now()

    def close(self) -> None:
        """Waits for what is under way."""
        self._pool.shutdown()

    def _go_soon(self, done: Batch) -> None:
        """The next batch, once as many wait as there were before, or after a moment; at once where nobody may join."""
        self._hoped_for = min(self._most, len(done.waiting) + len(self._waiting))
        if self._patience is not None or self._hoped_for < 2 or self._hoped_for <= len(self._waiting):
            self._go()
        else:
            now = monotonic()
            self._wait_until(now + min(LONGEST_PATIENCE_S, PATIENCE * (now - done.started)))

    def _wait_until(self, deadline: float) -> None:
        """Looks again when the time is over, as timers come too early by up to a tick."""
        left_s = deadline - monotonic()
        if left_s <= 0:
            self._go_now()
        else:
            self._patience = asyncio.get_running_loop().call_later(max(left_s, TICK_S), self._wait_until, deadline)

    def _go_now(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        self._go()

    def _go(self) -> None:
        """Hands the next batch to a thread; called on the event loop only, as are `_done` and `_late`."""
        if not self._waiting:
            self._free += 1
            return
        loop = asyncio.get_running_loop()
        some = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        batch = Batch(some, monotonic())
        if self._steady is not None:
            batch.timer = loop.call_later(self._steady.time_budget_s, self._late, batch, self._steady)
        names = [once for _, _, once in some]
        decide: Decide = self._decider.decide_each
        if any(names):
            decide = partial(self._decider.decide_each, names=names)
        self._pool.submit(_decide, decide, batch.requests, loop, partial(self._done, batch))

    def _done(self, batch: Batch, told: Sequence[Told]) -> None:
        if batch.late:  # its lane went on without it, and its askers have other answers
            if self._steady is not None:
                self._pool.submit(_take_back, self._steady, told)
            return
        if batch.timer is not None:
            batch.timer.cancel()
        _hand_out(batch, told)
        self._go_soon(batch)

    def _late(self, batch: Batch, steady: SteadyDecider) -> None:
        """The batch's time is over: another thread answers without the database, and its lane takes the next."""
        batch.late = True
        steady.too_slow()
        loop = asyncio.get_running_loop()
        self._pool.submit(_decide, steady.without, batch.requests, loop, partial(_hand_out, batch))
        self._go()


def _decide(
    decide: Decide,
    requests: Sequence[DecisionIn],
    loop: asyncio.AbstractEventLoop,
    done: Callable[[Sequence[Told]], None],
) -> None:
    """Decides in a thread and calls `done` on the loop: one wake-up a batch, where a chain of futures takes three."""
    told: Sequence[Told]
    try:
        told = [one if isinstance(one, Exception) else json_of(one) for one in decide(requests)]
    except Exception as failure:
        told = [failure] * len(requests)
    except BaseException as panic:  # of an engine in Rust: a lane that is not given back decides nothing any more
        told = [RuntimeError(f"{type(panic).__name__}: {panic}")] * len(requests)
    loop.call_soon_threadsafe(done, told)


def _take_back(steady: SteadyDecider, told: Sequence[Told]) -> None:
    steady.came_late([orjson.loads(one)["decision_id"] for one in told if isinstance(one, bytes)])


def _hand_out(batch: Batch, told: Sequence[Told]) -> None:
    for (_, answered, _), answer in zip(batch.waiting, told, strict=True):
        try:
            answered(answer)
        except Exception:  # the others have their answers all the same
            log.exception("an answer could not be given")


def _settle(future: asyncio.Future[bytes], told: Told) -> None:
    if future.done():  # its client has gone
        return
    if isinstance(told, bytes):
        future.set_result(told)
    else:
        future.set_exception(told)

"""Decisions that come whatever fails: with the database, or without it while it is away or too slow.

The last rung of the ladder: a circuit notices that the database does not answer, decisions are then made from memory
(`gather_away`) and kept on the disk (`spool`), and are brought in when it answers again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime
from typing import Any

from service.decisions.circuit import Circuit
from service.decisions.rank_actions import CHUNK, Contended, Decider
from service.decisions.schemas import DecisionIn
from service.decisions.spool import Spool
from service.errors import Unavailable
from service.storage.idempotency_store import Once

log = logging.getLogger(__name__)
Told = dict[str, Any] | Exception
_BATCHES = 16
"""Parts of batches that may wait for the database at a time."""


class SteadyDecider:
    """A `Decider` that goes on without its database. One for each process; safe for threads."""

    def __init__(self, decider: Decider, spool: Spool, time_budget_s: float = 0.0) -> None:
        """`time_budget_s`: how long an answer may take before it is made without the database; 0: any time.

        Of a batch, that is each hundred of its decisions.
        """
        self._decider = decider
        self._pool = ThreadPoolExecutor(_BATCHES, "batch") if time_budget_s > 0 else None
        self._spool = spool
        self._late: list[str] = []
        self._taking_back = threading.Lock()
        self._nowhere = False
        self.circuit = Circuit("database", failures=1)
        self.time_budget_s = time_budget_s

    def decide_each(self, requests: Sequence[DecisionIn], names: Sequence[Once | None] | None = None) -> list[Told]:
        """Decisions that do not know of each other: see `Decider.decide_each`.

        Those made without the database have ids of their own: what is taken back under `names` is not theirs.
        """
        if not self.circuit.allows():
            return self.without(requests)
        told = self._decider.decide_each(requests, names)
        away = [index for index, one in enumerate(told) if _is_away(one)]
        if not away:
            self._kept()
            return told
        self.circuit.failed()
        instead = self.without([requests[index] for index in away])
        for index, one in zip(away, instead, strict=True):
            told[index] = one
        return told

    def rehearse(self, requests: Sequence[DecisionIn]) -> None:
        """See `Decider.rehearse`."""
        self._decider.rehearse(requests)

    def decide_batch(self, requests: Sequence[DecisionIn], ids: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """A batch in its order. What was decided before the database went away stays decided, under its id."""
        answers: list[dict[str, Any]] = []
        for start in range(0, len(requests), CHUNK):
            end = start + CHUNK
            answers += self._some(requests[start:end], start, None if ids is None else ids[start:end])
        return answers

    def _some(self, requests: Sequence[DecisionIn], first: int, ids: Sequence[str] | None) -> list[dict[str, Any]]:
        if self.circuit.allows():
            try:
                told = self._in_time(requests, first, ids)
            except Contended:
                raise
            except TimeoutError:
                self.too_slow()
            except Unavailable:
                self.circuit.failed()
            else:
                self._kept()
                return told
        answers = []
        for one in self.without(requests, first):
            if isinstance(one, Exception):
                raise one
            answers.append(one)
        return answers

    def _in_time(self, requests: Sequence[DecisionIn], first: int, ids: Sequence[str] | None) -> list[dict[str, Any]]:
        """A part of a batch. `TimeoutError` after the time budget: what is decided later is taken back."""
        if self._pool is None:
            return self._decider.decide_some(requests, first, ids)
        deciding = self._pool.submit(self._decider.decide_some, requests, first, ids)
        try:
            return deciding.result(self.time_budget_s)
        except TimeoutError:
            deciding.cancel()
            deciding.add_done_callback(self._take_back_late)
            raise

    def _take_back_late(self, deciding: Future[list[dict[str, Any]]]) -> None:
        if not deciding.cancelled() and deciding.exception() is None:
            self.came_late([one["decision_id"] for one in deciding.result()])

    def without(self, requests: Sequence[DecisionIn], first: int | None = None) -> list[Told]:
        """Decisions from memory, kept on the disk. `Unavailable` when the disk cannot take them."""
        try:
            told = self._decider.decide_away(requests, self._spool, first)
            self._nowhere = False
            return told
        except OSError as full:  # told in the log, in a line, where it is answered
            self._nowhere = True
            away = Unavailable("neither the database nor the disk takes decisions now; try again in a few seconds")
            away.__cause__ = full
            return [away] * len(requests)

    def _kept(self) -> None:
        self.circuit.succeeded()
        self._nowhere = False

    def database_answers(self) -> bool:
        """Whether the database is known to answer."""
        return not self.circuit.is_open

    def too_slow(self) -> None:
        """The database took longer than the time budget."""
        self.circuit.failed(at_once=True)

    def came_late(self, decision_ids: Sequence[str]) -> None:
        """Takes back decisions whose askers were answered otherwise by then."""
        with self._taking_back:
            self._late += decision_ids  # for `bring_in`: some may wait on the disk
        try:
            self._decider.forget(decision_ids)
        except Unavailable:
            log.warning("%d decisions that came too late are taken back when the database answers", len(decision_ids))

    def get_ready(self) -> None:
        """Tries the database, and remembers what would be needed without it."""
        self._try(self._decider.look_around)

    def run_pass(self) -> bool:
        """Does the same, and brings in what was decided without it: of an outage of hours, for minutes."""
        self._try(self._decider.look_around, self.bring_in)
        return False

    def _try(self, *steps: Callable[[], None]) -> None:
        try:
            for step in steps:
                step()
        except Unavailable:
            self.circuit.failed()
        else:
            self.circuit.succeeded()
        self._nowhere = self._nowhere and not self._spool.takes()

    def bring_in(self) -> None:
        """Writes decisions that wait on the disk into the database, so that events find what they belong to; takes back
        those of them that came too late for their askers.
        """
        if self._spool.waits():
            self._spool.bring_in(self._decider.sources.database)
        with self._taking_back:
            if self._late:
                self._decider.forget(self._late)
                self._late = []

    def oldest_brought(self) -> datetime | None:
        """See `Spool.oldest_brought`."""
        return self._spool.oldest_brought()

    def bring_all_in(self) -> None:
        """`bring_in`, and `Unavailable` where that leaves something: an erasure would not find it."""
        self.bring_in()
        if self._spool.stuck:
            raise Unavailable(
                f"{self._spool.stuck} decisions that wait on the disk cannot be brought into the database, and may be "
                "of the customer; the log says why"
            )

    def close(self) -> None:
        """Call it when nothing is decided any more; what waits on the disk is brought in by the next process."""
        if self._pool is not None:
            self._pool.shutdown()
        self._spool.close()

    def can_keep(self) -> bool:
        """Whether decisions can be kept without the database: the disk takes them, and the catalogue is known."""
        return self._spool.writable() and self._decider.sources.last.rates is not None

    def status(self) -> dict[str, Any]:
        """For `/health/ready`: open circuits by part, whether decisions wait on the disk, and whether it takes none."""
        circuits = (self.circuit, self._decider.sources.reading)
        open_now = [one.part for one in circuits if one.is_open]
        return {"open": open_now, "spool_waits": self._spool.waits(), "nowhere": self._nowhere}


def _is_away(told: Told) -> bool:
    return isinstance(told, Unavailable) and not isinstance(told, Contended)

"""Group commit: requests that arrive together share one transaction, and are answered when it is on the disk."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from service.clock import Clock
from service.errors import Unavailable
from service.events.inbox_store import add_events
from service.events.quality_store import API, add_counts
from service.events.tally import Key
from service.storage.database import Database
from service.telemetry import EVENTS

log = logging.getLogger(__name__)

MOST_WAITING = 50_000
LARGEST_GROUP = 5_000

Rows = Sequence[dict[str, Any]]


class InboxWriter:
    """One thread that writes what requests submit. `on_commit` is called after each transaction."""

    def __init__(self, database: Database, clock: Clock, on_commit: Callable[[], None] = lambda: None) -> None:
        self._database = database
        self._clock = clock
        self._on_commit = on_commit
        self._queue: deque[tuple[Rows, Future[None]]] = deque()
        self._changed = threading.Condition()
        self._waiting = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="inbox-writer", daemon=True)
        self._thread.start()

    def submit(self, rows: Rows) -> Future[None]:
        """Queues rows; the future is done once they are durable, or fails with `Unavailable`."""
        future: Future[None] = Future()
        with self._changed:
            if self._closed:
                raise Unavailable("the service is stopping; send the events again")
            if self._waiting + len(rows) > MOST_WAITING and self._waiting:
                raise Unavailable("too many events are waiting to be stored; send them again in a few seconds")
            self._queue.append((rows, future))
            self._waiting += len(rows)
            self._changed.notify()
        return future

    def close(self, timeout_s: float = 10.0) -> None:
        """Writes what was queued, then stops; a database that hangs is not waited for, as nobody was told that these
        are stored."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not self._queue and not self._closed:
                    self._changed.wait()
                if not self._queue:
                    return
                group = self._take_group()
            try:
                self._store(group)
            except BaseException as failure:  # nobody starts this thread again, and all who send events wait for it
                for _, future in group:
                    _fail(future, failure)

    def _take_group(self) -> list[tuple[Rows, Future[None]]]:
        group, size = [], 0
        while self._queue and size < LARGEST_GROUP:
            rows, future = self._queue.popleft()
            self._waiting -= len(rows)
            if future.set_running_or_notify_cancel():
                group.append((rows, future))
                size += len(rows)
        return group

    def _store(self, group: list[tuple[Rows, Future[None]]]) -> None:
        failure = self._commit(group)
        if failure is None:
            return
        # One request's failure is its own: the others are tried again without it, unless storing itself is broken.
        in_a_row = 1 if isinstance(failure, Unavailable) else 0
        for one in group:
            failure = self._commit([one]) if len(group) > 1 and in_a_row < 2 else failure
            in_a_row = in_a_row + 1 if failure else 0
            if failure:
                _fail(one[1], failure)

    def _commit(self, group: list[tuple[Rows, Future[None]]]) -> Exception | None:
        if not group:
            return None
        try:
            rows = [row for rows, _ in group for row in rows]
            now = self._clock.now()
            with self._database.write() as connection:
                repeated = len(rows) - add_events(connection, rows, now)
                if repeated:
                    add_counts(connection, API, {Key(now.date().isoformat(), "duplicate", ""): repeated})
        except Exception as failure:
            return failure
        EVENTS.labels("accepted").inc(len(rows) - repeated)
        EVENTS.labels("duplicate").inc(repeated)
        for _, future in group:
            future.set_result(None)
        self._on_commit()
        return None


def _fail(future: Future[None], failure: BaseException) -> None:
    if future.done():
        return
    if not isinstance(failure, Unavailable):  # that is told in a line where it is answered: traces would fill the disk
        log.error("events could not be stored", exc_info=failure)
    problem = Unavailable("the events could not be stored now; send them again")
    problem.__cause__ = failure
    future.set_exception(problem)

"""Makes online features anew where a customer's past has changed: after files, corrections, and new features.

Who waits stands in the state until it is done, so nothing is lost by a kill; doing it twice changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from features.row_stores import StoreAway
from service.clock import Clock
from service.errors import Unavailable
from service.events.events_lease import EventsLease, LostLease
from service.events.inbox_store import of_customers
from service.events.rebuild_store import (
    Waiting,
    ask_rebuild,
    finish_rebuilds,
    layout_of,
    next_rebuilds,
    note_layout,
    release_failed,
    set_failed,
)
from service.storage.database import Database

if TYPE_CHECKING:
    import polars as pl

    from features.event_log import EventLog

log = logging.getLogger(__name__)

AT_ONCE = 200
"""Customers in one portion beside a running service: events must not wait for longer than that takes."""
_COME_AND_GO = (LostLease, Unavailable, StoreAway)


class Rebuilt(Protocol):
    """The part of the online features that rebuilding needs."""

    @property
    def signature(self) -> str: ...

    def rebuild_all(self, customer_ids: Sequence[str], events: pl.DataFrame) -> None: ...

    def outdated(self) -> Iterator[str]: ...


@contextmanager
def made_again_if_late(database: Database, customer_ids: Iterable[str], buckets: int) -> Iterator[None]:
    """Around the end of a turn in which rows were made. Who stood still for longer than a lease (a paused machine) has
    written what it had read before over what the next process made since, and perhaps has finished.
    """
    try:
        yield
    except LostLease:
        with database.write() as connection:
            ask_rebuild(connection, customer_ids, buckets)
        raise


class RebuildFeatures:
    """A chore of the events loop: one portion a call; True when it did one."""

    def __init__(
        self, database: Database, event_log: EventLog, clock: Clock, lease: EventsLease, features: Rebuilt
    ) -> None:
        self._database = database
        self._log = event_log
        self._clock = clock
        self._lease = lease
        self._features = features
        self.at_once = AT_ONCE
        self._alone = False
        self._tried_failed = False

    def __call__(self) -> bool:
        with self._database.read() as connection:
            waiting = next_rebuilds(connection, 1 if self._alone else self.at_once)
        if waiting is None:
            self._alone = False
            return self._try_failed_again()
        with self._database.write() as connection:
            self._lease.hold(connection)
        try:
            events = self._events(waiting)
            self._lease.keep()  # of a large log that may have taken longer than a lease
            self._features.rebuild_all(list(waiting.tokens), events)
        except _COME_AND_GO:
            raise
        except Exception:
            self._set_back(waiting)
            return True
        again = made_again_if_late(self._database, waiting.tokens, self._log.buckets)
        with again, self._database.write() as connection:
            self._lease.hold(connection)
            finish_rebuilds(connection, waiting, self._clock.now())
        return True

    def _events(self, waiting: Waiting) -> pl.DataFrame:
        """All events of these customers that features have seen; the others reach them by the applier."""
        import polars as pl

        from service.events.frame import events_frame

        ids = list(waiting.tokens)
        with (
            self._database.read() as connection
        ):  # before the log: what moves there meanwhile is seen twice, not missed
            held = of_customers(connection, ids, fed=True)
        logged = self._log.scan(customer_ids=ids).collect()
        both = pl.concat([logged, events_frame(held)])
        return both.unique("message_id", keep="first", maintain_order=True)

    def _set_back(self, waiting: Waiting) -> None:
        """Of a portion that fails, each customer is tried alone; who fails alone is set aside and counted."""
        if len(waiting.tokens) > 1:
            log.exception("the features of a portion of customers could not be made; each is tried alone")
            self._alone = True
            return
        log.exception("the features of a customer could not be made; tried again when the service starts")
        with self._database.write() as connection:
            self._lease.hold(connection)
            set_failed(connection, waiting)

    def _try_failed_again(self) -> bool:
        if self._tried_failed:
            return False
        with self._database.write() as connection:
            self._lease.hold(connection)
            again = release_failed(connection)
        self._tried_failed = True
        return again > 0


class QueueOutdated:
    """A chore of the events loop: asks once for every row that other features than today's have packed."""

    def __init__(
        self, database: Database, clock: Clock, lease: EventsLease, features: Rebuilt, store: str, buckets: int
    ) -> None:
        """`store` names the online store, so that another one is looked through anew."""
        self._database = database
        self._clock = clock
        self._lease = lease
        self._features = features
        self._store = store
        self._buckets = buckets
        self._names: Iterator[str] | None = None
        self._done = False

    def __call__(self) -> bool:
        if self._done:
            return False
        if self._names is None:
            with self._database.read() as connection:
                known = layout_of(connection, self._store)
            if known is not None and known[0] == self._features.signature:
                self._done = True
                return False
            self._names = self._features.outdated()
        try:
            return self._portion(self._names)
        except BaseException:
            self._names = None  # from the beginning, or names that were taken out are lost
            raise

    def _portion(self, names: Iterator[str]) -> bool:
        some = list(islice(names, AT_ONCE))
        with self._database.write() as connection:
            self._lease.hold(connection)
            if some:
                ask_rebuild(connection, some, self._buckets)
            else:
                note_layout(connection, self._store, self._features.signature, self._clock.now())
        self._done = not some
        return bool(some)

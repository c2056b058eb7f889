"""Moves applied events from the inbox to the event log, once each though killed between any two steps.

Which events make a part, and the part's name, are fixed in the state first; then the part is written (writing it
again replaces it); then its events leave the inbox.
"""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import TYPE_CHECKING

from service.clock import Clock, monotonic
from service.events.events_lease import EventsLease
from service.events.inbox_store import anything_settled, assign_part, drop_part, forget_ids, of_part, open_parts
from service.storage.database import Database

if TYPE_CHECKING:
    from features.event_log import EventLog

log = logging.getLogger(__name__)

LARGEST_PART = 5_000
"""Events that are marked, or taken out of the inbox, in one transaction: decisions wait for who writes."""
EVERY_S = 15.0
KEEP_IDS = timedelta(days=14)
FORGOTTEN_AT_ONCE = 500
TIDY_EVERY_S = 3600.0
MOST_FILES_A_MONTH = 100


class Flusher:
    """Writes parts of the event log, under the applier's lease."""

    def __init__(self, database: Database, event_log: EventLog, clock: Clock, lease: EventsLease) -> None:
        self._database = database
        self._log = event_log
        self._clock = clock
        self._lease = lease
        self._flushed = self._tidied = monotonic()

    def flush_due(self) -> None:
        """Flushes when it is time; once an hour also forgets old message ids and joins small files."""
        if monotonic() - self._flushed >= EVERY_S:
            self.flush()
            self._flushed = monotonic()
        if monotonic() - self._tidied >= TIDY_EVERY_S:
            self._tidy()
            self._tidied = monotonic()

    def flush(self) -> int:
        """Moves every applied event to the log; returns how many moved."""
        moved = 0
        with self._database.read() as connection:
            parts = open_parts(connection)
        while parts or (parts := self._next_part()):
            for part in parts:
                moved += self._write(part)
            parts = []
        return moved

    def _next_part(self) -> list[str]:
        with self._database.read() as connection:
            if not anything_settled(connection):
                return []
        with self._database.write() as connection:
            self._lease.hold(connection)
            part = assign_part(connection, LARGEST_PART)
        return [part] if part else []

    def _write(self, part: str) -> int:
        from service.events.frame import events_frame

        with self._database.write() as connection:
            self._lease.hold(connection)
            events = of_part(connection, part)
        if events:
            self._log.append(events_frame(events), part)
        with self._database.write() as connection:
            self._lease.hold(connection)
            return drop_part(connection, part)

    def _tidy(self) -> None:
        self._forget_ids()
        for bucket in range(self._log.buckets):
            months: dict[str, int] = {}
            for path in self._log.files(bucket):
                months[path.parent.name] = months.get(path.parent.name, 0) + 1
            if max(months.values(), default=0) > MOST_FILES_A_MONTH:
                log.info("joined %d small files of bucket %d", self._log.compact(bucket, self._lease.keep), bucket)

    def _forget_ids(self) -> None:
        """Some at a time: decisions wait for who writes, and a busy hour, or a file read two weeks ago, left many."""
        before, gone = self._clock.now() - KEEP_IDS, FORGOTTEN_AT_ONCE
        while gone == FORGOTTEN_AT_ONCE:
            with self._database.write() as connection:
                self._lease.hold(connection)
                gone = forget_ids(connection, before, FORGOTTEN_AT_ONCE)

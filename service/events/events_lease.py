"""One process at a time applies events, joins histories, erases and flushes."""

from __future__ import annotations

import os
import secrets

from service.clock import SystemClock, monotonic
from service.storage.database import Connection, Database
from service.storage.lease import release, take

LEASE = "events"
LEASE_S = 5.0


class LostLease(Exception):
    """Another process works on events now."""


class EventsLease:
    """This process's claim. Held for five seconds after each use, by the machine's clock, not a simulated one."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._clock = SystemClock()
        self._held_at = -LEASE_S
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"

    def hold(self, connection: Connection) -> None:
        """Takes or renews the lease inside a write transaction; `LostLease` when another process has it."""
        if not take(connection, LEASE, self._holder, self._clock.now(), LEASE_S):
            raise LostLease
        self._held_at = monotonic()

    def claim(self) -> None:
        """`hold` in a transaction of its own."""
        with self._database.write() as connection:
            self.hold(connection)

    def held_lately(self) -> bool:
        """Whether most of the lease's time is left, so that it need not be renewed before a short step."""
        return monotonic() - self._held_at < LEASE_S / 4

    def keep(self) -> None:
        """Between the steps of work that may take longer than a lease: renews it, or `LostLease`, so that nobody writes
        files that another process writes now."""
        if not self.held_lately():
            self.claim()

    def release(self) -> None:
        """Lets the next process begin at once."""
        self._held_at = -LEASE_S
        with self._database.write() as connection:
            release(connection, LEASE, self._holder)

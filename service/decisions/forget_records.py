"""Takes the records off decisions that are older than they are to be kept; what was decided, and for whom, stays.

A record is nearly all of a decision's bytes, and holds what was known of the customer. Counts, limits, outcomes and
whatever else names a decision need only the rest.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from service.clock import Clock
from service.decisions.decision_store import drop_records, old_records
from service.decisions.impact_store import end_of_portion
from service.storage.database import Database

AT_ONCE = 100
"""Records in one transaction: decisions must not wait for longer than that takes."""
LOOKED_AT = 10_000
"""Decisions that one query looks through: whoever has just started begins with years of those that have lost theirs."""
_LATE = timedelta(days=1)
"""How far behind a pass looks again: decisions that waited on the disk come with their own time."""


class ForgetRecords:
    """`run_pass` is for a loop; several processes may do it, who comes second finds nothing to do."""

    def __init__(self, database: Database, clock: Clock, keep_days: float) -> None:
        self._database = database
        self._clock = clock
        self._keep = timedelta(days=keep_days)
        self._since = datetime(1970, 1, 1, tzinfo=UTC)

    def run_pass(self) -> bool:
        """Some of them, the oldest first; False when none is too old any more."""
        before = self._clock.now() - self._keep
        with self._database.read() as connection:
            until = end_of_portion(connection, self._since, before, LOOKED_AT)
            old = old_records(connection, self._since, until, AT_ONCE)
        if old:
            with self._database.write() as connection:
                drop_records(connection, [decision_id for decision_id, _ in old])
        if len(old) == AT_ONCE:
            self._since = old[-1][1]
            return True
        if until < before:
            self._since = until
            return True
        self._since = max(self._since, before - _LATE)
        return False

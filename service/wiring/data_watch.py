"""Watches over the data: checks served features once an hour, one process for all, and tells metrics in each."""

from __future__ import annotations

import os
import secrets
from datetime import datetime, timedelta

from service.clock import SystemClock
from service.decisions.check_skew import SkewCheck
from service.events.inbox_store import quarantined
from service.events.quality_store import money_not_counted
from service.events.rebuild_store import how_many_wait
from service.storage.database import Database
from service.storage.lease import release, take
from service.telemetry import (
    FEATURE_NULLS,
    QUARANTINED,
    REBUILDS,
    SKEW_AT,
    SKEW_BEHIND,
    SKEW_CHECKED,
    SKEW_LAG,
    SKEW_WRONG,
    UNCOUNTED,
)
from service.wiring.hourly import Check, Hourly, here

_LATELY = timedelta(days=30)
_LEASE = "skew"
_LEASE_S = 900.0


class DataWatch:
    """`run_pass` is for a loop. `check` checks served features, in this process unless it is told otherwise."""

    def __init__(self, database: Database, skew: SkewCheck, check: Check | None = None) -> None:
        self._database = database
        self._skew = skew
        self._hourly = Hourly(check or here(skew.run), skew.latest, skew.has_decisions)
        self._clock = SystemClock()
        self._holder = f"{os.getpid()}-{secrets.token_hex(4)}"

    def run_pass(self) -> bool:
        """One look; False: nothing more to do at once."""
        if self._hourly.due(self._clock.now()):
            self._check()
        self._tell()
        return False

    def _check(self) -> None:
        with self._database.write() as connection:
            if not take(connection, _LEASE, self._holder, self._clock.now(), _LEASE_S):
                return
        try:
            if self._hourly.due(self._clock.now()):  # it may have been done while this process waited for the lease
                self._hourly.run()
        finally:
            with self._database.write() as connection:
                release(connection, _LEASE, self._holder)

    def _tell(self) -> None:
        with self._database.read() as connection:
            REBUILDS.set(sum(how_many_wait(connection)))
            QUARANTINED.set(quarantined(connection))
            uncounted = money_not_counted(connection, f"{self._clock.now() - _LATELY:%Y-%m-%d}")
        UNCOUNTED.clear()
        for code, count in uncounted.items():
            UNCOUNTED.labels(code).set(count)
        report = self._skew.latest()
        if report is None:
            return
        SKEW_CHECKED.set(report["checked"]["decisions"])
        SKEW_WRONG.set(report["mismatches"]["values"])
        SKEW_BEHIND.set(report["behind"]["decisions"])
        SKEW_LAG.set(report["behind"]["worst_seconds"])
        SKEW_AT.set(datetime.fromisoformat(report["made_at"]).timestamp())
        for name, share in report["nulls"].items():
            FEATURE_NULLS.labels(name).set(share)

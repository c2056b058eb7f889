"""Checks that are made once an hour, and by one process for all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from service.clock import CLOCKS_APART, monotonic

EVERY = timedelta(hours=1)
PAUSE_S = 600.0
"""Before the next try, after one that kept no report."""
Check = Callable[[], str | None]
"""Makes a report and keeps it; returns what went wrong where it ended otherwise."""


class Hourly:
    """`latest` gives the report that was kept last, `waiting` whether there is anything to check."""

    def __init__(
        self, check: Check, latest: Callable[[], Mapping[str, Any] | None], waiting: Callable[[], bool]
    ) -> None:
        self._check = check
        self._latest = latest
        self._waiting = waiting
        self._not_before = 0.0

    def due(self, now: datetime) -> bool:
        """`now` by the machine's own clock, as reports tell when they were made."""
        if monotonic() < self._not_before:
            return False
        last = self._latest()
        fresh = last is not None and -CLOCKS_APART <= now - datetime.fromisoformat(last["made_at"]) < EVERY
        return not fresh and self._waiting()

    def run(self) -> None:
        """Makes the check. RuntimeError where it went wrong and kept no report."""
        before, wrong = self._latest(), self._check()
        if self._latest() == before:
            self._not_before = monotonic() + PAUSE_S
            if wrong is not None:
                raise RuntimeError(wrong)


def here(run: Callable[[], object]) -> Check:
    """A check that is made in this process."""

    def check() -> None:
        run()

    return check

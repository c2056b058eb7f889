"""When a local wall-clock time comes next in a zone, right on both days a year that the clocks change. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from service.decisions.quiet import local_instant

EVERY_DAY = frozenset(range(7))


def next_local(
    now: datetime, zone: ZoneInfo, at: time, days: Collection[int] = EVERY_DAY, strictly: bool = False
) -> datetime:
    """The first moment at or after `now` (after it when `strictly`) that is `at` o'clock on one of `days`.

    Days are weekdays, Monday 0. Each local day has one such moment: of an hour that comes twice the first, and
    for one that is skipped the moment at which the clocks go forward. Returns UTC.
    """
    today = now.astimezone(zone).date()
    for offset in range(-1, 16):
        day = today + timedelta(days=offset)
        if day.weekday() not in days:
            continue
        moment = local_instant(day, at, zone)
        if moment > now or (moment == now and not strictly):
            return moment
    raise ValueError("days is empty; name at least one weekday")

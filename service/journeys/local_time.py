"""When a local wall-clock time comes next in a zone, right on both days a year that the clocks change. Pure."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

EVERY_DAY = frozenset(range(7))


def zone_or(name: str | None, default: str) -> tuple[ZoneInfo, bool]:
    """The named zone; the default, and False, where the name is missing or unknown."""
    if name:
        try:
            return ZoneInfo(name), True
        except (KeyError, ValueError, OSError):  # not found; not a name; a folder of zones
            pass
    return ZoneInfo(default), False


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
        moment = moment_of(day, at, zone)
        if moment > now or (moment == now and not strictly):
            return moment
    raise ValueError("days is empty; name at least one weekday")


def moment_of(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The UTC moment of a local wall time; inside a gap, the moment at which the gap begins."""
    local = datetime.combine(day, at, zone).replace(fold=0)
    moment = local.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return moment
    before = local.utcoffset()
    after = local.replace(fold=1).utcoffset()
    assert before is not None
    assert after is not None
    return _gap_start(local.replace(tzinfo=None), before, after, zone)


def _gap_start(wall: datetime, before: timedelta, after: timedelta, zone: ZoneInfo) -> datetime:
    """Finds the change of offset between the two readings of a skipped wall time, to the second."""
    low, high = sorted(((wall - before).replace(tzinfo=UTC), (wall - after).replace(tzinfo=UTC)))
    start = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).utcoffset() == start:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)

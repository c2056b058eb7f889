"""Quiet hours in the customer's own zone, right on both days when clocks change. Pure."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

_STEP = timedelta(minutes=15)


def zone_of(name: str | None, default: str) -> tuple[ZoneInfo, bool]:
    """The zone named, else the default; True when a name was given and is none (and the default stands in)."""
    if name is None:
        return _zone(default) or ZoneInfo("UTC"), False
    zone = _zone(name)
    return (zone, False) if zone is not None else (_zone(default) or ZoneInfo("UTC"), True)


@lru_cache(maxsize=2048)
def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # unknown, malformed, or a folder of the zone database
        return None


def is_quiet(at: datetime, zone: ZoneInfo, start: time, end: time) -> bool:
    """Whether `at` falls into the quiet hours [start, end) of the zone; equal times mean there are none."""
    return quiet_then(at.astimezone(zone).time(), start, end)


def quiet_then(local: time, start: time, end: time) -> bool:
    """`is_quiet` by the wall clock."""
    if start <= end:
        return start <= local < end
    return local >= start or local < end


def next_allowed(at: datetime, zone: ZoneInfo, start: time, end: time) -> datetime:
    """The first time from `at` on that is not quiet, in UTC."""
    if not is_quiet(at, zone, start, end):
        return at
    today = at.astimezone(zone).date()
    for day in (today, today + timedelta(days=1), today + timedelta(days=2)):
        morning = local_instant(day, end, zone)
        while morning > at and is_quiet(morning, zone, start, end):  # the clock went back over the end
            morning += _STEP
        if morning > at:
            return morning
    return at


@lru_cache(maxsize=4096)
def local_instant(day: date, at: time, zone: ZoneInfo) -> datetime:
    """A local wall time in UTC; one that the clock skips becomes the moment just after the gap."""
    local = datetime.combine(day, at, zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant
    return _after_gap(day, at, zone)


def _after_gap(day: date, at: time, zone: ZoneInfo) -> datetime:
    """The first instant of `day` whose wall clock shows `at` or later."""
    low = datetime.combine(day, time(), zone).astimezone(UTC) - timedelta(hours=3)
    high = low + timedelta(hours=30)
    wanted = datetime.combine(day, at)
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(zone).replace(tzinfo=None) >= wanted:
            high = middle
        else:
            low = middle
    return high.replace(microsecond=0)

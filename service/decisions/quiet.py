"""Quiet hours in the customer's own zone, right on both days when clocks change. Pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo


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
    """The first time from `at` on that is not quiet, in UTC.

    Goes from one change of the clocks to the next: in between the end is as far off as the wall clock says, and a
    change may itself lead out of the quiet hours, or lead to the end a second time.
    """
    while is_quiet(at, zone, start, end):
        wall = at.astimezone(zone).replace(tzinfo=None)
        ends = datetime.combine(wall, end)
        ends += timedelta(days=ends <= wall)
        ended = at.astimezone(UTC) + (ends - wall)
        change = _change(at, ended, zone)
        if change is None:
            return ended
        at = change
    return at


def _change(after: datetime, until: datetime, zone: ZoneInfo) -> datetime | None:
    """When the clocks change in (after, until], less than a day apart; None where they do not."""
    offset = after.astimezone(zone).utcoffset()
    if until.astimezone(zone).utcoffset() == offset:
        return None
    return _first(after.astimezone(UTC), until, lambda time: time.astimezone(zone).utcoffset() != offset)


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
    wanted = datetime.combine(day, at)
    return _first(low, low + timedelta(hours=30), lambda time: time.astimezone(zone).replace(tzinfo=None) >= wanted)


def _first(low: datetime, high: datetime, holds: Callable[[datetime], bool]) -> datetime:
    """The first whole second in (low, high] from which on something `holds` that does not at `low`."""
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if holds(middle):
            high = middle
        else:
            low = middle
    return high.replace(microsecond=0)

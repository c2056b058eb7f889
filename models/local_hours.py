"""Whole local hours of a window of time, right on the days on which clocks change, and remembered from hour to hour."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from features.default_zone import known_zone

Ints = npt.NDArray[np.int64]
LONGEST = timedelta(days=92)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)


class Hours(NamedTuple):
    """Times (UTC) and the local hour of the week (Monday 00 is 0) of each."""

    times: Sequence[datetime]
    hours: Ints

    def before(self, end: datetime) -> Hours:
        """Those of them that begin before a time."""
        cut = bisect_left(self.times, end)
        return self if cut == len(self.times) else Hours(self.times[:cut], self.hours[:cut])


NO_HOURS = Hours((), np.zeros(0, np.int64))


def hour_of_week_at(moment: datetime, zone: str) -> int:
    """The local hour of the week (Monday 00 is 0) of an aware time."""
    local = moment.astimezone(known_zone(zone) or UTC)
    return local.weekday() * 24 + local.hour


def hours_between(start: datetime, end: datetime, zone: str) -> Hours:
    """The local hours that begin in [start, end); where none does, `start` alone; none in an empty window.

    Steps in real time, so that the hour skipped in spring does not appear and the one repeated in autumn does twice.
    Raises ValueError for naive times and for windows of more than 92 days.
    """
    first, last = checked(start, end)
    if first >= last:
        return NO_HOURS
    whole = next_whole(first, zone)
    if whole >= last:
        return Hours((first,), np.array([hour_of_week_at(first, zone)], np.int64))
    return hours_from(whole, days_until(last, whole), zone).before(last)


def days_until(last: datetime, first: datetime) -> int:
    """How many days, rounded up."""
    return -((first - last) // _DAY)


def checked(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Both in UTC. Raises ValueError as `hours_between` does."""
    if start.tzinfo is None or end.tzinfo is None:
        raise ValueError("start and end need a time zone")
    if end - start > LONGEST:
        raise ValueError(f"the window is {(end - start).days} days long; at most {LONGEST.days} are ranked")
    return start.astimezone(UTC), end.astimezone(UTC)


@lru_cache(maxsize=4096)
def hours_from(whole: datetime, days: int, zone: str) -> Hours:
    """The local hours from a whole one (`next_whole`) on, for some days."""
    times, moment, end = [], whole, whole + days * _DAY
    while moment < end:
        times.append(moment)
        moment = next_whole(moment + _HOUR, zone)
    hours = np.array([hour_of_week_at(moment, zone) for moment in times], np.int64)
    hours.setflags(write=False)
    return Hours(tuple(times), hours)


def next_whole(moment: datetime, zone: str) -> datetime:
    """The first local whole hour at or after a UTC time. Repeats where a clock change of half an hour intervenes."""
    place = known_zone(zone) or UTC
    while True:
        local = moment.astimezone(place)
        past = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        if not past:
            return moment
        moment += _HOUR - past

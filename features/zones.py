"""Local hours of the week from UTC times, by one table of offsets for batch and for one event."""

from __future__ import annotations

from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from features.declare import DAY, HOUR, SECOND
from features.default_zone import known_zone

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_THURSDAY = 3 * 24
"""1970-01-01 was a Thursday; hour 0 of the week is Monday's first."""


@lru_cache(maxsize=8192)
def _changes(name: str, year: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """(times, offsets), both in microseconds: from each time on, the offset holds, within a UTC year."""
    zone = known_zone(name)
    start = _us(datetime(year, 1, 1, tzinfo=UTC))
    end = _us(datetime(year + 1, 1, 1, tzinfo=UTC))
    if zone is None:
        return (start,), (0,)
    times, offsets = [start], [_offset(zone, start)]
    for day in range(start, end, DAY):
        after = min(day + DAY, end - SECOND)
        if _offset(zone, after) != offsets[-1]:
            times.append(_change_between(zone, day, after))
            offsets.append(_offset(zone, after))
    return tuple(times), tuple(offsets)


def _change_between(zone: ZoneInfo, low: int, high: int) -> int:
    before = _offset(zone, low)
    while high - low > SECOND:
        middle = (low + high) // (2 * SECOND) * SECOND
        if _offset(zone, middle) == before:
            low = middle
        else:
            high = middle
    return high


def _us(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _offset(zone: ZoneInfo, time_us: int) -> int:
    offset = (_EPOCH + timedelta(microseconds=time_us)).astimezone(zone).utcoffset()
    return 0 if offset is None else offset // timedelta(microseconds=1)


def hour_of_week(time_us: int, zone: str) -> int:
    """The local hour of the week, 0 (Monday 00) to 167, of a UTC time in microseconds."""
    return ((time_us if zone == "UTC" else time_us + _offset_then(time_us, zone)) // HOUR + _THURSDAY) % 168


def hours_of_week(times_us: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    """`hour_of_week` of many times in one zone."""
    local = times_us if zone == "UTC" or not times_us.size else times_us + _offsets_then(times_us, zone)
    return (local // HOUR + _THURSDAY) % 168


def offset_hour(time_us: int, zone: str) -> float:
    """Hours that a zone is ahead of UTC at a time."""
    return _offset_then(time_us, zone) / HOUR


def offset_hours(times_us: NDArray[np.int64], zone: str) -> NDArray[np.float64]:
    """`offset_hour` of many times in one zone."""
    return np.asarray(_offsets_then(times_us, zone) / HOUR, np.float64)


def _offset_then(time_us: int, zone: str) -> int:
    year = (_EPOCH + timedelta(microseconds=time_us)).year
    times, offsets = _changes(zone, year)
    return offsets[max(bisect_right(times, time_us) - 1, 0)]


def _offsets_then(times_us: NDArray[np.int64], zone: str) -> NDArray[np.int64]:
    years = times_us.astype("datetime64[us]").astype("datetime64[Y]").astype(np.int64) + 1970
    changes = [_changes(zone, year) for year in np.unique(years).tolist()]
    starts = np.array([t for times, _ in changes for t in times], dtype=np.int64)
    offsets = np.array([o for _, offs in changes for o in offs], dtype=np.int64)
    return offsets[np.searchsorted(starts, times_us, side="right") - 1]

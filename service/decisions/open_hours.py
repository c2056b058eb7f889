"""The hours in which a message may go out: after the quiet ones, before its time is over. Pure, and remembered."""

from __future__ import annotations

from datetime import datetime, time
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from models.local_hours import NO_HOURS, Hours, checked, days_until, hours_between, hours_from, next_whole
from service.decisions.quiet import is_quiet, quiet_then

Quiet = tuple[time, time]


def open_hours(earliest: datetime, latest: datetime, zone: ZoneInfo, quiet: Quiet | None) -> Hours:
    """The local hours that begin in [earliest, latest) and are not quiet; `earliest` alone where none begins then."""
    if quiet is None:
        return hours_between(earliest, latest, zone.key)
    first, last = checked(earliest, latest)
    if first >= last:
        return NO_HOURS
    whole = next_whole(first, zone.key)
    if whole >= last:
        return NO_HOURS if is_quiet(first, zone, *quiet) else hours_between(first, last, zone.key)
    return _loud(whole, days_until(last, whole), zone.key, quiet).before(last)


@lru_cache(maxsize=4096)
def _loud(whole: datetime, days: int, zone: str, quiet: Quiet) -> Hours:
    """`hours_from`, without the quiet ones: whether a whole hour is quiet hangs on its wall clock alone."""
    times, hours = hours_from(whole, days, zone)
    loud = np.flatnonzero(_loud_by_hour(quiet)[hours % 24])
    return Hours(tuple(times[place] for place in loud.tolist()), hours[loud])


@lru_cache(maxsize=64)
def _loud_by_hour(quiet: Quiet) -> npt.NDArray[np.bool_]:
    return np.array([not quiet_then(time(hour), *quiet) for hour in range(24)])

"""Which hours a message may be sent in: quiet hours on the customer's own clock. Pure."""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

_HOUR = timedelta(hours=1)


def loud_hours(
    channel: str, zone: str, quiet_from: time, quiet_until: time, quiet_channels: Collection[str]
) -> Callable[[datetime], bool]:
    """Whether the hour that starts at a (UTC) time lies wholly outside the quiet hours, in the zone."""
    if channel not in quiet_channels or quiet_from == quiet_until:
        return lambda _: True
    local = ZoneInfo(zone)

    def is_loud(moment: datetime) -> bool:
        last = moment + _HOUR - timedelta(microseconds=1)
        return not any(_quiet(one.astimezone(local).time(), quiet_from, quiet_until) for one in (moment, last))

    return is_loud


def _quiet(at: time, start: time, end: time) -> bool:
    return start <= at < end if start < end else at >= start or at < end

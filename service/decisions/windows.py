"""The windows that caps and budgets count in: sliding, or the day, week or month of a calendar in a zone. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from service.decisions.case import DAY_US, PLANNED_US, Case, from_microseconds, microseconds
from service.decisions.quiet import local_instant, zone_of
from service.offers.offer import CALENDAR_DAYS

_IN_WORDS = {"calendar_day": "this day", "calendar_week": "this week", "calendar_month": "this month"}


@dataclass(frozen=True, slots=True)
class Window:
    """What lies after `since` counts (microseconds), what is planned for later included, before `horizon`: what was
    decided for then, as of a later time, lies in no window with a message of now.

    It ends `length` after each entry, or with the entry's period of a `calendar` in `zone`; this one's is `end`.
    """

    since: int
    horizon: int
    length: int | None
    end: int | None
    words: str
    calendar: str | None = None
    zone: ZoneInfo | None = None

    def end_of(self, at: int) -> int:
        """When an entry of the time `at` counts no more."""
        if self.end is None:
            return at + (self.length or 0)
        if at < self.end or self.calendar is None or self.zone is None:
            return self.end
        return _period(self.calendar, from_microseconds(at).astimezone(self.zone).date(), self.zone)[1]

    def ends(self) -> tuple[int, ...]:
        """The ends of a calendar's periods in which what counts may lie, this one's first; none of a sliding window."""
        found = [] if self.end is None else [self.end]
        while found and found[-1] < self.horizon:
            found.append(self.end_of(found[-1]))
        return tuple(found)

    def share(self, now: int) -> float:
        """How much of a calendar's period is over, in [0, 1]; a sliding window is always whole."""
        return 1.0 if self.end is None else (now - self.since - 1) / (self.end - self.since - 1)


@lru_cache(maxsize=1024)
def window(now: int, at: datetime, per_days: float | None, calendar: str | None, zone: ZoneInfo) -> Window:
    """The window at `now` (microseconds; `at` is the same time): `per_days` long, or the `calendar`'s in `zone`.

    Days begin at midnight on the zone's clocks (or when the clock first shows a later time), weeks on Monday.
    """
    if calendar is not None:
        first, end = _period(calendar, at.astimezone(zone).date(), zone)
        _, last = _period(calendar, (at + timedelta(microseconds=PLANNED_US)).astimezone(zone).date(), zone)
        return Window(first - 1, last, None, end, _IN_WORDS[calendar], calendar, zone)
    days = per_days or 0.0
    length = round(days * DAY_US)
    return Window(
        now - length, now + PLANNED_US + length, length, None, "in 1 day" if days == 1 else f"in {days:g} days"
    )


def reach(per_days: float | None, calendar: str | None) -> float:
    """How many days back a window may look."""
    return CALENDAR_DAYS[calendar] if calendar is not None else per_days or 0.0


@lru_cache(maxsize=4096)
def _period(calendar: str, day: date, zone: ZoneInfo) -> tuple[int, int]:
    """First microsecond of the period that holds a local day, and the first after it."""
    if calendar == "calendar_day":
        first, after = day, day + timedelta(days=1)
    elif calendar == "calendar_week":
        first = day - timedelta(days=day.weekday())
        after = first + timedelta(days=7)
    else:
        first = day.replace(day=1)
        after = (first + timedelta(days=32)).replace(day=1)
    return microseconds(local_instant(first, time(), zone)), microseconds(local_instant(after, time(), zone))


def window_of(case: Case, per_days: float | None, calendar: str | None, shared: bool = False) -> Window:
    """A limit's window now; a calendar's is in the customer's zone, one that customers share in the default zone."""
    name = None if shared else case.customer.timezone
    zone, _ = zone_of(name if calendar else None, case.rules.default_timezone)
    return window(case.now_us, case.at, per_days, calendar, zone)

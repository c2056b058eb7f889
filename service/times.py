"""Times as callers write them: RFC 3339, read the same everywhere; periods of the calendar. Pure."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Literal

Period = Literal["calendar_day", "calendar_week", "calendar_month"]
"""Windows of caps and budgets that go by the calendar."""
_DATE = r"\d{4}-\d\d-\d\d"
_SHAPE = re.compile(rf"{_DATE}(?:[Tt ]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)?)?", re.ASCII)
"""RFC 3339, which has far fewer forms than ISO 8601: no weeks, nothing without its hyphens and colons."""
_LEAP = re.compile(rf"{_DATE}.\d\d:\d\d:60")


def read_time(text: str) -> datetime:
    """The time that an RFC 3339 text tells; without an offset, or of a day alone, it is naive.

    `ValueError` says what is wrong. Leap seconds are refused, as the clocks that decide know none.
    """
    try:
        if _SHAPE.fullmatch(text):
            return datetime.fromisoformat(text.upper() if text[-1] == "z" else text)
    except ValueError:
        if _LEAP.match(text):
            raise ValueError(f"{text[:40]!r} is a leap second; send the second before or after it") from None
    raise ValueError(f"{text[:40]!r} is no RFC 3339 time; write it as 2026-01-31T09:30:00Z")

"""RFC 3339 times, and what looks like them: the same answer for decisions and for events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from service.decisions.schemas import DecisionIn
from service.errors import FieldError
from service.events.values import instant
from service.times import read_time

NEW_YEAR = datetime(2026, 1, 1, tzinfo=UTC)


def decided_at(text: str) -> datetime | str:
    """The time that a decision reads, else the reason why not."""
    try:
        at = DecisionIn.model_validate({"customer_id": "a", "at": text}).at
    except ValidationError as refused:
        return refused.errors()[0]["msg"].removeprefix("Value error, ")
    assert at is not None
    return at


def happened_at(text: str) -> datetime | str | None:
    errors: list[FieldError] = []
    at = instant(text, "timestamp", errors)
    return errors[0].detail if errors else at


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-01-01T00:00:00Z", NEW_YEAR),
        ("2026-01-01t00:00:00z", NEW_YEAR),
        ("2026-01-01 00:00:00Z", NEW_YEAR),
        ("2026-01-01T01:00:00+01:00", NEW_YEAR),
        ("2025-12-31t19:00:00.000-05:00", NEW_YEAR),
        ("2026-01-01T00:00:00.250000999Z", NEW_YEAR + timedelta(milliseconds=250)),
    ],
)
def test_what_the_standard_allows(text: str, time: datetime) -> None:
    assert decided_at(text) == happened_at(text) == time


@pytest.mark.parametrize(
    "text",
    [
        "2026-W01-1T00:00:00Z",
        "20260101T000000Z",
        "2026-01-01T000000Z",
        "2026-01-01T00:00Z",
        "2026-01-01x00:00:00Z",
        "2026-01-01T00:00:00,5Z",
        "2026-01-01T00:00:00+01",
        "2026-01-01T00:00:00+01:00:30",
        "2026-02-30T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "２０２６-01-01T00:00:00Z",
        "2026-01-01T00:00:00Z\n",
        "yesterday",
        "",
    ],
)
def test_what_it_does_not(text: str) -> None:
    assert decided_at(text) == happened_at(text) == f"{text!r} is no RFC 3339 time; write it as 2026-01-31T09:30:00Z"


def test_leap_seconds_are_named_as_such() -> None:
    text = "2026-06-30T23:59:60Z"
    assert decided_at(text) == happened_at(text) == f"{text!r} is a leap second; send the second before or after it"


def test_events_may_leave_out_the_offset_and_decisions_not() -> None:
    for text in ("2026-01-01T00:00:00", "2026-01-01"):
        assert happened_at(text) == NEW_YEAR
        assert decided_at(text) == "has no time zone; write 2026-07-01T09:00:00Z"


@given(st.datetimes(datetime(1970, 1, 2), datetime(2100, 12, 30)), st.integers(-23 * 60, 23 * 60))
def test_what_is_written_is_read(at: datetime, offset: int) -> None:
    aware = at.replace(tzinfo=UTC)
    hours, minutes = divmod(abs(offset), 60)
    local = (at + timedelta(minutes=offset)).isoformat()
    text = f"{local}{'-' if offset < 0 else '+'}{hours:02}:{minutes:02}"
    assert decided_at(text) == happened_at(text) == read_time(text) == aware


@given(st.text(max_size=30))
def test_any_text_is_read_or_refused_never_a_crash(text: str) -> None:
    found: list[Any] = [decided_at(text), happened_at(text)]
    assert all(isinstance(one, datetime | str) for one in found)

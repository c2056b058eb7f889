"""Durations, local times and retries."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.decisions.quiet import local_instant
from service.journeys.durations import parse_duration
from service.journeys.local_time import next_local
from service.journeys.retry import RetryPolicy

ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/St_Johns"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("45m", timedelta(minutes=45)),
        ("1d12h", timedelta(hours=36)),
        ("2w", timedelta(weeks=2)),
        ("1.5h", timedelta(minutes=90)),
        ("P3D", timedelta(days=3)),
        ("PT1H30M", timedelta(minutes=90)),
        ("P1W", timedelta(weeks=1)),
    ],
)
def test_durations_read_as_people_write_them(text: str, expected: timedelta) -> None:
    assert parse_duration(text) == expected


@pytest.mark.parametrize(
    "text", ["", "3", "d", "P", "PT", "0s", "-1d", "3 years", "99999d", "1h30", "P1DT", "0.0000001s", f"{10**400}d"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@settings(max_examples=200)
@given(
    now=st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
    zone=st.sampled_from(ZONES),
    at=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    days=st.sets(st.integers(0, 6), min_size=1),
    strictly=st.booleans(),
)
@example(datetime(2026, 3, 28, 12, tzinfo=UTC), "Europe/Berlin", time(2, 30), {6}, False)
@example(datetime(2026, 3, 29, 0, 59, tzinfo=UTC), "Europe/Berlin", time(2, 30), {0, 6}, True)
@example(datetime(2026, 10, 3, tzinfo=UTC), "Australia/Lord_Howe", time(2, 15), {6}, False)
@example(datetime(2026, 4, 23, 12, tzinfo=UTC), "Africa/Cairo", time(0, 15), {4}, False)  # midnight is skipped
def test_the_next_local_time_is_the_first_that_fits(
    now: datetime, zone: str, at: time, days: set[int], strictly: bool
) -> None:
    where = ZoneInfo(zone)
    found = next_local(now, where, at, days, strictly)
    assert found > now if strictly else found >= now
    local = found.astimezone(where)
    assert local.date().weekday() in days
    if local.time() != at:  # only where the clocks skip it
        before = (found - timedelta(seconds=1)).astimezone(where).replace(tzinfo=None)
        assert before < datetime.combine(local.date(), at) < local.replace(tzinfo=None)
    earlier = local.date() - timedelta(days=1)
    while earlier >= now.astimezone(where).date() - timedelta(days=1):
        if earlier.weekday() in days:
            assert local_instant(earlier, at, where) <= now
        earlier -= timedelta(days=1)


def test_a_skipped_hour_is_when_the_clocks_go_forward_and_a_doubled_one_its_first() -> None:
    berlin, lord_howe = ZoneInfo("Europe/Berlin"), ZoneInfo("Australia/Lord_Howe")
    assert local_instant(date(2026, 3, 29), time(2, 30), berlin) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert local_instant(date(2026, 10, 25), time(2, 30), berlin) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    skipped = local_instant(date(2026, 10, 4), time(2, 15), lord_howe)  # half an hour is skipped there
    assert skipped.astimezone(lord_howe).time() == time(2, 30)


@given(st.integers(1, 200), st.text(max_size=8))
def test_delays_grow_up_to_a_bound_and_end(attempts: int, key: str) -> None:
    policy = RetryPolicy(attempts=attempts)
    delays = [policy.delay(attempt, key) for attempt in range(1, attempts + 1)]
    assert delays[-1] is None
    known = [delay for delay in delays[:-1] if delay is not None]
    assert len(known) == attempts - 1
    assert all(timedelta(seconds=48) <= delay <= timedelta(hours=6) for delay in known)
    assert known[:3] == sorted(known[:3])


def test_tries_are_counted_from_one() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        RetryPolicy().delay(0)

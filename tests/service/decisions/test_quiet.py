from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.decisions.quiet import is_quiet, next_allowed, zone_of

NIGHT = (time(21), time(8))
times = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))
walls = st.times().map(lambda at: at.replace(second=0, microsecond=0, tzinfo=None))
small_hours = st.integers(0, 16).map(lambda quarters: time(quarters // 4, quarters % 4 * 15))  # when clocks change
ZONES = [
    ZoneInfo(name)
    for name in ("UTC", "America/New_York", "Europe/Paris", "Europe/Berlin", "Asia/Kolkata", "Australia/Lord_Howe",
                 "Pacific/Apia", "Africa/Cairo")
]  # fmt: skip
zones = st.sampled_from(ZONES)


def test_the_night_ends_at_eight_local_time() -> None:
    paris = ZoneInfo("Europe/Paris")
    late = datetime(2026, 1, 10, 21, 30, tzinfo=UTC)
    assert is_quiet(late, paris, *NIGHT)
    assert next_allowed(late, paris, *NIGHT) == datetime(2026, 1, 11, 7, tzinfo=UTC)
    noon = datetime(2026, 1, 10, 12, tzinfo=UTC)
    assert next_allowed(noon, paris, *NIGHT) == noon


@pytest.mark.parametrize(("start", "end"), [(time(21), time(8)), (time(12), time(14)), (time(0), time(8))])
def test_quiet_hours_begin_with_their_first_moment_and_end_before_their_last(start: time, end: time) -> None:
    day = datetime(2026, 1, 10, tzinfo=UTC)
    first, after = (day.replace(hour=at.hour) for at in (start, end))
    moment = timedelta(microseconds=1)
    quiet = [is_quiet(at, ZoneInfo("UTC"), start, end) for at in (first - moment, first, after - moment, after)]
    assert quiet == [False, True, True, False]


@pytest.mark.parametrize(
    ("at", "allowed"),
    [
        # New York springs forward on 2026-03-08 at 02:00: eight o'clock is 12:00 UTC, not 13:00
        (datetime(2026, 3, 8, 4, tzinfo=UTC), datetime(2026, 3, 8, 12, tzinfo=UTC)),
        # and falls back on 2026-11-01
        (datetime(2026, 11, 1, 4, tzinfo=UTC), datetime(2026, 11, 1, 13, tzinfo=UTC)),
    ],
)
def test_days_when_clocks_change(at: datetime, allowed: datetime) -> None:
    assert next_allowed(at, ZoneInfo("America/New_York"), *NIGHT) == allowed


def test_an_end_that_the_clock_skips_is_the_moment_after() -> None:
    # 02:30 does not exist in New York on 2026-03-08; quiet until 02:30 ends when the clock jumps, 07:00 UTC
    at = datetime(2026, 3, 8, 5, tzinfo=UTC)
    assert next_allowed(at, ZoneInfo("America/New_York"), time(23), time(2, 30)) == datetime(2026, 3, 8, 7, tzinfo=UTC)


@pytest.mark.parametrize(
    ("at", "night", "allowed"),
    [
        # Berlin's clocks go back on 2026-10-25 at 01:00 UTC, from 03:00 to 02:00: half past two comes twice.
        (datetime(2026, 10, 25, 0, 15), (time(22), time(2, 30)), datetime(2026, 10, 25, 0, 30)),
        (datetime(2026, 10, 25, 1, 10), (time(22), time(2, 30)), datetime(2026, 10, 25, 1, 30)),
        # Quiet from half past two to four: the hour that comes again begins before the quiet ones.
        (datetime(2026, 10, 25, 0, 45), (time(2, 30), time(4)), datetime(2026, 10, 25, 1)),
        (datetime(2026, 10, 25, 1, 45), (time(2, 30), time(4)), datetime(2026, 10, 25, 3)),
    ],
)
def test_the_hour_that_comes_twice(at: datetime, night: tuple[time, time], allowed: datetime) -> None:
    berlin = ZoneInfo("Europe/Berlin")
    assert next_allowed(at.replace(tzinfo=UTC), berlin, *night) == allowed.replace(tzinfo=UTC)


def clock_changes(zone: ZoneInfo) -> list[datetime]:
    """The hours of 2026 after which the zone's clocks show another offset."""
    hours = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=hour) for hour in range(365 * 24)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return [hour for hour, now, then in zip(hours, offsets, offsets[1:], strict=False) if now != then]


CHANGES = [(zone, at) for zone in ZONES for at in clock_changes(zone)]


@given(st.sampled_from(CHANGES), st.integers(-90, 180), walls | small_hours, small_hours)
@settings(max_examples=400)
def test_no_minute_before_it_is_allowed(change: tuple[ZoneInfo, datetime], after: int, start: time, end: time) -> None:
    zone, at = change[0], change[1] + timedelta(minutes=after)
    allowed = next_allowed(at, zone, start, end)
    assert not is_quiet(allowed, zone, start, end)
    minutes = range(int((allowed - at) / timedelta(minutes=1)))
    assert all(is_quiet(at + timedelta(minutes=minute), zone, start, end) for minute in minutes)


@given(times, zones, walls, walls)
@settings(max_examples=300)
def test_what_comes_out_is_allowed_and_soon(at: datetime, zone: ZoneInfo, start: time, end: time) -> None:
    allowed = next_allowed(at, zone, start, end)
    assert at <= allowed <= at + timedelta(hours=49)
    assert not is_quiet(allowed, zone, start, end)
    if not is_quiet(at, zone, start, end):
        assert allowed == at


def test_zones_that_are_none() -> None:
    assert zone_of("Europe/Paris", "UTC")[0].key == "Europe/Paris"
    for name in ("Mars/Olympus", "", "../etc/passwd", "Europe", "x" * 10_000, "a\x00b"):
        zone, invalid = zone_of(name, "Asia/Tokyo")
        assert (zone.key, invalid) == ("Asia/Tokyo", True)
    assert zone_of(None, "Asia/Tokyo") == (ZoneInfo("Asia/Tokyo"), False)
    assert zone_of(None, "Mars/Olympus") == (ZoneInfo("UTC"), False)
    assert zone_of("Mars/Olympus", "Mars/Phobos") == (ZoneInfo("UTC"), True)

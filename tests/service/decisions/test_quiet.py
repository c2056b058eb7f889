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
zones = st.sampled_from(
    ["UTC", "America/New_York", "Europe/Paris", "Asia/Kolkata", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Cairo"]
).map(ZoneInfo)


def test_the_night_ends_at_eight_local_time() -> None:
    paris = ZoneInfo("Europe/Paris")
    late = datetime(2026, 1, 10, 21, 30, tzinfo=UTC)
    assert is_quiet(late, paris, *NIGHT)
    assert next_allowed(late, paris, *NIGHT) == datetime(2026, 1, 11, 7, tzinfo=UTC)
    noon = datetime(2026, 1, 10, 12, tzinfo=UTC)
    assert next_allowed(noon, paris, *NIGHT) == noon


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
    assert zone_of(None, "Asia/Tokyo")[1] is False

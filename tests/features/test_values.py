from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.build import compute
from features.codes import area_letters, area_number, country_letters, label_number
from features.default_zone import known_zone
from features.histogram import BINS, EDGES, MIDDLES, bin_of, bins_of, quantile
from features.plan import Trait
from features.tables import EVENTS
from features.values import read_traits
from features.zones import hour_of_week, hours_of_week, offset_hour, offset_hours

ROLE = ("intern", "manager")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (3, 3), (2.5, 2.5), (True, 1), ("5+", 5), ("25-34", 25), ("Under 15K", 0), ("100-124K", 100),
        ("1,000-5,000", 1000),
        (math.inf, None), (math.nan, None), ("", None), ("many", None), (None, None), ([1], None), (1e300, None),
    ],
)  # fmt: skip
def test_numbers_out_of_traits(value: Any, number: float | None) -> None:
    found = read_traits({"x": value}, [Trait(("y",)), Trait(("x",))])
    assert found == ([] if number is None else [(1, number)])


@pytest.mark.parametrize(("value", "level"), [("Manager", 1), (" intern ", 0), ("chief", None), ("7", None), (2, 2)])
def test_levels(value: Any, level: float | None) -> None:
    assert read_traits({"role": value}, [Trait(("role",), levels=ROLE)]) == ([] if level is None else [(0, level)])


@pytest.mark.parametrize(
    ("value", "number"),
    [("1990-02-28", 228), ("--12-31", 1231), ("12-31", 1231), ("1990-13-01", None), ("x", None), (5, None)],
)
def test_dates(value: Any, number: float | None) -> None:
    assert read_traits({"born": value}, [Trait(("born",), "date")]) == ([] if number is None else [(0, number)])


WORDS = ("junior|account executive", "manager|head", "executive|vice president", "chief")


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("Senior Marketing Manager", 1), ("Account Executive", 0), ("Executive Vice President", 2),
        ("Headhunter", None), ("Chief of Staff", 3), ("Junior Manager", 1), ("", None), (4, 4),
    ],
)  # fmt: skip
def test_the_highest_level_that_is_named(text: Any, level: float | None) -> None:
    found = read_traits({"title": text}, [Trait(("role", "title"), "words", WORDS)])
    assert found == ([] if level is None else [(0, level)])


@pytest.mark.parametrize(
    ("traits", "said"),
    [
        ({"country": "de"}, "DE"), ({"address": {"country": "Germany"}}, "DE"), ({"country": "Atlantis"}, None),
        ({"country": "??", "address": {"country": "FR"}}, "FR"), ({"country": 4}, None), ({"address": "FR"}, None),
        ({"address.country": "JP"}, "JP"), ({"country": "é1"}, None),
    ],
)  # fmt: skip
def test_countries(traits: dict[str, Any], said: str | None) -> None:
    found = read_traits(traits, [Trait(("country", "address.country"), "country")])
    assert [country_letters(number) for _, number in found] == ([] if said is None else [said])


@pytest.mark.parametrize(
    ("value", "said"), [("10115", "101"), (10115, "101"), ("SW1A 1AA", "SW1"), ("d-4", "D4"), ("〒", None), (1.5, None)]
)
def test_postal_areas(value: Any, said: str | None) -> None:
    found = read_traits({"zip": value}, [Trait(("zip",), "area")])
    assert [area_letters(number) for _, number in found] == ([] if said is None else [said])


def test_postal_areas_keep_their_order() -> None:
    numbers = [area_number(text) for text in ("01067", "10115", "10999", "20095", "9", "EC1")]
    assert numbers == sorted(numbers)  # type: ignore[type-var]


def test_labels_are_told_apart_and_spelt_as_one_likes() -> None:
    told = {label_number(name) for name in ("Bavaria", "Berlin", "Sachsen", "東京都", "")}
    assert len(told) == 5
    assert label_number(" new  york ") == label_number("New York")


@pytest.mark.parametrize("text", ["", "{", "[1]", "3", None])
def test_broken_traits_say_nothing(text: Any) -> None:
    assert read_traits(text, [Trait(("x",))]) == []


ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Africa/Casablanca",
    "Asia/Tehran",
)


@settings(max_examples=200, deadline=None)
@given(
    zone=st.sampled_from([*ZONES, "UTC"]),
    times=st.lists(st.integers(0, 4_000_000_000_000_000), min_size=1, max_size=20),
)
def test_local_hours_equal_the_standard_library(zone: str, times: list[int]) -> None:
    expected = []
    for time in times:
        local = (EPOCH + timedelta(microseconds=time)).astimezone(ZoneInfo(zone))
        expected.append(local.weekday() * 24 + local.hour)
    assert [hour_of_week(time, zone) for time in times] == expected
    assert hours_of_week(np.array(times), zone).tolist() == expected
    ahead = [(EPOCH + timedelta(microseconds=t)).astimezone(ZoneInfo(zone)).utcoffset() for t in times]
    hours = [one / timedelta(hours=1) for one in ahead if one is not None]
    assert [offset_hour(time, zone) for time in times] == hours == offset_hours(np.array(times), zone).tolist()


@pytest.mark.parametrize("minute", range(-2, 3))
def test_local_hours_around_a_clock_change(minute: int) -> None:
    change = datetime(2026, 10, 25, 1, tzinfo=UTC) + timedelta(minutes=minute)
    local = change.astimezone(ZoneInfo("Europe/Berlin"))
    time = (change - EPOCH) // timedelta(microseconds=1)
    assert hour_of_week(time, "Europe/Berlin") == 6 * 24 + local.hour == 6 * 24 + 2


@pytest.mark.parametrize("name", ["No/Where", "", "../etc/passwd", "Europe/Berlin\0", "/etc/localtime", "posix"])
def test_names_that_no_zone_has(name: str) -> None:
    assert known_zone(name) is None


@given(st.integers(-10, 2**39))
def test_bins_of_one_and_of_many_agree_and_are_near(value: int) -> None:
    place = bin_of(value)
    assert bins_of(np.array([value])).tolist() == [place]
    assert 0 <= place < BINS
    if value >= 1:
        assert MIDDLES[place] == pytest.approx(value, rel=0.1)


def test_quantiles() -> None:
    values = np.array([100, 200, 200, 300, 10_000])
    counts = np.zeros((2, BINS), dtype=np.int64)
    np.add.at(counts[0], bins_of(values), 1)
    assert quantile(counts, 0.5)[0] == pytest.approx(200, rel=0.1)
    assert quantile(counts, 1.0)[0] == pytest.approx(10_000, rel=0.1)
    assert np.isnan(quantile(counts, 0.5)[1])
    assert np.all(np.diff(EDGES) > 0)


def test_where_nobody_says_a_country_it_is_where_events_came_from() -> None:
    at = datetime(2026, 11, 1, tzinfo=UTC)

    def event(number: int, kind: str, traits: str | None = None, context: str | None = None) -> dict[str, Any]:
        told = {"message_id": f"m{number}", "type": kind, "event": None, "customer_id": "c", "properties": "{}"}
        time = at + timedelta(days=number)
        return {**told, "timestamp": time, "received_at": time, "traits": traits, "context": context}

    events = [
        event(0, "page", context='{"location":{"country":"France","region":"Rhône"}}'),
        event(1, "page", context='{"location":{"country":"ES"}}'),
        event(2, "identify", '{"address":{"country":"DE"}}', '{"location":{"country":"IT","region":"Lazio"}}'),
        event(3, "page", context='{"location":{"country":"ES"}}'),
    ]
    cuts = pl.DataFrame({"customer_id": ["c"] * 3, "as_of": [at + timedelta(days=n, hours=1) for n in (0, 1, 3)]})
    told = compute(EVENTS.conform(pl.DataFrame(events)), cuts)
    assert [country_letters(code) for code in told["country_code"]] == ["FR", "ES", "DE"]
    assert told["region_code"].to_list() == [label_number("Rhône")] * 2 + [label_number("Lazio")]

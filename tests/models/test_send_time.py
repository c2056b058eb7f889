"""Hours: right on both days on which clocks change, named fallbacks, shrinkage, exposure correction, reloading."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channel_hours import ChannelHours
from features.rows import CustomerRow
from models.channel_curves import ChannelCurve
from models.load import MissingColumns, load, verify_golden, write_golden
from models.local_hours import hour_of_week_at, hours_between
from models.presence import Presence, own_presence, type_weights
from models.send_time import SendTimeModel
from models.week import HOURS, exposure, spread

NOW = datetime(2026, 5, 4, tzinfo=UTC)  # a Monday
EVENING, MORNING = 19, 8


def bump(hour: int) -> np.ndarray:
    day = np.exp(-0.5 * ((np.arange(24) - hour) / 1.5) ** 2) + 0.02
    week = np.tile(day, 7)
    return week / week.sum()


def model(own: float = 20.0, sharpness: float = 1.0) -> SendTimeModel:
    lag = np.zeros(24)
    lag[0] = 1.0
    presence = Presence(np.stack([bump(MORNING), bump(EVENING)]), np.array([0.4, 0.6]), own, lag)
    rate = 0.1 * (0.4 * bump(MORNING) + 0.6 * bump(EVENING)) * HOURS
    return SendTimeModel({"email": ChannelCurve(rate, 0.1, 0.2, EVENING)}, presence, sharpness, 20.0)


def row(
    orders: dict[int, int] | None = None, sends: dict[int, int] | None = None, answers: dict[int, int] | None = None
) -> CustomerRow:
    """Counts by hour of the day, all on Tuesday."""

    def grid(counts: dict[int, int] | None) -> np.ndarray:
        week = np.zeros(HOURS, np.int64)
        for hour, count in (counts or {}).items():
            week[24 + hour] = count
        return week

    return CustomerRow("c", NOW, {}, {}, grid(orders), {"email": ChannelHours(grid(sends), grid(answers))})


def best_hour(customer: CustomerRow | None, zone: str = "UTC", **changes: float) -> int:
    found = model(**changes).rank(customer, "email", zone, NOW, NOW + timedelta(days=1), 1)
    return found[0].start.astimezone(ZoneInfo(zone)).hour


def test_without_knowledge_the_channels_best_hour_wins() -> None:
    assert best_hour(None) == EVENING
    assert best_hour(row()) == EVENING
    found = model().rank(None, "email", "UTC", NOW, NOW + timedelta(days=1), 1)[0]
    assert (found.confidence, found.basis, found.fallback) == (0.0, "everyone", None)
    assert repr(found.lift_over_default) == "0.0", "as good as the default hour is not -1.1e-16 better"


def test_a_persons_orders_move_the_hour() -> None:
    assert best_hour(row(orders={MORNING: 6})) == MORNING
    found = model().rank(row(orders={MORNING: 60}), "email", "UTC", NOW, NOW + timedelta(days=1), 1)[0]
    assert found.basis == "person"
    assert found.confidence > 0.7
    assert found.lift_over_default > 1


def test_a_few_events_speak_for_a_type_not_for_an_odd_hour() -> None:
    assert best_hour(row(orders={9: 2, 3: 1})) in (MORNING, MORNING + 1)


def test_answers_count_by_what_was_sent() -> None:
    """As many answers in the morning as in the evening, of a ninth of the sends: a morning person."""
    fair = row(sends={MORNING: 10, EVENING: 10}, answers={MORNING: 6, EVENING: 6})
    corrected = row(sends={MORNING: 5, EVENING: 45}, answers={MORNING: 6, EVENING: 6})
    morning = [model().probabilities(who, "email")[1].presence[24 + MORNING] for who in (fair, corrected)]
    assert morning[1] > morning[0]
    assert best_hour(corrected) == MORNING


def test_who_answers_more_gets_a_higher_probability() -> None:
    keen, cold = row(sends={12: 40}, answers={12: 30}), row(sends={12: 40}, answers={})
    levels = [model().person(who, "email").level for who in (keen, row(), cold)]
    assert levels[0] > levels[1] == 1.0 > levels[2] > 0


@pytest.mark.parametrize(
    ("zone", "start", "hours"),
    [
        ("Europe/Berlin", datetime(2026, 3, 28, 23, tzinfo=UTC), 23),
        ("Europe/Berlin", datetime(2026, 10, 24, 22, tzinfo=UTC), 25),
        ("America/New_York", datetime(2026, 3, 8, 5, tzinfo=UTC), 23),
        ("America/New_York", datetime(2026, 11, 1, 4, tzinfo=UTC), 25),
        ("Asia/Kathmandu", datetime(2026, 5, 3, 18, 15, tzinfo=UTC), 24),
        ("Australia/Lord_Howe", datetime(2026, 4, 4, 13, tzinfo=UTC), 24),
    ],
)
def test_days_on_which_clocks_change_have_their_own_number_of_hours(zone: str, start: datetime, hours: int) -> None:
    local = start.astimezone(ZoneInfo(zone))
    end = datetime(local.year, local.month, local.day, tzinfo=ZoneInfo(zone)) + timedelta(days=1)
    found = list(hours_between(start, end, zone).times)
    assert len(found) == hours
    assert all(moment.astimezone(ZoneInfo(zone)).minute == 0 for moment in found)
    assert len(set(found)) == hours
    assert found == sorted(found)


def test_the_hour_skipped_in_spring_is_never_offered() -> None:
    start = datetime(2026, 3, 28, 23, tzinfo=UTC)
    found = model().rank(None, "email", "Europe/Berlin", start, start + timedelta(hours=23), 30)
    assert 2 not in {each.start.astimezone(ZoneInfo("Europe/Berlin")).hour for each in found}


def test_the_hour_follows_the_customers_zone() -> None:
    assert best_hour(None, "Asia/Tokyo") == EVENING
    assert hour_of_week_at(datetime(2026, 5, 4, 23, tzinfo=UTC), "Asia/Tokyo") == 24 + 8


@pytest.mark.parametrize(
    ("zone", "fallback"),
    [(None, "zone_unknown"), ("", "zone_unknown"), ("Mars/Base", "zone_invalid"), ("../etc", "zone_invalid")],
)
def test_a_missing_or_wrong_zone_is_named(zone: str | None, fallback: str) -> None:
    found = replace(model(), default_zone="Asia/Tokyo").rank(None, "email", zone, NOW, NOW + timedelta(days=1), 1)[0]
    assert (found.zone, found.fallback) == ("Asia/Tokyo", fallback)


def test_only_allowed_hours_best_first() -> None:
    def office(moment: datetime) -> bool:
        return 9 <= moment.hour < 17

    found = model().rank(None, "email", "UTC", NOW, NOW + timedelta(days=7), 100, office)
    assert len(found) == 56
    assert all(office(each.start) for each in found)
    assert [each.probability for each in found] == sorted((each.probability for each in found), reverse=True)
    assert model().rank(None, "email", "UTC", NOW, NOW + timedelta(days=1), 3, lambda _: False) == []


def test_short_empty_and_wrong_windows() -> None:
    odd = NOW + timedelta(minutes=20)
    assert [each.start for each in model().rank(None, "email", "UTC", odd, odd + timedelta(minutes=10), 3)] == [odd]
    assert model().rank(None, "email", "UTC", NOW, NOW, 3) == []
    assert model().rank(None, "email", "UTC", NOW, NOW + timedelta(days=1), 0) == []
    with pytest.raises(ValueError, match="days long"):
        model().rank(None, "email", "UTC", NOW, NOW + timedelta(days=400), 3)
    with pytest.raises(ValueError, match="time zone"):
        model().rank(None, "email", "UTC", NOW.replace(tzinfo=None), NOW, 3)


def test_a_channel_never_sent_on_still_gets_hours() -> None:
    found = model().rank(row(orders={MORNING: 20}), "push", "UTC", NOW, NOW + timedelta(days=1), 1)[0]
    assert found.start.hour == MORNING
    assert 0 < found.probability < 1


def test_the_untrained_model_prefers_the_day() -> None:
    found = SendTimeModel.untrained().rank(None, "sms", None, NOW, NOW + timedelta(days=1), 5)
    assert all(8 <= each.start.hour < 21 for each in found)
    assert SendTimeModel.untrained().version == "untrained"


counts = st.lists(st.integers(0, 50), min_size=HOURS, max_size=HOURS).map(np.array)


@given(counts, counts, counts)
@settings(max_examples=40, deadline=None)
def test_presence_is_a_distribution_whatever_was_counted(
    orders: np.ndarray, sends: np.ndarray, answers: np.ndarray
) -> None:
    priors = model().presence
    exposed = exposure(sends.astype(float), priors.lag)
    types = type_weights(priors, orders.astype(float), answers.astype(float), exposed)
    found = own_presence(priors, types, orders.astype(float), answers.astype(float), exposed)
    assert types.sum() == pytest.approx(1)
    assert found.sum() == pytest.approx(1)
    assert (found > 0).all()
    assert spread(orders.astype(float)).sum() == pytest.approx(orders.sum())
    customer = CustomerRow("c", NOW, {}, {}, orders, {"email": ChannelHours(sends, answers)})
    chances, _ = model().probabilities(customer, "email")
    assert ((chances > 0) & (chances < 1)).all()


@pytest.mark.parametrize("days", [None, np.array([[0.9, 1.3], [1.05, 0.9]])])
def test_reloading_gives_the_same(tmp_path: Path, days: np.ndarray | None) -> None:
    made = replace(model(), presence=replace(model().presence, days=days))
    made.save(tmp_path)
    frame = pl.DataFrame({"channel": ["email", "push", "fax"], "hour_of_week": [0, 19, 167]})
    write_golden(made, tmp_path, frame)
    again = load(tmp_path, "7")
    verify_golden(again, tmp_path)
    customer = row(orders={MORNING: 3})
    arguments = (customer, "email", "Europe/Berlin", NOW, NOW + timedelta(days=2), 5)
    assert again.rank(*arguments) == made.rank(*arguments)
    assert (again.name, again.version) == ("send-time", "7")
    assert (made.predict(frame.select("hour_of_week", "channel")) == made.predict(frame)).all()
    with pytest.raises(MissingColumns, match="hour_of_week"):
        made.predict(frame.select("channel"))


def test_types_that_answer_at_weekends_are_sent_to_then() -> None:
    """Early risers answer more at weekends, the others less; who is not known tells nothing of it."""
    early, late, asked = row(orders={MORNING: 20}), row(orders={EVENING: 20}), model(own=1e5)
    told = replace(asked, presence=replace(asked.presence, days=np.array([[0.9, 1.3], [1.05, 0.9]])))

    def first(model: SendTimeModel, customer: CustomerRow | None) -> tuple[bool, int]:
        start = model.rank(customer, "email", "UTC", NOW, NOW + timedelta(days=7), 1)[0].start
        return start.weekday() >= 5, start.hour

    assert first(asked, early) == (False, MORNING)
    assert first(told, early) == (True, MORNING)
    assert first(told, late) == (False, EVENING)
    assert first(told, None) == first(asked, None)
    more = told.probabilities(early, "email")[0] / asked.probabilities(early, "email")[0]
    assert more[[MORNING, 5 * 24 + MORNING]] == pytest.approx([0.9, 1.3], rel=1e-3)


@given(st.lists(st.tuples(st.integers(0, 167), st.integers(0, 167), st.integers(0, 167)), min_size=1, max_size=70))
@settings(max_examples=15)
def test_many_customers_at_once_are_as_each_alone_to_the_bit(told: list[tuple[int, int, int]]) -> None:
    lag = np.linspace(1, 0.1, 24)
    days = np.array([[0.9, 1.3], [1.05, 0.9]])
    priors = replace(model().presence, lag=lag / lag.sum(), answers=0.6, visits=0.3, days=days)
    asked = replace(model(), presence=priors)
    rows = [row({a % 24: 3, b % 24: 1}, {b % 24: 7, c % 24: 2}, {(b + 1) % 24: 2, c % 24: 1}) for a, b, c in told]
    for one, habits in zip(rows, asked.habits_of([*rows, None]), strict=False):
        alone = asked.habits(one)
        assert alone is not None
        assert habits is not None
        assert alone.events == habits.events
        for name in ("presence", "ratio", "types"):
            np.testing.assert_array_equal(getattr(habits, name), getattr(alone, name))


@pytest.mark.parametrize("hour", [168, 500, -1, 3.5, float("nan"), None])
def test_hours_that_no_week_has_are_refused_by_name(hour: float | None) -> None:
    frame = pl.DataFrame({"channel": ["email"] * 2, "hour_of_week": [3, hour]}, strict=False)
    with pytest.raises(ValueError, match="hour_of_week as a whole number from 0 to 167") as refused:
        SendTimeModel.untrained().predict(frame)
    assert f"{hour!r} is none" in str(refused.value)

"""Hours of many decisions planned at once: as each alone, as ranking has it, on days when clocks change too."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as tries
from hypothesis import strategies as st

from features.channel_hours import ChannelHours
from models import asked_hours
from models.channel_curves import ChannelCurve
from models.local_hours import hours_between
from models.presence import Presence
from models.send_time import SendTimeModel
from models.week import HOURS
from service.decisions.case import Entry, microseconds
from service.decisions.draft import Draft
from service.decisions.hours import Planned, plan_hour
from service.decisions.ledger_lines_store import add_foreign
from service.decisions.open_hours import open_hours
from service.decisions.policy import draw
from service.decisions.quiet import is_quiet, next_allowed
from service.decisions.schemas import DecisionIn
from service.decisions.send_hours import Message, SendHours, freshness
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import EXPLORES, Desk, NextOffer, row, settings

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "America/St_Johns", "Asia/Kathmandu", "Australia/Lord_Howe",
         "Pacific/Apia", "Africa/Cairo")  # fmt: skip
CHANGES = (datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 4, 4, tzinfo=UTC),
           datetime(2026, 10, 24, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC))  # fmt: skip
"""Days on or before which clocks change somewhere."""
moments = st.builds(
    lambda day, seconds: day + timedelta(seconds=seconds), st.sampled_from(CHANGES), st.integers(0, 2 * 86_400)
)
walls = st.times().map(lambda at: at.replace(second=0, microsecond=0))


spans = st.integers(0, 90) | st.integers(0, 75 * 60)


@given(moments, spans, st.sampled_from(ZONES), st.none() | st.tuples(walls, walls))
@tries(max_examples=60, deadline=None)
def test_open_hours_are_the_whole_hours_that_are_not_quiet(
    first: datetime, minutes: int, name: str, quiet: tuple[time, time] | None
) -> None:
    zone, last = ZoneInfo(name), first + timedelta(minutes=minutes)
    steps = (first.replace(minute=0, second=0) + timedelta(minutes=15 * n) for n in range(minutes // 15 + 6))
    whole = [at for at in steps if first <= at < last and at.astimezone(zone).minute == 0]
    every = whole or [first][:minutes]
    assert list(hours_between(first, last, name).times) == every
    found = open_hours(first, last, zone, quiet)
    assert list(found.times) == [at for at in every if quiet is None or not is_quiet(at, zone, *quiet)]
    local = [at.astimezone(zone) for at in found.times]
    assert found.hours.tolist() == [at.weekday() * 24 + at.hour for at in local]


def model() -> SendTimeModel:
    random = np.random.default_rng(7)
    lag = np.exp(-np.arange(24) / 3)
    presence = Presence(random.dirichlet(np.ones(HOURS), 3), np.full(3, 1 / 3), 30.0, lag / lag.sum(), 0.6, 0.2)
    curves = {"email": ChannelCurve(random.uniform(0.02, 0.2, HOURS), 0.1, 0.2, 10)}
    return SendTimeModel(curves, presence, 0.7, 20.0, version="7")


def entry(at: datetime, channel: str = "email", message: bool = True, expires: datetime | None = None) -> Entry:
    until = None if expires is None else microseconds(expires)
    return Entry(microseconds(at), until, channel, "a", message, False)


def test_hours_are_fresher_once_a_message_is_seven_days_old() -> None:
    start, day = datetime(2026, 3, 9, 8, tzinfo=UTC), timedelta(days=1)
    times = [start + timedelta(hours=n) for n in range(4)]
    once, twice = np.exp(-0.5), np.exp(-1.0)
    ends_at_second = start + timedelta(hours=1) - 7 * day
    lately = [entry(start - day), entry(start - 8 * day), entry(start + 2 * day)]  # before all, too old, after all
    assert freshness(lately, times, 0.5) is None
    found = freshness([entry(ends_at_second), *lately], times, 0.5)
    assert found is not None
    assert found.tolist() == pytest.approx([once, 1.0, 1.0, 1.0])
    planned = entry(start + timedelta(hours=1), expires=start + day)
    found = freshness([planned, entry(ends_at_second)], times, 0.5)
    assert found is not None
    assert found.tolist() == pytest.approx([once, 1.0, once, once])
    found = freshness([planned, planned], times, 0.5)
    assert found is not None
    assert found.tolist() == pytest.approx([1.0, 1.0, twice, twice])
    for uncounted in (entry(ends_at_second, "web"), entry(ends_at_second, message=False),
                      entry(ends_at_second, expires=start - day)):  # fmt: skip
        assert freshness([uncounted], times, 0.5) is None
    assert freshness([entry(ends_at_second)], times, 0.0) is None


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database, settings(exploration=EXPLORES["exploration"], explore_hours=0.3))
    made.served.models = {"next-offer": NextOffer({}), "send-time": model()}
    random = np.random.default_rng(1)
    for number, zone in enumerate((*ZONES, "No/Where", None)):
        name = f"c{number}"
        made.people.add(name, timezone=zone)
        weeks = [np.floor(random.random(HOURS) * 1.1) for _ in range(4)]
        made.rows.rows[name] = replace(
            row(name), order_hours=weeks[0], response_hours={"email": ChannelHours(*weeks[1:])}
        )
    return made


def drafts_of(desk: Desk, customers: list[str]) -> list[Draft]:
    requests = [DecisionIn(customer_id=name, top_k=20) for name in customers]
    return desk.decider.draft(requests, desk.clock.now(), ids=[f"d-{name}" for name in customers])


def told(draft: Draft) -> list[Any]:
    actions = [(a["offer_id"], a["channel"], a["send_at"], a["send_at_probability"]) for a in draft.actions]
    return [actions, draft.models, draft.degraded]


def plainly(draft: Draft, channel: str, ends_at: datetime | None, asked: SendTimeModel) -> Planned:
    """The plan by ranking, hour by hour."""
    case, rules = draft.case, draft.case.rules
    zone = ZoneInfo(draft.customer.timezone if draft.customer.timezone in ZONES else "UTC")
    night = (rules.quiet_start, rules.quiet_end)
    earliest = next_allowed(case.at, zone, *night)
    latest = min(case.at + timedelta(hours=72), ends_at or case.at + timedelta(hours=72))

    def rank(n: int) -> list[datetime]:
        def loud(moment: datetime) -> bool:
            return not is_quiet(moment, zone, *night)

        return [one.start for one in asked.rank(draft.row, channel, zone.key, earliest, latest, n, loud)]

    step = (1 << 40) + ("email", "push", "sms").index(channel)
    return plan_hour(rank, rules.explore_hours, draw(case.seed, step)) or Planned(earliest, 1.0)


@pytest.mark.parametrize("at", [*(day + timedelta(hours=21, minutes=7) for day in CHANGES), CHANGES[0]])
def test_together_is_as_alone_and_as_ranking_has_it(
    desk: Desk, at: datetime, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    desk.clock.time = at
    ends = {"a": None, "b": at + timedelta(minutes=20), "c": at + timedelta(hours=30)}
    desk.put(**{name: {"ends_at": end and end.isoformat(), "channels": ["email", "sms", "push", "web", "call"]}
                for name, end in ends.items()})  # fmt: skip
    names = [*desk.people.known, "stranger"]
    drafts = drafts_of(desk, names)
    assert [told(draft) for draft in drafts] == [told(drafts_of(desk, [name])[0]) for name in names]
    explored = 0
    for draft in drafts:
        for action in draft.actions:
            planned = Planned(action["send_at"], action["send_at_probability"])
            if action["channel"] in {"email", "sms", "push"}:
                assert planned == plainly(draft, action["channel"], ends[action["offer_id"]], model())
                explored += planned.probability < 0.5
            assert (action["channel"] != "web") or planned == Planned(at, 1.0)
        assert ("unknown_timezone" in draft.degraded) == (draft.customer.timezone == "No/Where")
        assert draft.models["send-time"] == "7"
    assert explored > 0
    monkeypatch.setattr(asked_hours, "WEEK", None)
    assert [told(draft) for draft in drafts_of(desk, names)] == [told(draft) for draft in drafts]
    assert "could not" not in caplog.text


@pytest.mark.parametrize(
    ("channel", "silent", "hangs_on_it"),
    [("email", "sms", True), ("call", "call", True), ("call", "sms", False), ("web", "sms", False)],
)
def test_a_zone_that_is_none_is_told_where_the_hour_hangs_on_it(
    desk: Desk, channel: str, silent: str, hangs_on_it: bool
) -> None:
    desk.put(a={"channels": [channel]})
    desk.settings = settings(quiet_hours={"start": time(21), "end": time(8), "channels": [silent]})
    (draft,) = drafts_of(desk, [f"c{len(ZONES)}"])  # of No/Where
    assert [action["channel"] for action in draft.actions] == [channel]
    assert ("unknown_timezone" in draft.degraded) is hangs_on_it


def test_where_every_whole_hour_is_quiet_the_first_free_time_is_taken(desk: Desk) -> None:
    desk.put(a={"channels": ["email"]})
    night = {"start": time(0, 30), "end": time(0, 20), "channels": ["email"]}
    desk.settings = settings(quiet_hours=night)
    for minute, planned in ((25, datetime(2026, 3, 4, 0, 25)), (40, datetime(2026, 3, 5, 0, 20))):
        desk.clock.time = datetime(2026, 3, 4, 0, minute, tzinfo=UTC)
        assert told(drafts_of(desk, ["c0"])[0])[0] == [("a", "email", planned.replace(tzinfo=UTC), 1.0)]


def test_a_customer_whose_row_cannot_be_read_spoils_no_other(desk: Desk) -> None:
    desk.put(a={"channels": ["email"]})
    desk.settings = settings()
    alone = told(drafts_of(desk, ["c1"])[0])
    desk.rows.rows["c2"] = replace(desk.rows.rows["c2"], order_hours=np.zeros(3))
    drafts = drafts_of(desk, ["c1", "c2"])
    assert told(drafts[0]) == alone
    assert drafts[1].degraded == ["model:send-time"]
    assert drafts[1].actions[0]["send_at"] == desk.clock.time + timedelta(hours=1)  # New York's eight o'clock


def test_what_was_planned_is_not_planned_again(desk: Desk) -> None:
    desk.put(a={"channels": ["email"]})
    desk.settings = settings()
    draft = drafts_of(desk, ["c1"])[0]
    hours, message = SendHours(desk.served.models["send-time"]), Message(draft, "email", None)
    hours.plan([message])
    assert told(draft)[0][0][2:] == tuple(hours.at(message))


def test_the_next_message_waits_until_the_last_one_tires_no_more(desk: Desk) -> None:
    desk.put(a={"channels": ["email"]})
    desk.settings = settings()
    now = desk.clock.now()
    usual = drafts_of(desk, ["c1"])[0].actions[0]["send_at"]
    with desk.database.write() as connection:
        sent = usual + timedelta(hours=2) - timedelta(days=7)
        add_foreign(connection, "m1", "c1", None, "sms", sent)
    assert drafts_of(desk, ["c1"])[0].actions[0]["send_at"] == usual
    desk.served.models["send-time"] = replace(model(), tiring=50.0)
    assert sent + timedelta(days=7) <= drafts_of(desk, ["c1"])[0].actions[0]["send_at"] < now + timedelta(days=3)

"""Every limit of the engine in decisions: its name, its detail, until when, its record, its replay, its words."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import settings as example_settings
from hypothesis import strategies as st

from service.customers.identity_store import identities, owners_of
from service.decisions.case import Customer, microseconds
from service.decisions.decision_store import read_decisions
from service.decisions.explain import explain
from service.decisions.ledger_lines_store import use
from service.decisions.moments_store import move_moments, note_moments, read_moments
from service.decisions.pacing import SLICES, ahead, by_slice, free_after
from service.decisions.rank_actions import Decider
from service.decisions.read_decision import DecisionReader
from service.decisions.rules import RuleBook
from service.decisions.schemas import DecisionIn
from service.decisions.verdicts import Failure, first_of
from service.decisions.windows import window
from service.offers.catalogue import CatalogueCache
from service.settings import Cap, CoolDown, Settings
from service.storage.database import Database
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import EXPLORES, NOON, Desk, NextOffer, settings
from tests.fakes.ledger import read_entries


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database, settings(caps=[]))
    made.people.add("c1", timezone="America/New_York")
    made.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.8})
    return made


def ask(desk: Desk, **request: Any) -> dict[str, Any]:
    return desk.decider.decide(DecisionIn(customer_id="c1", **request))


def verdicts(desk: Desk, decision: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    """Rule -> (detail, until), after checking that the record replays and is told in words."""
    reader = DecisionReader(desk.database, desk.served)
    told = reader.replay(decision["decision_id"])
    assert told["equal"], told["differences"]
    words = explain(reader.read(decision["decision_id"]))
    for one in decision["excluded"]:
        assert any(one["detail"] in line for line in (*words.why_not, *words.would_flip)), (one, words)
    return {one["rule"]: (one["detail"], one["until"]) for one in decision["excluded"]}


def delivered(desk: Desk, decision: dict[str, Any]) -> None:
    with desk.database.write() as connection:
        use(connection, decision["decision_id"], None, None, microseconds(desk.clock.now()))


def test_a_calendar_cap_ends_at_the_customers_midnight(desk: Desk) -> None:
    desk.put(a={"channels": ["email"], "caps": [{"max": 1, "per": "calendar_day"}]})
    delivered(desk, ask(desk))
    detail, until = verdicts(desk, ask(desk))["offer_cap"]
    assert (detail, until) == ("1 of 1 impressions this day", datetime(2026, 3, 5, 5, tzinfo=UTC))
    desk.clock.time = until
    assert ask(desk)["actions"]


CAPS = (
    Cap(channel="email", max=1, per="calendar_day"),
    Cap(channel="email", max=2, per_days=0.125),
    Cap(channel="email", max=1, per="calendar_week"),
)


@example_settings(max_examples=30)
@given(st.lists(st.integers(1, 16), min_size=2, max_size=24), st.sampled_from(CAPS), st.data())
def test_what_is_planned_for_later_counts_where_it_is_planned(steps: list[int], cap: Cap, data: st.DataObject) -> None:
    """Decisions around the quiet hours, told their time or a key or not, delivered when planned or not at all."""
    with TemporaryDirectory() as folder:
        database = sqlite_with_tables(Path(folder) / "state.db")
        _plan(Desk(database, settings(caps=[cap])), steps, cap, data)
        database.close()


def _plan(desk: Desk, steps: list[int], cap: Cap, data: st.DataObject) -> None:
    desk.people.add("c1", timezone="America/New_York")
    desk.put(a={"channels": ["email"]})
    desk.served.models["next-offer"] = NextOffer({"a": 0.9})
    planned: list[datetime] = []
    waiting: list[tuple[datetime, str]] = []
    desk.clock.time = datetime(2026, 3, 7, 20, tzinfo=UTC)  # clocks go forward in the night that follows
    for step in steps:
        desk.clock.time += timedelta(minutes=45 * step)
        for when, decision_id in [one for one in waiting if one[0] <= desk.clock.time]:
            waiting.remove((when, decision_id))
            if data.draw(st.booleans()):
                with desk.database.write() as connection:
                    use(connection, decision_id, None, None, microseconds(when))
            else:
                planned.remove(when)
        request = DecisionIn(customer_id="c1", at=desk.clock.time if data.draw(st.booleans()) else None)
        keys = [f"of a journey, {desk.clock.time}"] if data.draw(st.booleans()) else None
        (told,) = desk.decider.decide_many([request], keys)
        for action in told["actions"]:
            planned.append(action["send_at"])
            waiting.append((action["send_at"], told["decision_id"]))
        for at in planned:
            within = window(microseconds(at), at, cap.per_days, cap.per, ZoneInfo("America/New_York"))
            until = at if within.end is None else datetime.fromtimestamp(within.end / 1e6 - 1, UTC)
            in_it = [one for one in planned if microseconds(one) > within.since and one <= until]
            assert len(in_it) <= cap.max


def test_of_two_caps_that_are_reached_the_one_that_lasts_longer_is_named(desk: Desk) -> None:
    """Else nothing would go at the time that is told."""
    desk.settings = settings(caps=[{"max": 1, "per_days": 0.5}, {"max": 1, "per_days": 2}])
    desk.put(a={"channels": ["email"]}, b={"channels": ["web"], "caps": [{"max": 1, "per_days": n} for n in (1, 3, 2)]})
    delivered(desk, ask(desk, channels=["email"]))
    delivered(desk, ask(desk, channels=["web"]))
    decision = ask(desk)
    now, told = desk.clock.now(), verdicts(desk, decision)
    assert told["frequency_cap"] == ("1 of 1 messages in 2 days", now + timedelta(days=2))
    assert told["offer_cap"] == ("1 of 1 impressions in 3 days", now + timedelta(days=3))
    shown = DecisionReader(desk.database, desk.served).read(decision["decision_id"])["candidates"][0]
    assert shown["verdicts"]["frequency_cap"]["detail"] == "1 of 1 messages in 2 days"
    never = Failure("offer_cap", "0 of 0 impressions in 1 day")
    assert first_of([Failure("offer_cap", "", now), never, Failure("offer_cap", "", now)]) is never


def test_a_place_of_tomorrow_is_free_again_after_tomorrow(desk: Desk) -> None:
    desk.settings = settings(caps=[CAPS[0]])
    desk.put(a={"channels": ["email"]})
    desk.clock.time = datetime(2026, 3, 5, 4, tzinfo=UTC)  # 23:00 of the 4th
    (action,) = ask(desk)["actions"]
    assert action["send_at"] == datetime(2026, 3, 5, 13, tzinfo=UTC)  # 08:00 of the 5th
    desk.clock.time = datetime(2026, 3, 5, 7, 30, tzinfo=UTC)
    detail, until = verdicts(desk, ask(desk))["frequency_cap"]
    assert (detail, until) == ("1 of 1 email messages this day", datetime(2026, 3, 6, 5, tzinfo=UTC))


@pytest.mark.parametrize("cap", [Cap(max=1, per_days=7), Cap(max=1, per="calendar_week")])
def test_what_is_decided_for_next_month_takes_no_place_of_this_week(desk: Desk, cap: Cap) -> None:
    """Nor does it tire anybody now, or exclude an offer of its group; what is planned for this week does."""
    desk.settings = settings(caps=[cap], fatigue_cost=0.5)
    group = {"channels": ["email"], "exclusion_group": "g", "exclusion_days": 2.0}
    desk.put(a=group, b=group)
    worth = ask(desk, dry_run=True)["actions"][0]["expected_value"]
    assert ask(desk, at=NOON + timedelta(days=30), offers=["b"])["actions"]
    (action,) = ask(desk, dry_run=True)["actions"]
    assert (action["offer_id"], action["expected_value"]) == ("a", worth)
    assert ask(desk, at=NOON + timedelta(days=2), offers=["b"])["actions"]
    assert {one["rule"] for one in ask(desk)["excluded"]} == {"frequency_cap"}


SHARED: dict[str, dict[str, Any]] = {
    "sliding": {"caps": [{"max": 1, "per_days": 7, "per": "everyone"}]},
    "calendar": {"caps": [{"max": 1, "per": "calendar_week", "of": "everyone"}]},
    "budget": {"budget": {"amount": 1.0, "per_days": 7}, "cost": 0.6},
    "paced": {"budget": {"amount": 1.0, "per_days": 7, "pacing": "even"}, "cost": 0.6},
}


@pytest.mark.parametrize("limit", SHARED)
def test_what_is_decided_for_next_month_takes_no_place_that_customers_share_this_week(desk: Desk, limit: str) -> None:
    desk.put(a={"channels": ["email"], **SHARED[limit]})
    assert desk.decider.decide(DecisionIn(customer_id="c2", at=NOON + timedelta(days=30)))["actions"]
    assert ask(desk)["actions"]
    assert not desk.decider.decide(DecisionIn(customer_id="c3"))["actions"]


@pytest.mark.parametrize(
    ("limit", "ends"),
    [
        ({"caps": [{"max": 2, "per_days": 7, "per": "everyone"}]}, timedelta(days=7)),
        ({"caps": [{"max": 2, "per": "calendar_month", "of": "everyone"}]}, None),
        ({"budget": {"amount": 1.2, "per_days": 7}, "cost": 0.6}, timedelta(days=7)),
    ],
)
@pytest.mark.parametrize("sent", [True, False])
def test_a_shared_place_is_free_when_a_reservation_ends_before_its_window(
    database: Database, limit: dict[str, Any], ends: timedelta | None, sent: bool
) -> None:
    desk = Desk(database, settings(caps=[], reservation_hours=10))
    desk.people.add("c1")
    desk.served.models["next-offer"] = NextOffer({"a": 0.9})
    desk.put(a={"channels": ["web"], **limit})
    for name in ("c2", "c3"):
        made = desk.decider.decide(DecisionIn(customer_id=name, channels=["web"]))
        if name == "c2" or sent:
            delivered(desk, made)
        desk.clock.forward(hours=1)
    last = NOON + ends if ends is not None else datetime(2026, 4, 1, tzinfo=UTC)
    free = last if sent else NOON + timedelta(hours=11)
    stopped = ask(desk)
    (one,) = stopped["excluded"]
    assert one["until"] == free
    assert DecisionReader(desk.database, desk.served).replay(stopped["decision_id"])["equal"]
    desk.clock.time = one["until"] - timedelta(microseconds=1)
    assert not ask(desk, dry_run=True)["actions"]
    desk.clock.time = one["until"]
    assert ask(desk)["actions"]


def test_a_shared_place_of_a_later_day_is_free_after_that_day(database: Database) -> None:
    within = window(microseconds(NOON), NOON, None, "calendar_day", ZoneInfo("America/New_York"))
    days = [datetime(2026, 3, day, 5, tzinfo=UTC) for day in (5, 6, 7, 8)]
    assert [datetime.fromtimestamp(end / 1e6, UTC) for end in within.ends()] == days
    desk = Desk(database, settings(caps=[], reservation_hours=900, default_timezone="UTC"))
    desk.served.models["next-offer"] = NextOffer({"a": 0.9})
    desk.put(a={"channels": ["web"], "caps": [{"max": 1, "per": "calendar_day", "of": "everyone"}]})
    assert desk.decider.decide(DecisionIn(customer_id="c2", at=NOON + timedelta(days=1)))["actions"]
    (one,) = desk.decider.decide(DecisionIn(customer_id="c1"))["excluded"]
    assert one["until"] == datetime(2026, 3, 6, tzinfo=UTC)


@pytest.mark.parametrize(
    ("limit", "lower"),
    [
        (
            {"caps": [{"max": 3, "per_days": 1, "per": "everyone"}]},
            {"caps": [{"max": 1, "per_days": 1, "per": "everyone"}]},
        ),
        (
            {"budget": {"amount": 1.2, "per_days": 1}, "cost": 0.4},
            {"budget": {"amount": 0.4, "per_days": 1}, "cost": 0.4},
        ),
    ],
)
def test_a_limit_that_was_lowered_leaves_no_place_before_enough_has_ended(
    database: Database, limit: dict[str, Any], lower: dict[str, Any]
) -> None:
    desk = Desk(database, settings(caps=[]))
    desk.people.add("c1")
    desk.served.models["next-offer"] = NextOffer({"a": 0.9})
    desk.put(a={"channels": ["web"], **limit})
    for name in ("c2", "c3", "c4"):
        assert desk.decider.decide(DecisionIn(customer_id=name, channels=["web"]))["actions"]
        desk.clock.forward(hours=1)
    desk.put(a={"channels": ["web"], **lower})
    (one,) = ask(desk)["excluded"]
    assert one["until"] == NOON + timedelta(days=1, hours=2)
    desk.clock.time = one["until"] - timedelta(microseconds=1)
    assert not ask(desk, dry_run=True)["actions"]
    desk.clock.time = one["until"]
    assert ask(desk)["actions"]


@pytest.mark.parametrize("arm", ["model", "random", "business_as_usual"])
def test_an_offer_of_priority_0_is_off_whatever_else_there_is(desk: Desk, arm: str) -> None:
    arms = {name: float(name == arm) for name in ("model", "random", "business_as_usual", "holdout")}
    desk.settings = settings(arms=arms, business_as_usual="a", caps=[])
    desk.put(a={"channels": ["web"], "priority": 0.0}, b={"channels": ["web"], "cost": 20.0})
    decision = ask(desk)
    assert "a" not in {action["offer_id"] for action in decision["actions"]}
    assert verdicts(desk, decision)["priority"] == ("its priority is 0, by which it is off", None)


def test_records_of_before_an_offer_could_be_off_replay_as_they_were(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.put(a={"channels": ["web"], "priority": 0.0})
    make = RuleBook._make
    monkeypatch.setattr(
        RuleBook, "_make", lambda book, name: replace(make(book, name), off_at_zero=False, nothing_wins=False)
    )
    decisions = [ask(desk) for _ in range(20)]  # it is worth what sending nothing is, so either may be drawn
    assert "a" in {action["offer_id"] for decision in decisions for action in decision["actions"]}
    for decision in decisions:
        assert DecisionReader(desk.database, desk.served).replay(decision["decision_id"])["equal"]


@pytest.mark.parametrize("explore_by", ["squarecb", "epsilon_greedy", "thompson"])
def test_what_is_worth_as_much_as_nothing_is_not_sent(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, explore_by: str
) -> None:
    desk.settings = settings(caps=[], fatigue_cost=0.0, explore_by=explore_by, epsilon=0.0)
    desk.put(a={"channels": ["web"], "value": 0.0}, b={"channels": ["web"], "cost": 20.0})
    decisions = [ask(desk) for _ in range(10)]
    assert not any(decision["actions"] for decision in decisions)
    desk.settings = settings(caps=[], fatigue_cost=0.0, explore_by=explore_by, epsilon=0.0)
    make = RuleBook._make
    monkeypatch.setattr(RuleBook, "_make", lambda book, name: replace(make(book, name), nothing_wins=False))
    before = [ask(desk) for _ in range(10)]  # as records of before have it
    assert "a" in {action["offer_id"] for decision in before for action in decision["actions"]}
    for decision in (*decisions, *before):
        assert DecisionReader(desk.database, desk.served).replay(decision["decision_id"])["equal"]


def test_an_offer_that_costs_far_more_than_it_brings_leaves_the_draw_of_the_others(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gives an offer the price of its gift as its cost must not make the service draw the others by lot."""

    def chance_of_best() -> float:
        desk.settings = settings(caps=[], **EXPLORES)
        decision = ask(desk)
        assert DecisionReader(desk.database, desk.served).replay(decision["decision_id"])["equal"]
        told = DecisionReader(desk.database, desk.served).read(decision["decision_id"])["candidates"]
        return max((one["expected_value"], one["propensity"]) for one in told)[1]

    desk.put(**{f"o{n}": {"channels": ["web"], "value": float(n)} for n in range(1, 9)})
    before = chance_of_best()
    desk.put(gift={"channels": ["web"], "value": 12.0, "cost": 90.0})
    assert chance_of_best() == pytest.approx(before, abs=0.02)
    make = RuleBook._make
    monkeypatch.setattr(RuleBook, "_make", lambda book, name: replace(make(book, name), losers_alike=False))
    assert chance_of_best() < before - 0.3  # as records of before have it


def test_weeks_begin_on_monday_and_months_on_the_first(desk: Desk) -> None:
    desk.put(
        a={"channels": ["email"], "caps": [{"max": 1, "per": "calendar_week"}]},
        b={"channels": ["sms"], "caps": [{"max": 1, "per": "calendar_month"}]},
    )
    for channel in ("email", "sms"):
        delivered(desk, ask(desk, channels=[channel]))
    found = {one["offer_id"]: one["until"] for one in ask(desk)["excluded"]}
    assert found["a"] == datetime(2026, 3, 9, 4, tzinfo=UTC)  # a Monday; the clock went forward on Sunday
    assert found["b"] == datetime(2026, 4, 1, 4, tzinfo=UTC)


def test_caps_of_a_placement_and_of_a_calendar_over_messages(desk: Desk) -> None:
    caps = [Cap(max=1, per="calendar_day"), Cap(placement="home", max=2, per_days=7)]
    desk.settings = settings(caps=caps)
    desk.put(a={"channels": ["email", "web"]})
    delivered(desk, ask(desk, channels=["email"], placement="news"))
    detail, until = verdicts(desk, ask(desk, channels=["email"], placement="news"))["frequency_cap"]
    assert (detail, until) == ("1 of 1 messages this day", datetime(2026, 3, 5, 5, tzinfo=UTC))
    for _ in range(2):
        delivered(desk, ask(desk, channels=["web"], placement="home"))
    detail, until = verdicts(desk, ask(desk, channels=["web"], placement="home"))["frequency_cap"]
    assert (detail, until) == ("2 of 2 messages in home in 7 days", NOON + timedelta(days=7))
    assert ask(desk, channels=["web"], placement="elsewhere")["actions"]


def test_an_evenly_paced_budget_waits_for_its_time(desk: Desk) -> None:
    day = {"amount": 24.0, "per": "calendar_day", "pacing": "even"}
    desk.put(a={"channels": ["email"], "cost": 1.0, "budget": day, "value": 100.0})
    desk.clock.time = datetime(2026, 3, 4, tzinfo=UTC)  # the installation's midnight: one cost is free, then 1 an hour
    assert ask(desk)["actions"]
    detail, until = verdicts(desk, ask(desk))["pacing"]
    assert detail == "1.00 of 24.00 spent this day, which is ahead of an even pace"
    assert until == datetime(2026, 3, 4, 1, tzinfo=UTC)
    desk.clock.time = until
    assert ask(desk)["actions"]
    assert not ask(desk)["actions"]
    desk.clock.forward(hours=12)
    sent = sum(bool(ask(desk)["actions"]) for _ in range(20))
    assert sent == 12  # what was not spent in time is not lost


def test_an_evenly_paced_sliding_budget(desk: Desk) -> None:
    desk.clock.forward(hours=1)  # quiet hours are over in New York, so that what is decided goes out at once
    desk.put(
        a={
            "channels": ["email"],
            "cost": 1.0,
            "value": 100.0,
            "budget": {"amount": 48.0, "per_days": 1, "pacing": "even"},
        }
    )
    sent = [sum(bool(ask(desk)["actions"]) for _ in range(6))]
    assert verdicts(desk, ask(desk))["pacing"][1] == desk.clock.time + timedelta(hours=1)  # it was half an hour
    for _ in range(5):
        desk.clock.forward(hours=1, seconds=1)
        sent.append(sum(bool(ask(desk)["actions"]) for _ in range(6)))
    assert sent == [4, 2, 2, 2, 2, 2]


@example_settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=200), st.integers(24, 96))
def test_the_end_of_a_wait_for_even_pacing_is_told(waits: list[int], amount: int) -> None:
    """Never too early, and late by no more than a step (25 here, of slices of 100)."""
    now, times = 0, list[int]()
    for pause in waits:
        now += pause
        times.append(now)
    ages: dict[int, float] = {}
    for at in times:
        ages[(now - at) // 25] = ages.get((now - at) // 25, 0.0) + 1.0

    def excess(at: int) -> float:
        slices = [0.0] * SLICES
        for spent in times:
            if at - spent < 100 * SLICES:
                slices[(at - spent) // 100] += 1.0
        return ahead(float(amount), 1.0, 0.0, slices, 1.0)

    if excess(now) > 1e-9:
        free = next(at for at in range(now, now + 100 * SLICES + 1) if excess(at) <= 1e-9)
        told = now + 25 * free_after(float(amount), 1.0, {age: cost for age, cost in ages.items() if age < 96})
        assert free <= told < free + 25
    assert by_slice({-9: 1.0, 0: 2.0, 4: 3.0, 95: 4.0, 96: 5.0})[:2] == (3.0, 3.0)
    assert by_slice({-9: 1.0, 0: 2.0}, later=10)[:3] == (1.0, 0.0, 2.0)


def test_what_is_planned_for_later_holds_an_even_pace_up_until_it_is_old() -> None:
    assert free_after(24.0, 1.0, {0: 24.0}) == 92  # in the last slice it is
    assert free_after(24.0, 1.0, {-40: 24.0}) == 40 + 92


@example_settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 200), min_size=1, max_size=200), st.integers(24, 96))
def test_pacing_never_passes_even_spending_by_more_than_a_slice(waits: list[int], amount: int) -> None:
    """Sliding: of any k 24ths up to now, at most (k + 1) 24ths of the amount are spent. Here a slice is 100 long."""
    times: list[int] = []
    now = 0
    for pause in waits:
        now += pause
        slices = [0.0] * SLICES
        for at in times:
            if now - at < 100 * SLICES:
                slices[(now - at) // 100] += 1.0
        if ahead(float(amount), 1.0, 0.0, slices, 1.0) <= 1e-9:
            times.append(now)
        for k in range(1, SLICES + 1):
            assert sum(now - at < 100 * k for at in times) <= amount * (k + 1) / SLICES + 1e-9


def test_a_cool_down_after_a_purchase_and_a_complaint(desk: Desk) -> None:
    rules = [
        CoolDown(after="purchase", days=3, channel="email"),
        CoolDown(after="purchase", days=5, tag="upsell"),
        CoolDown(after="complaint", days=30, placement="news"),
    ]
    desk.settings = settings(caps=[], cool_downs=rules)
    desk.put(a={}, b={"tags": ["upsell"], "channels": ["sms"]})
    bought = NOON - timedelta(days=1)
    with desk.database.write() as connection:
        note_moments(connection, [("c1", "purchase", "", microseconds(bought))])
    decision = ask(desk, placement="news")
    found = {(one["offer_id"], one["channel"]): one for one in decision["excluded"]}
    assert found["a", "email"]["rule"] == found["b", "sms"]["rule"] == "cool_down"
    assert found["a", "email"]["detail"] == "nothing by email for 3 days after a purchase"
    assert found["a", "email"]["until"] == bought + timedelta(days=3)
    assert found["b", "sms"]["detail"] == "no upsell offers for 5 days after a purchase"
    assert [(action["offer_id"], action["channel"]) for action in decision["actions"]] == [("a", "sms")]
    verdicts(desk, decision)
    with desk.database.write() as connection:
        note_moments(connection, [("c1", "complaint", "", microseconds(NOON))])
    assert not ask(desk, placement="news")["actions"]
    assert ask(desk, placement="other")["actions"]
    desk.clock.forward(days=31)
    assert ask(desk, placement="news")["actions"]


def test_a_cool_down_counts_from_the_last_purchase_to_the_microsecond(desk: Desk) -> None:
    desk.settings = settings(caps=[], cool_downs=[CoolDown(after="purchase", days=3)])
    desk.put(a={"channels": ["email"]})
    for days in (10, 3):
        with desk.database.write() as connection:
            note_moments(connection, [("c1", "purchase", "", microseconds(NOON - timedelta(days=days)))])
    assert ask(desk)["actions"]
    with desk.database.write() as connection:
        last = NOON - timedelta(days=3) + timedelta(microseconds=1)
        note_moments(connection, [("c1", "purchase", "", microseconds(last))])
    assert not ask(desk)["actions"]


def test_offers_of_one_group_keep_their_distance(desk: Desk) -> None:
    group = {"exclusion_group": "big", "exclusion_days": 14.0, "channels": ["email"]}
    desk.put(a=group, b=group)
    first = ask(desk)
    assert [action["offer_id"] for action in first["actions"]] == ["a"]
    assert verdicts(desk, first)["exclusion"] == ("a of the group big stands in the same answer", None)
    delivered(desk, first)
    desk.clock.forward(days=2)
    again = ask(desk)
    assert [action["offer_id"] for action in again["actions"]] == ["a"]
    detail, until = verdicts(desk, again)["exclusion"]
    assert detail == "a of the group big was shown; 14 days between"
    assert until == desk.clock.now() + timedelta(days=14) or until == NOON + timedelta(days=14)


def test_a_prerequisite_and_its_waiting_time(desk: Desk) -> None:
    needs = {"offer_id": "b", "event": "clicked", "after_days": 1.0, "within_days": 10.0}
    desk.put(a={"channels": ["email"], "requires": [needs]})
    assert verdicts(desk, ask(desk))["prerequisite"] == ("needs b to be clicked first", None)
    with desk.database.write() as connection:
        note_moments(connection, [("c1", "clicked", "b", microseconds(NOON))])
    detail, until = verdicts(desk, ask(desk))["prerequisite"]
    assert (detail, until) == ("needs b to be clicked first, 1 day ago", NOON + timedelta(days=1))
    desk.clock.forward(days=1)
    assert ask(desk)["actions"]
    desk.clock.forward(days=10)
    assert verdicts(desk, ask(desk))["prerequisite"][0] == "needs b to be clicked first, at most 10 days ago"


def test_moments_of_a_merged_person_are_one(database: Database) -> None:
    with database.write() as connection:
        note_moments(connection, [("anonymous", "clicked", "a", 5), ("c1", "clicked", "a", 3)])
        note_moments(connection, [("c1", "clicked", "a", 4), ("anonymous", "purchase", "", 9)])
        move_moments(connection, "anonymous", "c1")
        found = read_moments(connection, ["c1", "anonymous"])
    assert found == {"c1": {("clicked", "a"): (3, 5), ("purchase", ""): (9, 9)}}


def test_business_rules_of_the_settings_steer_and_are_told(desk: Desk) -> None:
    steering = [
        {"name": "spring", "do": "pin", "offers": ["b"], "when": "offer.value > 5.0 && context.page == 'home'"},
        {"name": "recall", "do": "exclude", "tags": ["recalled"]},
    ]
    made = settings(caps=[]).model_dump()
    made["placements"]["home"] = {"arms": made["placements"]["default"]["arms"], "rules": steering}
    desk.settings = Settings.model_validate(made)
    desk.put(a={"channels": ["web"]}, b={"channels": ["web"]}, c={"channels": ["web"], "tags": ["recalled"]})
    assert [a["offer_id"] for a in ask(desk, channels=["web"], placement="home")["actions"]] == ["a", "b"]
    decision = ask(desk, channels=["web"], placement="home", context={"page": "home"}, top_k=1)
    assert [(a["offer_id"], a["propensity"]) for a in decision["actions"]] == [("b", 1.0)]
    assert verdicts(desk, decision) == {"business_rule": ("excluded by the rule recall", None)}
    record = DecisionReader(desk.database, desk.served).read(decision["decision_id"])
    costs = {rule["name"]: rule["cost"] for rule in record["business_rules"]}
    assert costs == {"spring": pytest.approx(1.0), "recall": pytest.approx(0.0)}
    assert any("The rule spring (pin Offer b) costs 1.00" in line for line in explain(record).why)


def test_a_wrong_rule_of_the_settings_is_named(desk: Desk) -> None:
    made = settings().model_dump()
    made["placements"]["home"] = {"rules": [{"name": "odd", "do": "bury", "when": "offer.value >"}]}
    desk.settings = Settings.model_validate(made)
    with pytest.raises(ValueError, match=r"placements\.home\.rules 'odd': when"):
        _ = desk.decider


def test_a_purpose_of_its_own(desk: Desk) -> None:
    made = settings(caps=[]).model_dump()
    made["placements"]["news"] = {"arms": made["placements"]["default"]["arms"], "purpose": "newsletter"}
    desk.settings = Settings.model_validate(made)
    desk.people.add("c1", consents={"email": {"marketing": True, "newsletter": False}})
    desk.put(a={"channels": ["email"]})
    assert ask(desk)["actions"]
    assert verdicts(desk, ask(desk, placement="news"))["consent"][0] == "the customer does not want newsletter by email"


def test_what_a_transaction_needs_goes_until_the_customer_says_no(desk: Desk) -> None:
    made = settings(caps=[], consent={"when_unknown": "deny"}).model_dump()
    made["placements"]["receipts"] = {"arms": made["placements"]["default"]["arms"], "purpose": "transactional"}
    desk.settings = Settings.model_validate(made)
    desk.people.add("c1", consents={})
    desk.put(a={"channels": ["email"]})
    assert verdicts(desk, ask(desk))["consent"][0] == "no consent to marketing by email is known"
    assert ask(desk, placement="receipts")["actions"]
    desk.people.add("c1", consents={"email": {"transactional": False}})
    refused = verdicts(desk, ask(desk, placement="receipts"))["consent"][0]
    assert refused == "the customer does not want transactional by email"


@example_settings(max_examples=60, deadline=None)
@given(
    st.datetimes(datetime(2000, 1, 1), datetime(2040, 1, 1)),
    st.sampled_from(["calendar_day", "calendar_week", "calendar_month"]),
    st.sampled_from(["UTC", "America/New_York", "Europe/Berlin", "Asia/Kathmandu", "America/Sao_Paulo"]),
)
def test_a_calendars_period_holds_its_time_and_the_next_follows_at_once(at: datetime, calendar: str, name: str) -> None:
    from zoneinfo import ZoneInfo

    now, zone = at.replace(tzinfo=UTC), ZoneInfo(name)
    here = window(microseconds(now), now, None, calendar, zone)
    assert here.end is not None
    assert here.since < microseconds(now) < here.end
    assert 0.0 <= here.share(microseconds(now)) < 1.0
    then = datetime.fromtimestamp(here.end / 1e6, UTC)
    assert window(here.end, then, None, calendar, zone).since == here.end - 1


def test_64_at_once_never_pass_a_calendar_cap_nor_a_paced_budget(database: Database) -> None:
    from concurrent.futures import ThreadPoolExecutor

    desk = Desk(database, settings(caps=[Cap(max=3, per="calendar_week")]))
    desk.people.add("c1")
    desk.put(
        a={"channels": ["email"]},
        b={"channels": ["web"], "cost": 1.0, "budget": {"amount": 48.0, "per_days": 1, "pacing": "even"}},
    )
    desk.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.9})
    decider = desk.decider
    asked = [DecisionIn(customer_id="c1", channels=["email"]) for _ in range(64)]
    with ThreadPoolExecutor(64) as pool:
        done = list(pool.map(decider.decide, asked))
    assert sum(bool(decision["actions"]) for decision in done) == 3
    asked = [DecisionIn(customer_id=f"o{n}", channels=["web"]) for n in range(64)]
    with ThreadPoolExecutor(64) as pool:
        done = list(pool.map(decider.decide, asked))
    assert sum(bool(decision["actions"]) for decision in done) == 4
    with database.read() as connection:
        assert len(read_entries(connection, ["c1"], 0)["c1"]) == 3


def test_a_person_joined_in_the_middle_of_a_decision_has_one_count(database: Database) -> None:
    """The anonymous visitor is known by the time that the reservation is written: it goes to the known customer."""
    desk = Desk(database, settings(caps=[Cap(channel=None, max=1, per_days=7)]))
    desk.put(a={"channels": ["email"]})
    joined: list[str] = []

    def words(*_: Any) -> Any:
        if not joined:
            joined.append("now")
            with database.write() as connection:
                connection.execute(
                    identities.insert(), [{"alias_id": "cookie", "customer_id": "c1", "linked_at": NOON}]
                )
        return lambda *_: {"body": "…"}

    def read(_: Any, ids: Any) -> Any:
        return {name: Customer("c1" if joined and name == "cookie" else name) for name in ids}

    decider = Decider(
        database, desk.clock, desk.settings, CatalogueCache(), read, desk.rows, desk.served, words, owners_of
    )
    first = decider.decide(DecisionIn(customer_id="cookie"))
    assert (first["customer_id"], len(first["actions"])) == ("c1", 1)
    assert decider.decide(DecisionIn(customer_id="c1"))["actions"] == []
    with database.read() as connection:
        assert set(read_entries(connection, ["c1", "cookie"], 0)) == {"c1"}


def test_a_decision_for_nothing_follows_a_person_joined_in_the_middle_of_it(database: Database) -> None:
    desk = Desk(database)  # without an offer nothing can be reserved
    joined: list[str] = []

    def read(_: Any, ids: Any) -> Any:
        found = {name: Customer("c1" if joined and name == "cookie" else name) for name in ids}
        if not joined:
            joined.append("just after")
            with database.write() as connection:
                connection.execute(
                    identities.insert(), [{"alias_id": "cookie", "customer_id": "c1", "linked_at": NOON}]
                )
        return found

    decider = Decider(
        database, desk.clock, desk.settings, CatalogueCache(), read, desk.rows, desk.served, desk.content, owners_of
    )
    made = decider.decide(DecisionIn(customer_id="cookie"))
    assert made["actions"] == []
    with database.read() as connection:
        [stored] = read_decisions(connection, [made["decision_id"]])
    assert stored.customer_id == "c1"

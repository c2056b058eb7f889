"""Deliveries of today do not tell yet that nobody orders: a campaign must not end itself on its first day."""

from __future__ import annotations

import math
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decisions.case import microseconds
from service.decisions.decision_store import Rate, count_response, read_rates
from service.decisions.maturity import NONE_YOUNG, STAGES, Young
from service.decisions.rates import PooledRates
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk

NOW = microseconds(NOON)
HOUR = 3_600_000_000
DAY = 24 * HOUR


def young(*ages: int) -> Young:
    told = NONE_YOUNG
    for age in ages:
        told = told.with_delivery(NOW - age)
    return told


@given(st.lists(st.integers(0, 60 * DAY), max_size=20), st.integers(0, 30 * DAY))
def test_it_is_the_sum_over_all_deliveries_in_whatever_order(ages: list[int], later: int) -> None:
    means = [(share, after / timedelta(microseconds=2)) for after, share in STAGES]
    each = [sum(share * math.exp(-(age + later) / mean) for share, mean in means) for age in ages]
    assert young(*ages).untold(NOW + later) == pytest.approx(sum(each), abs=1e-9)


def test_it_comes_near_the_stages_by_which_lessons_are_taken() -> None:
    assert sum(share for _, share in STAGES) == pytest.approx(1.0)
    sure = 0.0
    for after, share in sorted(STAGES):
        sure += share
        assert 1.0 - young(0).untold(NOW + after // timedelta(microseconds=1)) == pytest.approx(sure, abs=0.06)


def test_what_is_taken_back_leaves_nothing() -> None:
    told = young(3 * HOUR, HOUR).with_delivery(NOW - HOUR, by=-1)
    assert told.untold(NOW) == pytest.approx(young(3 * HOUR).untold(NOW))


def rate(shown: int, converted: int, age: int, goal: str = "conversion", clicked: int = 0) -> float:
    counts = {("a", "email"): Rate(shown, converted, clicked, young=young(*[age] * shown))}
    return PooledRates(counts, goal, now=NOW).rate("a", "email")


def test_orders_count_at_once_and_silence_as_it_can_tell() -> None:
    never = PooledRates({}, now=NOW).rate("a", "email")
    assert rate(100, 0, 0) == pytest.approx(never)
    assert never > rate(100, 0, HOUR) > rate(100, 0, DAY) > rate(100, 0, 7 * DAY) > rate(100, 0, 30 * DAY)
    grown = PooledRates({("a", "email"): Rate(100, 0)}, now=NOW).rate("a", "email")
    assert rate(100, 0, 60 * DAY) == pytest.approx(grown)
    assert rate(100, 3, HOUR) > rate(100, 3, 7 * DAY) > rate(100, 0, HOUR)
    assert rate(100, 100, 0) <= 1.0
    assert rate(100, 0, 0, "click", clicked=5) == rate(100, 0, 60 * DAY, "click", clicked=5)


def test_the_evidence_tells_how_many_are_fresh() -> None:
    counts = {("a", "email"): Rate(100, 2, young=young(*[0] * 50, *[60 * DAY] * 50))}
    told = "2 of 100 deliveries of this offer led to an order"
    assert PooledRates(counts, now=NOW).sentence("a") == f"{told}; 49 of them are too fresh to tell"
    assert PooledRates(counts).sentence("a") == told


def test_a_campaign_goes_on_until_it_can_be_known_to_fail(database: Database) -> None:
    desk = Desk(database)
    desk.put(a={"channels": ["email"]})
    with database.write() as connection:
        for _ in range(200):
            count_response(connection, "a", "email", ["shown"], NOW)
        assert read_rates(connection)["a", "email"].young.untold(NOW) == pytest.approx(200)

    def sent(customer: str) -> bool:
        return bool(desk.decider.decide(DecisionIn(customer_id=customer))["actions"])

    assert sent("on the day")
    desk.clock.forward(days=30)
    assert not sent("a month later")


def test_what_would_flip_is_told_by_the_rates_that_decisions_go_by(database: Database) -> None:
    desk = Desk(database)
    desk.people.add("c1", consents={"email": {"marketing": False}})
    desk.put(a={"channels": ["email"]})
    with database.write() as connection:
        for _ in range(200):
            count_response(connection, "a", "email", ["shown"], NOW)
    decision = desk.decider.decide(DecisionIn(customer_id="c1"))
    assert decision["actions"] == []
    told = DecisionReader(database, desk.served, desk.clock).explain(decision["decision_id"]).would_flip
    assert any(line.startswith("If the customer agreed to marketing by email") for line in told)
    assert not any("would still not come first" in line for line in told)
    desk.people.add("c1", consents={"email": {"marketing": True}})
    assert desk.decider.decide(DecisionIn(customer_id="c1"))["actions"]
    desk.clock.forward(days=30)
    later = DecisionReader(database, desk.served, desk.clock).explain(decision["decision_id"]).would_flip
    assert any("would still not come first" in line for line in later)

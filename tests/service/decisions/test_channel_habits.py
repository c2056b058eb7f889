"""Where all orders come within a minute or never, silence tells at once; elsewhere it is waited for."""

from __future__ import annotations

import math
from datetime import timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decisions.case import microseconds
from service.decisions.channel_habits import Habits, habits_of
from service.decisions.decision_store import channel_sums, read_rates
from service.decisions.lessons_store import due_lessons
from service.decisions.maturity import PROMPT_AFTER, STAGES, promptness
from service.decisions.rates import PooledRates
from service.storage.database import Database
from tests.fakes.decisions import NOON
from tests.fakes.learning import Learning, learning_desk

MINUTE = 60.0


def shares_by(age_s: float) -> float:
    """Of those who convert in the end, how many have after so long: the stages, straight in the logarithm of time."""
    points = [(1.0, 0.0), *((after.total_seconds(), share) for after, share in sorted(STAGES))]
    reached = 0.0
    for (earlier, _), (later, share) in pairwise(points):
        if age_s <= later:
            return reached + share * max(math.log(age_s / earlier), 0.0) / math.log(later / earlier)
        reached += share
    return 1.0


def seen(ages_s: np.ndarray, rate: float, random: np.random.Generator) -> tuple[int, int]:
    """Conversions seen of deliveries this old where orders come as the stages say, and those within a minute."""
    converts = ages_s[random.random(len(ages_s)) < rate]
    come = random.random(len(converts))
    until = np.array([shares_by(age) for age in converts])
    within = np.array([shares_by(min(age, MINUTE)) for age in converts])
    return int((come < until).sum()), int((come < within).sum())


@given(
    st.floats(10, 60 * 24 * 14), st.integers(200, 20_000), st.floats(0.005, 0.3), st.booleans(), st.integers(0, 2**32)
)
def test_slow_orders_are_not_taken_for_none(minutes: float, many: int, rate: float, at_once: bool, seed: int) -> None:
    """Not ten minutes after a campaign, nor while it is still going out."""
    random = np.random.default_rng(seed)
    ages = np.full(many, minutes * MINUTE) if at_once else np.maximum(random.random(many) * minutes, 0.02) * MINUTE
    told = promptness(*seen(ages, rate, random), 0, round(minutes * MINUTE * 1e6))
    assert told < 0.9


@given(st.integers(20, 5_000), st.integers(10, 60 * 24))
def test_orders_that_all_come_at_once_are_known_by_twenty(orders: int, minutes: int) -> None:
    now = round(minutes * MINUTE * 1e6)
    assert promptness(orders, orders, 0, now) > 0.9
    assert promptness(orders, math.ceil(0.97 * orders), 0, now) > 0.9
    assert promptness(orders, orders // 2, 0, now) < 0.01
    assert promptness(orders, orders, now, now + round(9 * MINUTE * 1e6)) == 0.0  # too young to tell
    assert promptness(orders, orders, now, now + round(11 * MINUTE * 1e6)) > 0.9
    assert promptness(0, 0, 0, now) == promptness(0, 0, None, now) == 0.0


def delivered(learning: Learning, offer: str, customers: range, orders: int, channel: str = "email") -> None:
    """The offer reaches customers, of whom so many order five seconds later."""
    for number in customers:
        decision = learning.decide(f"c{number % 40}", offers=[offer], channels=[channel])
        learning.happens("Email Delivered" if channel == "email" else "SMS Delivered", decision, channel=channel)
        if number - customers.start < orders:
            at = learning.desk.clock.now() + timedelta(seconds=5)
            learning.happens("Order Completed", decision, revenue_cents=900, timestamp=at)


@pytest.fixture
def learning(database: Database, monkeypatch: pytest.MonkeyPatch) -> Learning:
    monkeypatch.setattr("service.decisions.channel_habits.EVERY_S", 0.0)
    return Learning(learning_desk(database))


def rates(learning: Learning) -> PooledRates:
    with learning.desk.database.read() as connection:
        return PooledRates(read_rates(connection), now=microseconds(learning.desk.clock.now()))


def habits(learning: Learning) -> Habits:
    with learning.desk.database.read() as connection:
        return habits_of(channel_sums(connection), microseconds(learning.desk.clock.now()))


def test_rates_of_prompt_channels_are_what_they_are_within_minutes(learning: Learning) -> None:
    delivered(learning, "a", range(0, 100), 20)
    delivered(learning, "b", range(100, 200), 3)
    assert rates(learning).rate("a", "email") > rates(learning).rate("b", "email")
    assert rates(learning).rate("a", "email") > 0.4  # nothing tells yet that the others will not
    learning.desk.clock.forward(minutes=12)
    assert habits(learning).prompt == {"email"}
    told = rates(learning)
    assert told.rate("a", "email") == pytest.approx(0.2, abs=0.05)
    assert told.rate("b", "email") == pytest.approx(0.02, abs=0.05)
    assert "too fresh" not in told.sentence("a")


def test_orders_that_prove_their_own_delivery_tell_how_long_after_the_decision_they_came(learning: Learning) -> None:
    for number in range(30):
        learning.happens("Order Completed", learning.decide(f"c{number}", offers=["a"]), revenue_cents=900)
    decision = learning.decide("c31", offers=["a"])
    learning.desk.clock.forward(hours=2)
    learning.happens("Order Completed", decision, revenue_cents=900)
    with learning.desk.database.read() as connection:
        told = read_rates(connection)["a", "email"]
    assert (told.converted, told.delays, told.prompt) == (31, 31, 30)


def test_late_orders_are_no_prompt_ones(learning: Learning) -> None:
    first, second = learning.decide("c1", offers=["a"]), learning.decide("c2", offers=["a"])
    for decision, later in ((first, timedelta(seconds=60)), (second, timedelta(seconds=61))):
        learning.happens("Email Delivered", decision, channel="email")
        learning.happens("Order Completed", decision, revenue_cents=900, timestamp=learning.desk.clock.now() + later)
        learning.happens("Coupon Redeemed", decision, timestamp=learning.desk.clock.now() + later)  # the same person
    with learning.desk.database.read() as connection:
        told = read_rates(connection)["a", "email"]
    assert (told.converted, told.delays, told.prompt) == (2, 2, 1)


def waiting(learning: Learning) -> list[Any]:
    """When lessons of e-mails that nobody has learnt from are due."""
    with learning.desk.database.read() as connection:
        rows = due_lessons(connection, NOON + timedelta(days=60), 10_000)
    return sorted(row.due_at for row in rows if row.channel == "email")


def test_lessons_of_prompt_channels_do_not_wait(learning: Learning) -> None:
    delivered(learning, "a", range(0, 30), 25)
    delivered(learning, "b", range(30, 36), 0, channel="sms")
    assert waiting(learning)[-1] == NOON + sorted(STAGES)[-1][0]
    learning.desk.clock.forward(minutes=12)
    now = learning.desk.clock.now()
    learning.learn()
    assert waiting(learning)[-1] <= now + max(PROMPT_AFTER)
    delivered(learning, "a", range(36, 38), 0)
    assert waiting(learning)[-1] == now + max(PROMPT_AFTER)
    with learning.desk.database.read() as connection:
        rows = due_lessons(connection, now + timedelta(days=8), 10_000)
    assert {row.due_at for row in rows if row.channel == "sms"} == {NOON + after for after, _ in STAGES[:3]}
    learning.desk.clock.forward(minutes=6)
    learning.learn()
    assert waiting(learning) == []

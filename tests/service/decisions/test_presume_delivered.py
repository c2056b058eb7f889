"""Where deliveries are not told, answers stand for them: who tells orders alone must not seem to sell to everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.decisions.case import microseconds
from service.decisions.channel_habits import Habits, habits_of
from service.decisions.decision_store import ChannelSums, Rate, answers_on, channel_sums, read_rates
from service.decisions.ledger_lines_store import delivered_among
from service.decisions.lessons_store import deliveries_among
from service.decisions.presume_delivered import PresumeDelivered
from service.decisions.rates import PooledRates
from service.decisions.read_decision import erase_of
from service.decisions.schemas import DecisionIn
from service.decisions.spool import Spool
from service.storage.database import Database
from tests.fakes.learning import Learning, learning_desk


@pytest.fixture
def learning(database: Database, monkeypatch: pytest.MonkeyPatch) -> Learning:
    monkeypatch.setattr("service.decisions.channel_habits.EVERY_S", 0.0)
    return Learning(learning_desk(database))


def answered(learning: Learning, offer: str, answers: int, orders: int, **told: Any) -> list[dict[str, Any]]:
    """So many people get the offer, of whom the first order; nothing else is told."""
    made = [learning.decide(f"c{number % 40}", offers=[offer], **told) for number in range(answers)]
    for decision in made[:orders]:
        learning.happens("Order Completed", decision, revenue_cents=900)
    return made


def presume(learning: Learning, loop: PresumeDelivered | None = None) -> PresumeDelivered:
    loop = loop or PresumeDelivered(learning.desk.database, learning.desk.clock)
    while loop.run_pass():
        pass
    return loop


def rates(learning: Learning) -> dict[tuple[str, str], Rate]:
    with learning.desk.database.read() as connection:
        return read_rates(connection)


def shown(learning: Learning, offer: str = "a", channel: str = "email") -> int:
    return rates(learning)[offer, channel].shown


def test_answers_count_where_only_orders_are_told(learning: Learning) -> None:
    """Also for lessons, and once."""
    answered(learning, "a", 100, 20)
    made = answered(learning, "b", 60, 3)
    assert (shown(learning), shown(learning, "b")) == (20, 3)
    loop = presume(learning)
    assert (shown(learning), shown(learning, "b")) == (20, 3)  # their deliveries may still be told
    learning.desk.clock.forward(minutes=2)
    presume(learning, loop)
    assert (shown(learning), shown(learning, "b")) == (100, 60)
    presume(learning, loop)
    presume(learning)  # another process, or this one started again
    assert (shown(learning), shown(learning, "b")) == (100, 60)
    with learning.desk.database.read() as connection:
        taught = deliveries_among(connection, [one["decision_id"] for one in made])
    assert taught == {(one["decision_id"], "b", "email") for one in made}
    learning.desk.clock.forward(days=30)
    told = PooledRates(rates(learning), now=microseconds(learning.desk.clock.now()))
    assert told.rate("a", "email") == pytest.approx(0.2, abs=0.05)
    assert told.rate("b", "email") == pytest.approx(0.05, abs=0.05)


def test_what_comes_in_after_an_outage_is_not_passed_by(learning: Learning, tmp_path: Path) -> None:
    desk = learning.desk
    desk.put(a={"category": "tea", "channels": ["web"]})
    answered(learning, "a", 40, 12, channels=["web"])
    spool = Spool(tmp_path / "spool", lambda _, ids: {})
    loop = PresumeDelivered(desk.database, desk.clock, spool.oldest_brought)
    decider = desk.decider
    decider.look_around()
    made = 0
    while made < 5:  # now and then nothing is drawn
        [told] = decider.decide_away([DecisionIn(customer_id="c1", offers=["a"], channels=["web"])], spool)
        assert isinstance(told, dict)
        made += bool(told["actions"])
    desk.clock.forward(minutes=2)
    presume(learning, loop)
    assert shown(learning, channel="web") == 40
    spool.bring_in(desk.database)
    for _ in range(2):
        presume(learning, loop)
        assert shown(learning, channel="web") == 45


def test_portions_go_on_where_they_stopped(learning: Learning, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.decisions.presume_delivered.AT_ONCE", 7)
    answered(learning, "a", 40, 12)
    learning.desk.clock.forward(minutes=2)
    loop = PresumeDelivered(learning.desk.database, learning.desk.clock)
    assert loop.run_pass()
    presume(learning, loop)
    assert shown(learning) == 40


def test_a_clock_that_was_ahead_for_a_while_leaves_no_answer_out(learning: Learning) -> None:
    answered(learning, "a", 20, 12)
    learning.desk.clock.forward(minutes=2)
    loop = presume(learning)
    now = learning.desk.clock.time
    learning.desk.clock.forward(days=1)
    presume(learning, loop)
    learning.desk.clock.time = now
    answered(learning, "a", 20, 0)
    learning.desk.clock.forward(minutes=2)
    presume(learning, loop)
    assert shown(learning) == 40


def test_what_is_answered_or_told_later_is_counted_once(learning: Learning) -> None:
    made = answered(learning, "a", 40, 12)
    learning.desk.clock.forward(minutes=2)
    presume(learning)
    learning.happens("Order Completed", made[20], revenue_cents=900)
    learning.happens("Email Delivered", made[21], channel="email")
    found = rates(learning)["a", "email"]
    assert (found.shown, found.converted) == (40, 13)
    with learning.desk.database.read() as connection:
        assert channel_sums(connection)["email"].told == 1


def test_nothing_is_presumed_where_deliveries_are_told(learning: Learning) -> None:
    made = answered(learning, "a", 60, 0)
    for decision in made[:30]:
        learning.happens("Email Delivered", decision, channel="email")
    for decision in made[:12]:
        learning.happens("Order Completed", decision, revenue_cents=900)
    for decision in made[30:42]:  # of which nothing was heard before
        learning.happens("Order Completed", decision, revenue_cents=900)
    learning.desk.clock.forward(minutes=2)
    presume(learning)
    assert shown(learning) == 42


def test_it_ends_when_deliveries_are_told(learning: Learning) -> None:
    """What was presumed before is not counted again when it is told then."""
    made = answered(learning, "a", 30, 12)
    learning.desk.clock.forward(minutes=2)
    loop = presume(learning)
    assert shown(learning) == 30
    for decision in answered(learning, "a", 20, 0):
        learning.happens("Email Delivered", decision, channel="email")
    answered(learning, "a", 10, 0)
    learning.desk.clock.forward(minutes=2)
    presume(learning, loop)
    assert shown(learning) == 50
    learning.happens("Email Delivered", made[20], channel="email")
    assert shown(learning) == 50


def test_limits_count_nothing_that_is_presumed(learning: Learning) -> None:
    made = answered(learning, "a", 40, 12)
    learning.desk.clock.forward(minutes=2)
    presume(learning)
    with learning.desk.database.read() as connection:
        ids = [one["decision_id"] for one in made]
        assert delivered_among(connection, ids) == set(ids[:12])


def test_who_is_erased_meanwhile_is_taught_of_no_more(learning: Learning, monkeypatch: pytest.MonkeyPatch) -> None:
    made = answered(learning, "a", 40, 12)
    learning.desk.clock.forward(minutes=2)
    gone = made[20]

    def read_then_erased(*asked: Any) -> list[Any]:
        rows = answers_on(*asked)
        if rows:
            with learning.desk.database.write() as connection:
                erase_of(connection, [gone["customer_id"]])
        return rows

    monkeypatch.setattr("service.decisions.presume_delivered.answers_on", read_then_erased)
    presume(learning)
    with learning.desk.database.read() as connection:
        assert deliveries_among(connection, [gone["decision_id"]]) == set()
    assert shown(learning) == 39


def test_habits_need_ten() -> None:
    def told(delivered: int, proven: int) -> Habits:
        return habits_of({"web": ChannelSums(delivered, proven, 0, 0, 0, 0)}, 10**12)

    assert told(0, 10).untold == told(9, 10).untold == {"web"}
    assert told(0, 9).untold == told(10, 10).untold == told(500, 50).untold == frozenset()


def test_other_channels_are_left_alone(learning: Learning) -> None:
    answered(learning, "a", 30, 12)
    answered(learning, "b", 30, 0, channels=["sms"])
    learning.desk.clock.forward(minutes=2)
    presume(learning)
    assert ("b", "sms") not in rates(learning)

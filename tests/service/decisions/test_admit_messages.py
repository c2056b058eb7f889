"""Messages of journeys are held to the rules of decisions, over one ledger."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from service.decisions.admit_messages import Admission, Outgoing, settled
from service.decisions.ledger_lines_store import use
from service.decisions.moments_store import note_moments
from service.decisions.schemas import DecisionIn
from service.decisions.suppression_store import suppress
from service.settings import Settings
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk, settings

CAP = {"channel": "email", "max": 1, "per_days": 7}


def ruled(**decisions: Any) -> Settings:
    """Rules of which none explores: something is always sent."""
    return settings(explore_by="epsilon_greedy", epsilon=0, floor=0, **decisions)


@pytest.fixture
def desk(database: Database) -> Desk:
    made = Desk(database, ruled(caps=[CAP]))
    made.people.add("anna")
    made.put(o1={}, o2={})
    return made


def admission(desk: Desk) -> Admission:
    return Admission(desk.decider.sources, 48)


def message(key: str = "k1", decision: str | None = None, offer: str | None = "o1", **more: Any) -> Outgoing:
    return Outgoing(key, "anna", more.pop("channel", "email"), "default", decision, offer_id=offer, **more)


def ask(desk: Desk, *messages: Outgoing) -> dict[str, str]:
    """Rule by key of those that may not go."""
    stopped = admission(desk).admit(messages, desk.clock.now())
    return {key: failure.rule for key, failure in stopped.items()}


def decided(desk: Desk, **more: Any) -> Outgoing:
    """A decision, and the message that carries it out."""
    answer = desk.decider.decide(DecisionIn(customer_id="anna", channels=["email"], top_k=1, **more))
    action = answer["actions"][0]
    return message(f"of-{answer['decision_id']}", answer["decision_id"], action["offer_id"])


def sent(desk: Desk, *messages: Outgoing) -> None:
    with desk.database.write() as connection:
        settled(connection, messages, [])


def counted(desk: Desk) -> int:
    with desk.database.read() as connection:
        now = round(desk.clock.now().timestamp() * 1e6)
        wanted = "SELECT count(*) FROM ledger WHERE message AND (expires IS NULL OR expires > :now)"
        return int(connection.execute(text(wanted), {"now": now}).scalar_one())


def test_the_decisions_own_place_is_not_counted_twice(desk: Desk) -> None:
    one = decided(desk)
    assert ask(desk, one) == {}
    desk.clock.forward(hours=1)
    assert ask(desk, one) == {}, "asked again an hour later, it still has its place"
    assert counted(desk) == 1


def test_a_place_that_came_back_may_have_gone_to_another(desk: Desk) -> None:
    late = decided(desk)
    desk.clock.forward(hours=49)
    other = decided(desk)
    sent(desk, other)
    stopped = admission(desk).admit([late], desk.clock.now())
    assert stopped[late.key].rule == "frequency_cap"
    assert stopped[late.key].until == desk.clock.now() + timedelta(days=7)
    assert counted(desk) == 1


def test_a_second_message_of_a_decision_takes_a_second_place(desk: Desk) -> None:
    first = decided(desk)
    assert ask(desk, first) == {}
    sent(desk, first)
    again = message("again", first.decision_id, first.offer_id)
    assert ask(desk, again) == {"again": "frequency_cap"}
    desk.clock.forward(days=8)
    assert ask(desk, again) == {}
    assert counted(desk) == 2
    sent(desk, again)
    with desk.database.write() as connection:
        assert first.decision_id is not None
        used = use(connection, first.decision_id, first.offer_id, "email", round(desk.clock.now().timestamp() * 1e6))
        assert used is not None
        assert used.first
    assert counted(desk) == 2


def test_what_was_sent_stays_counted_before_its_delivery_is_known(desk: Desk) -> None:
    one = decided(desk)
    ask(desk, one)
    sent(desk, one)
    desk.clock.forward(hours=60)
    assert ask(desk, message("k2")) == {"k2": "frequency_cap"}


def test_what_was_not_sent_gives_its_place_back(desk: Desk) -> None:
    one = decided(desk)
    ask(desk, one)
    with desk.database.write() as connection:
        settled(connection, [], [one])
    assert counted(desk) == 0
    assert ask(desk, message("k2")) == {}


def test_asked_twice_under_one_key_a_message_has_one_place(desk: Desk) -> None:
    for _ in range(3):
        assert ask(desk, message("k1")) == {}
        desk.clock.forward(minutes=10)
    assert counted(desk) == 1
    assert ask(desk, message("k2")) == {"k2": "frequency_cap"}


def test_messages_asked_about_together_see_each_other(desk: Desk) -> None:
    assert ask(desk, *[message(f"k{n}") for n in range(5)]) == {f"k{n}": "frequency_cap" for n in range(1, 5)}


def test_whose_place_is_reserved_comes_before_those_without(desk: Desk) -> None:
    one = decided(desk)
    desk.clock.forward(minutes=1)
    assert ask(desk, message("first in line"), one) == {"first in line": "frequency_cap"}


def test_every_rule_that_stops_a_decision_stops_its_message(desk: Desk) -> None:
    desk.settings = ruled(caps=[], cool_downs=[{"after": "purchase", "days": 3}])
    one = decided(desk)
    desk.clock.forward(hours=1)
    assert ask(desk, one) == {}
    with desk.database.write() as connection:
        note_moments(connection, [("anna", "purchase", "", round(desk.clock.now().timestamp() * 1e6))])
    desk.clock.forward(hours=1)
    assert ask(desk, one) == {one.key: "cool_down"}
    desk.clock.forward(days=3)
    assert ask(desk, one) == {}
    fresh = decided(desk)
    desk.people.add("anna", consents={"email": {"marketing": False}})
    assert ask(desk, one) == {}, "a reservation of this moment is not asked about again"
    assert ask(desk, fresh) == {}, "nor is what was decided at this moment"
    desk.clock.forward(minutes=1)
    assert ask(desk, fresh) == {fresh.key: "consent"}
    assert ask(desk, one) == {one.key: "consent"}
    desk.people.add("anna")
    with desk.database.write() as connection:
        suppress(connection, "anna", "email", "bounced", desk.clock.now())
    assert ask(desk, one) == {one.key: "suppression"}


def test_an_offer_that_ended_changed_or_left_is_not_sent(desk: Desk) -> None:
    one = decided(desk, offers=["o1"])
    desk.clock.forward(minutes=1)
    desk.put(o1={"ends_at": (NOON + timedelta(seconds=30)).isoformat()})
    assert ask(desk, one) == {one.key: "ended"}
    desk.put(o1={"channels": ["sms"]})
    assert ask(desk, one) == {one.key: "offer_channel"}
    desk.put(o1={"eligibility": "context.step == 'other'"})
    assert ask(desk, one) == {one.key: "eligibility"}
    assert ask(desk, message(offer="gone")) == {"k1": "offer"}


def test_a_budget_pays_for_each_message(desk: Desk) -> None:
    desk.settings = ruled(caps=[])
    desk.put(o1={"cost": 4.0, "budget": {"amount": 10.0, "per_days": 30}})
    assert ask(desk, *[message(f"k{n}") for n in range(4)]) == {"k2": "budget", "k3": "budget"}


def test_a_call_about_no_offer_is_held_to_its_channel(desk: Desk) -> None:
    desk.settings = ruled(caps=[{"channel": "call", "max": 1, "per_days": 7}])
    assert ask(desk, message("c1", offer=None, channel="call")) == {}
    sent(desk, message("c1", offer=None, channel="call"))
    assert ask(desk, message("c2", offer=None, channel="call")) == {"c2": "frequency_cap"}


def test_messages_at_once_never_pass_a_cap(database: Database) -> None:
    desk = Desk(database, ruled(caps=[{"channel": None, "max": 3, "per_days": 7}]))
    desk.people.add("anna")
    desk.put(o1={})
    shared, gate = admission(desk), threading.Barrier(8)

    def go(number: int) -> int:
        gate.wait(20)
        asked = [message(f"k{number}-{n}") for n in range(4)]
        return len(asked) - len(shared.admit(asked, desk.clock.now()))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(go, range(8))) == 3
    assert counted(desk) == 3

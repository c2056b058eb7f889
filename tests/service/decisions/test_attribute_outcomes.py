from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import orjson
import pytest
import sqlalchemy

from features.tables import DECISIONS, OFFER_VERSIONS, OFFERS, OUTCOMES
from service.customers.identity_store import Link, set_owners
from service.customers.keep_refunds import keep_refunds
from service.customers.link_identities import LinkedIdentities
from service.customers.update_customers import update_customers
from service.decisions.attribute_outcomes import AttributeOutcomes
from service.decisions.case import microseconds
from service.decisions.decision_store import read_rates
from service.decisions.export_decisions import export_decisions
from service.decisions.lessons_store import CONVERTED, UNTIED, due_lessons
from service.decisions.outcome_store import every_outcome
from service.decisions.read_decision import DecisionReader, erase_of, export_of
from service.decisions.schemas import DecisionIn
from service.decisions.suppression_store import read_suppressed
from service.decisions.unknown_decisions import count_unknown_decisions
from service.decisions.withdraw_clicks import withdraw_clicks
from service.events.read_report import read_report
from service.experiments.record_outcomes import apply_outcomes
from service.offers.catalogue import CatalogueCache
from service.settings import Settings
from service.storage.database import Connection, Database
from tests.fakes.decisions import NOON, Desk, NextOffer, damage, settings
from tests.fakes.ledger import read_entries

COUNT = iter(range(10_000))


def event(name: str | None, customer: str = "c1", at: datetime = NOON, **fields: Any) -> dict[str, Any]:
    """An EVENTS-shaped event."""
    empty = dict.fromkeys(
        ("anonymous_id", "channel", "offer_id", "campaign_id", "decision_id", "order_id", "currency", "revenue_cents",
         "discount_cents", "products", "timezone", "machine", "machine_reason", "url", "traits", "context")
    )  # fmt: skip
    head = {"message_id": f"m{next(COUNT)}", "type": "track", "event": name, "customer_id": customer}
    return {**empty, **head, "timestamp": at, "received_at": at, "properties": "{}", **fields}


@pytest.fixture
def desk(database: Database) -> Desk:
    made = Desk(database)
    made.people.add("c1", traits={"email": "c1@example.com"})
    made.put(a={"product_ids": ["p1"]}, b={"category": "shoes", "channels": ["sms"]})
    made.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.5})
    return made


def handle(desk: Desk, *events: dict[str, Any]) -> None:
    with desk.database.write() as connection:
        keep_refunds(connection, events)
        AttributeOutcomes(CatalogueCache(), 14)(connection, events)


def outcomes(desk: Desk) -> list[tuple[str, str, str | None, int | None, bool]]:
    with desk.database.read() as connection:
        rows = [row for rows in every_outcome(connection) for row in rows]
    return [(r.kind, r.decision_id, r.offer_id, r.value_cents, r.machine) for r in sorted(rows, key=lambda r: r.at)]


def decide(desk: Desk, customer: str = "c1", **request: Any) -> str:
    return str(desk.decider.decide(DecisionIn(customer_id=customer, **request))["decision_id"])


def test_by_the_id_of_the_decision(desk: Desk) -> None:
    decision = decide(desk)
    later = NOON + timedelta(hours=1)
    order = event("Order Completed", at=later, decision_id=decision, revenue_cents=4200)
    handle(desk, event("Email Delivered", channel="email", decision_id=decision), order)
    handle(desk, order)  # once more: nothing twice
    assert outcomes(desk) == [
        ("delivered", decision, "a", None, False),
        ("converted", decision, "a", 4200, False),
    ]
    with desk.database.read() as connection:
        rates = read_rates(connection)
    assert {key: (rate.shown, rate.converted) for key, rate in rates.items()} == {("a", "email"): (1, 1)}


def test_another_offer_under_the_id_of_a_decision_is_no_response_to_its_own(desk: Desk) -> None:
    """It counts for the caps as the message that it is. An offer that is none of ours says nothing."""
    decision = decide(desk, offers=["a"], channels=["email"])
    for number, name in enumerate(("Email Delivered", "Email Link Clicked", "Coupon Redeemed")):
        at = NOON + timedelta(minutes=number)
        handle(desk, event(name, at=at, channel="email", decision_id=decision, offer_id="b", machine=False))
    assert outcomes(desk) == [(kind, decision, "b", None, False) for kind in ("delivered", "clicked", "redeemed")]
    with desk.database.read() as connection:
        assert read_rates(connection) == {}
        assert not due_lessons(connection, NOON + timedelta(days=30), 10)
        mine = [(one.offer_id, one.expires is None) for one in read_entries(connection, ["c1"], 0)["c1"] if one.message]
    assert sorted(mine) == [("a", False), ("b", True)]  # one message, whatever is answered to it
    handle(desk, event("Order Completed", decision_id=decision, offer_id="summer-sale"))
    with desk.database.read() as connection:
        assert read_rates(connection)["a", "email"].converted == 1


def test_what_a_decision_led_to_did_not_happen_before_it(desk: Desk) -> None:
    """A sender's clock that is years behind frees no place of a cap, and teaches nothing before its time."""
    decision, long_ago = decide(desk), NOON - timedelta(days=3_000)
    handle(desk, event("Email Delivered", at=long_ago, channel="email", decision_id=decision))
    handle(desk, event("Order Completed", at=long_ago, decision_id=decision))
    with desk.database.read() as connection:
        [line] = [entry for entry in read_entries(connection, ["c1"], 0)["c1"] if entry.message]
        assert line.at == microseconds(NOON)
        assert {row.at for rows in every_outcome(connection) for row in rows} == {NOON}
        assert read_rates(connection)["a", "email"].first_at == microseconds(NOON)
        assert not due_lessons(connection, NOON - timedelta(seconds=1), 10)


def test_a_delivery_told_late_may_be_the_first(desk: Desk) -> None:
    """From it the pace is told at which an offer reaches the full model."""
    days = [NOON + timedelta(days=day) for day in (3, 1, 2)]
    for customer, at in zip(("c1", "c2", "c3"), days, strict=True):
        decision = decide(desk, customer, offers=["a"], channels=["email"])
        handle(desk, event("Email Delivered", customer, at, channel="email", decision_id=decision))
    with desk.database.read() as connection:
        assert read_rates(connection)["a", "email"].first_at == microseconds(min(days))


@pytest.mark.parametrize("told", ["Email Delivered", "Email Opened"])
def test_a_delivery_counts_at_its_time_though_a_click_was_told_first(desk: Desk, told: str) -> None:
    """A message of the evening, whose delivery a mail service tells in the morning, takes no place of the next day."""
    decision = decide(desk, offers=["a"], channels=["email"])
    click = event("Email Link Clicked", channel="email", decision_id=decision, at=NOON + timedelta(hours=13))
    opened = event(told, channel="email", decision_id=decision, at=NOON + timedelta(hours=11))
    for happened, hours in ((click, 13), (opened, 11), (click, 11)):
        handle(desk, happened)
        with desk.database.read() as connection:
            [line] = [entry for entry in read_entries(connection, ["c1"], 0)["c1"] if entry.message]
        assert line.at == microseconds(NOON + timedelta(hours=hours))


def test_an_order_belongs_to_the_newest_delivered_offer_it_fits(desk: Desk) -> None:
    first = decide(desk, offers=["a"], channels=["email"])
    second = decide(desk, offers=["b"])
    bought = [{"product_id": "p1", "category": "hats", "price_cents": 1, "quantity": 1, "discount_cents": None}]
    later = NOON + timedelta(days=2)
    handle(desk, event("Order Completed", at=NOON, products=bought, revenue_cents=1))
    assert outcomes(desk) == []  # nothing was delivered yet
    handle(
        desk,
        event("Email Delivered", decision_id=first, channel="email"),
        event("SMS Delivered", decision_id=second, channel="sms", at=NOON + timedelta(days=1)),
        event("Order Completed", at=later, products=bought, revenue_cents=900),
        event("Order Completed", at=later, products=[{**bought[0], "product_id": "p9", "category": "shoes"}]),
        event("Order Completed", at=later, products=[{**bought[0], "product_id": "p9", "category": "toys"}]),
        event("Order Completed", at=NOON + timedelta(days=30), products=bought),
    )
    converted = [(decision, offer) for kind, decision, offer, _, _ in outcomes(desk) if kind == "converted"]
    assert sorted(converted) == sorted([(first, "a"), (second, "b")])


def test_an_order_with_a_code_that_is_none_of_our_offers_belongs_by_its_products(desk: Desk) -> None:
    """As under a decision's id: it says nothing of the offer, nor ties the order to it."""
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Email Delivered", decision_id=decision, channel="email"))
    for number, code in enumerate(("summer-sale", "b")):
        bought = [{"product_id": "p1", "category": "hats"}]
        handle(desk, event("Order Completed", at=NOON + timedelta(hours=1 + number), products=bought, offer_id=code))
    assert [(one, offer) for kind, one, offer, _, _ in outcomes(desk) if kind == "converted"] == [(decision, "a")]
    with desk.database.read() as connection:
        due = due_lessons(connection, NOON + timedelta(days=1), 10)
    assert UNTIED in {row.stage for row in due}
    assert CONVERTED not in {row.stage for row in due}


def test_a_redemption_belongs_by_customer_and_offer(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    at = NOON + timedelta(days=3)
    handle(desk, event("Coupon Redeemed", at=at, offer_id="a"), event("Coupon Redeemed", "c9", at=at, offer_id="a"))
    assert outcomes(desk) == [("redeemed", decision, "a", None, False)]


def test_machine_clicks_are_kept_and_reward_nothing(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Email Link Clicked", channel="email", decision_id=decision, machine=True))
    assert outcomes(desk) == [("clicked", decision, "a", None, True)]
    with desk.database.read() as connection:
        assert read_rates(connection)["a", "email"].converted == 0


def test_a_click_that_turns_out_to_be_a_machines_is_taken_back(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    clicks = [event("Email Link Clicked", channel="email", decision_id=decision) for _ in range(2)]
    handle(desk, *clicks)
    for taken, left in ((clicks[:1], 1), (clicks, 0), (clicks, 0)):
        with desk.database.write() as connection:
            withdraw_clicks(connection, taken)
            assert read_rates(connection)["a", "email"].clicked == left
    assert [machine for _, _, _, _, machine in outcomes(desk)] == [True, True]


def test_a_machine_s_click_on_another_offer_under_a_decision_takes_nothing_from_its_counts(desk: Desk) -> None:
    """It added nothing to them either."""
    for customer, offer, clicked in (("c2", "b", "b"), ("c1", "a", "b")):
        decision = decide(desk, customer, offers=[offer])
        click = event("SMS Link Clicked", customer, channel="sms", decision_id=decision, offer_id=clicked)
        handle(desk, click)
    with desk.database.write() as connection:
        withdraw_clicks(connection, [click])
        assert read_rates(connection)["b", "sms"].clicked == 1


@pytest.mark.parametrize("linked", [True, False])
def test_a_machine_s_click_that_was_taken_back_meets_no_prerequisite(desk: Desk, linked: bool) -> None:
    desk.put(b={"requires": [{"offer_id": "a", "event": "clicked"}]})
    decision = decide(desk, offers=["a"], channels=["email"]) if linked else None
    minutes = [NOON + timedelta(minutes=minute) for minute in range(3)]
    clicks = [
        event("Email Link Clicked", at=at, channel="email", decision_id=decision, offer_id=None if linked else "a")
        for at in minutes
    ]
    handle(desk, *clicks)
    desk.clock.forward(hours=1)
    for taken, met in ((clicks[:1], True), (clicks[2:], linked), (clicks, False), (clicks, False)):
        with desk.database.write() as connection:
            withdraw_clicks(connection, taken)
        told = desk.decider.decide(DecisionIn(customer_id="c1", offers=["b"], dry_run=True))
        assert bool(told["actions"]) is met, taken


def test_what_proves_a_delivery_meets_a_prerequisite_that_asks_for_it(desk: Desk) -> None:
    """As it counts for caps and rates; what comes later does not make the delivery newer."""
    desk.put(b={"requires": [{"offer_id": "a", "event": "delivered", "within_days": 2}]})
    decision = decide(desk, offers=["a"], channels=["email"])
    proofs = [event("Email Opened", channel="email", decision_id=decision, machine=True)]
    proofs.append(event("Email Opened", at=NOON + timedelta(days=1.5), channel="email", decision_id=decision))
    for proof, hours, met in ((proofs[0], 36, True), (proofs[1], 24, False)):
        handle(desk, proof)
        desk.clock.forward(hours=hours)
        told = desk.decider.decide(DecisionIn(customer_id="c1", offers=["b"], dry_run=True))
        assert bool(told["actions"]) is met


@pytest.mark.parametrize("decided", [True, False])
@pytest.mark.parametrize("name", ["Email Opened", "Email Link Clicked"])
def test_what_names_an_offer_that_no_decision_sent_proves_its_delivery(desk: Desk, name: str, decided: bool) -> None:
    """Once: what comes later does not make it newer, nor does what a machine follows."""
    desk.put(b={"requires": [{"offer_id": "a", "event": "delivered", "within_days": 2}]})
    if decided:
        decide(desk, offers=["b"])
    proofs = [
        event(name, at=NOON + timedelta(days=days), channel="email", offer_id="a", machine=True) for days in (0, 1.5)
    ]
    for proof, hours, met in ((proofs[0], 36, True), (proofs[1], 24, False)):
        handle(desk, proof)
        desk.clock.forward(hours=hours)
        told = desk.decider.decide(DecisionIn(customer_id="c1", offers=["b"], dry_run=True))
        assert bool(told["actions"]) is met
    handle(desk, *proofs)
    handle(desk, event("Email Delivered", at=NOON + timedelta(days=2), channel="email", offer_id="a"))
    assert desk.decider.decide(DecisionIn(customer_id="c1", offers=["b"], channels=["sms"], dry_run=True))["actions"]


def test_a_prerequisite_counts_from_the_decision_where_the_sender_s_clock_is_behind(desk: Desk) -> None:
    needed = {"offer_id": "a", "event": "clicked", "within_days": 2}
    desk.put(b={"requires": [needed]}, c={"requires": [{**needed, "event": "delivered"}]})
    click = event("Email Link Clicked", at=NOON - timedelta(days=3_000), channel="email", decision_id=decide(desk))
    handle(desk, click)
    desk.clock.forward(days=1)
    for offer in ("b", "c"):
        assert desk.decider.decide(DecisionIn(customer_id="c1", offers=[offer], dry_run=True))["actions"], offer
    with desk.database.write() as connection:
        withdraw_clicks(connection, [click])
    assert not desk.decider.decide(DecisionIn(customer_id="c1", offers=["b"], dry_run=True))["actions"]


def test_the_message_of_another_sender_counts_for_the_caps(desk: Desk) -> None:
    handle(desk, *[event("Email Delivered", channel="email") for _ in range(2)])
    decision = desk.decider.decide(DecisionIn(customer_id="c1"))
    assert decision["actions"] == []
    assert decision["excluded"][0]["rule"] == "frequency_cap"


def test_a_delivery_without_an_id_is_the_offer_reserved(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Email Delivered", channel="email", offer_id="a", at=NOON + timedelta(hours=2)))
    assert outcomes(desk) == [("delivered", decision, "a", None, False)]
    with desk.database.read() as connection:
        assert len(read_entries(connection, ["c1"], 0)["c1"]) == 1


@pytest.mark.parametrize("name", ["Email Opened", "Email Link Clicked"])
@pytest.mark.parametrize("told", [True, False])
def test_an_answer_on_a_channel_belongs_to_the_message_of_that_channel(desk: Desk, name: str, told: bool) -> None:
    """The newest message of the offer came by another one. An order comes by the web, whatever was sent."""
    mail, text = (decide(desk, offers=["a"], channels=[channel]) for channel in ("email", "sms"))
    handle(desk, event("SMS Delivered", channel="sms", decision_id=text, at=NOON + timedelta(hours=1)))
    if told:
        handle(desk, event("Email Delivered", channel="email", decision_id=mail))
    handle(desk, event(name, channel="email", offer_id="a", at=NOON + timedelta(hours=2)))
    assert outcomes(desk)[-1][:2] == ({"Email Opened": "opened"}.get(name, "clicked"), mail)
    handle(desk, event("Coupon Redeemed", channel="web", offer_id="a", at=NOON + timedelta(hours=3)))
    handle(desk, event("Offer Clicked", channel="web", offer_id="a", at=NOON + timedelta(hours=4)))
    handle(desk, event("Coupon Redeemed", channel="email", offer_id="a", at=NOON + timedelta(hours=5)))
    newest = mail if not told else text
    assert [decision for _, decision, *_ in outcomes(desk)[-3:]] == [newest, newest, newest]


@pytest.mark.parametrize("name", ["Email Link Clicked", "Order Completed", "Coupon Redeemed"])
def test_an_answer_to_another_offer_of_a_message_is_no_message_besides(desk: Desk, name: str) -> None:
    """A mail with several offers was sent once; what is told delivered is counted as it is told."""
    desk.put(b={"category": "shoes", "channels": ["email"]})
    decision = decide(desk, offers=["a", "b"], channels=["email"], top_k=2)
    handle(desk, event("Email Delivered", channel="email", decision_id=decision))
    for happened, messages in ((name, 1), ("Email Delivered", 1)):
        handle(desk, event(happened, channel="email", decision_id=decision, offer_id="b"))
        with desk.database.read() as connection:
            lines = read_entries(connection, ["c1"], 0)["c1"]
            rates = {offer: rate.shown for (offer, _), rate in read_rates(connection).items()}
        assert [line.message for line in lines].count(True) == messages
        assert ([line.impression for line in lines].count(True), rates) == (2, {"a": 1, "b": 1})


def test_each_delivery_of_an_offer_that_tells_no_channel_is_a_message(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, *[event("Offer Delivered", offer_id="a", at=NOON + timedelta(hours=hour)) for hour in (1, 2)])
    assert outcomes(desk) == [("delivered", decision, "a", None, False)]
    with desk.database.read() as connection:
        mine = [entry for entry in read_entries(connection, ["c1"], 0)["c1"] if entry.message]
    assert len(mine) == 2


def test_a_message_that_is_tried_again_later_keeps_its_place(desk: Desk) -> None:
    """Deferred is not given up: what comes of it then still belongs to its decision."""
    decision = decide(desk, offers=["a"], channels=["email"])
    deferred = event("Email Bounced", channel="email", decision_id=decision, properties='{"bounce_type": "deferred"}')
    handle(desk, deferred, event("Email Delivered", channel="email", decision_id=decision))
    handle(desk, event("Order Completed", decision_id=decision, revenue_cents=100))
    with desk.database.read() as connection:
        rate = read_rates(connection)["a", "email"]
        assert (rate.shown, rate.converted) == (1, 1)
        assert len(read_entries(connection, ["c1"], 0)["c1"]) == 1  # and not a message of its own besides


def test_a_hard_bounce_suppresses_until_delivery_or_a_new_address(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    soft = event("Email Bounced", channel="email", properties=orjson.dumps({"bounce_type": "soft"}).decode())
    handle(desk, soft)
    with desk.database.read() as connection:
        assert read_suppressed(connection, ["c1"]) == {}
    handle(desk, event("Email Bounced", channel="email", decision_id=decision))
    stopped = desk.decider.decide(DecisionIn(customer_id="c1", channels=["email"]))
    assert {entry["rule"] for entry in stopped["excluded"]} == {"suppression", "offer_channel"}
    with desk.database.read() as connection:
        assert read_entries(connection, ["c1"], 0) == {}  # what was not delivered came back
    changed = event(None, type="identify", traits=orjson.dumps({"email": "new@example.com"}).decode())
    handle(desk, changed)
    assert desk.decider.decide(DecisionIn(customer_id="c1", channels=["email"]))["actions"]


@pytest.mark.parametrize(
    ("channel", "told", "stops"),
    [
        ("email", {"email": "old@example.com"}, False),
        ("email", {"recipient": "Ann <OLD@Example.com>"}, False),
        ("email", {"to": "Ann <C1@Example.COM>", "email": None}, True),
        ("email", {"recipient": "somebody", "address": {"city": "Ulm"}}, True),  # none that can be read
        ("email", {}, True),
        ("sms", {"to": "+49 30 901820"}, True),
        ("sms", {"phone": "+49 30 901821"}, False),
        ("sms", {"phone": "901820"}, True),
    ],
)
def test_a_bounce_of_an_older_address_stops_nothing(
    desk: Desk, channel: str, told: dict[str, Any], stops: bool
) -> None:
    decide(desk)
    with desk.database.write() as connection:
        traits = orjson.dumps({"email": "c1@example.com", "phone": "+4930901820"}).decode()
        update_customers(connection, [event(None, type="identify", traits=traits)])
    handle(desk, event("Email Bounced", channel=channel, properties=orjson.dumps(told).decode()))
    with desk.database.read() as connection:
        assert (channel in read_suppressed(connection, ["c1"]).get("c1", {})) is stops


@pytest.mark.parametrize("linked", [True, False])
def test_a_bounce_told_late_stops_nothing_that_was_delivered_since(desk: Desk, linked: bool) -> None:
    decision = decide(desk, offers=["a"], channels=["email"]) if linked else None
    hours = [NOON + timedelta(hours=hour) for hour in range(4)]
    handle(desk, event("Email Delivered", at=hours[2], channel="email", decision_id=decision))
    for at, channel, stopped in ((1, "sms", {"sms"}), (1, "email", {"sms"}), (3, "email", {"sms", "email"})):
        handle(desk, event("Email Bounced", at=hours[at], channel=channel))
        with desk.database.read() as connection:
            assert set(read_suppressed(connection, ["c1"])["c1"]) == stopped


def test_a_delivery_between_two_bounces_lifts_nothing_in_whatever_order_they_come(desk: Desk) -> None:
    hours = [NOON + timedelta(hours=hour) for hour in range(3)]
    for name, hour in (("Email Bounced", 2), ("Email Bounced", 0), ("Email Delivered", 1)):
        handle(desk, event(name, at=hours[hour], channel="email"))
    with desk.database.read() as connection:
        assert set(read_suppressed(connection, ["c1"])["c1"]) == {"email"}


def test_only_a_delivery_opens_a_channel_again(desk: Desk) -> None:
    """A click may be on a mail of long ago."""
    handle(desk, event("Email Bounced", channel="email"))
    for number, name in enumerate(("Email Opened", "Email Link Clicked", "Coupon Redeemed", "Email Marked as Spam"), 1):
        handle(desk, event(name, at=NOON + timedelta(hours=number), channel="email", offer_id="a"))
        with desk.database.read() as connection:
            assert set(read_suppressed(connection, ["c1"])["c1"]) == {"email"}
    handle(desk, event("Email Delivered", at=NOON + timedelta(hours=9), channel="email"))
    with desk.database.read() as connection:
        assert read_suppressed(connection, ["c1"]) == {}


@pytest.mark.parametrize(("first", "second"), [(0, 2), (2, 0)])
def test_of_the_bounces_of_two_ids_the_newer_one_holds_once_they_are_joined(
    desk: Desk, first: int, second: int
) -> None:
    hours = [NOON + timedelta(hours=hour) for hour in range(3)]
    handle(desk, event("Email Bounced", at=hours[first], channel="email", customer_id="anon"))
    handle(desk, event("Email Bounced", at=hours[second], channel="email"))
    with desk.database.write() as connection:
        set_owners(connection, [Link("anon", "c1", NOON)])
    handle(desk, event(None, type="identify", anonymous_id="anon"))
    handle(desk, event("Email Delivered", at=hours[1], channel="email"))  # told late: it came between the two
    with desk.database.read() as connection:
        assert read_suppressed(connection, ["anon", "c1"]).keys() == {"c1"}


def test_a_persons_export_with_outcomes_is_json(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Email Delivered", channel="email", decision_id=decision))
    with desk.database.read() as connection:
        told = orjson.loads(orjson.dumps(export_of(connection, ["c1"])))
    assert [one["decision_id"] for one in told["decisions"]] == [decision]
    assert [(one["kind"], one["decision_id"]) for one in told["outcomes"]] == [("delivered", decision)]


def test_an_anonymous_person_who_becomes_known_has_one_count(desk: Desk) -> None:
    decision = decide(desk, "anon")
    with desk.database.write() as connection:
        set_owners(connection, [Link("anon", "c1", NOON)])
    handle(desk, event(None, type="identify", anonymous_id="anon"))
    with desk.database.read() as connection:
        assert list(read_entries(connection, ["c1", "anon"], 0)) == ["c1"]
    assert DecisionReader(desk.database, desk.served).read(decision)["customer_id"] == "c1"
    handle(desk, event(None, type="identify", anonymous_id="c9"))  # nobody's: nothing moves


def test_a_shared_device_takes_nothing_along_to_the_next_one_of_the_same_portion(desk: Desk) -> None:
    """All that was decided for the first of them, and that they cannot be reached, went to the second."""
    decide(desk, "anon")
    handle(desk, event("Email Bounced", channel="email", customer_id="anon"))
    first, second = (event(None, name, type="identify", anonymous_id="anon") for name in ("c1", "c2"))
    with desk.database.write() as connection:
        portion = [
            first,
            second,
            event("Email Opened", "anon"),
            event(None, "c2", type="identify", anonymous_id="anon"),
        ]
        LinkedIdentities().give_owners(connection, portion)
        assert [one["customer_id"] for one in portion] == ["c1", "c2", "c2", "c2"]
        AttributeOutcomes(CatalogueCache(), 14)(connection, portion)
        assert list(read_entries(connection, ["anon", "c1", "c2"], 0)) == ["c1"]
        assert read_suppressed(connection, ["anon", "c1", "c2"]).keys() == {"c1"}


def test_a_decision_that_sent_nothing_follows_the_person_who_becomes_known(desk: Desk) -> None:
    """It reserves nothing, so no limit tells of it; who is in the holdout has no other decisions."""
    desk.settings = settings(arms={"model": 0, "random": 0, "business_as_usual": 0, "holdout": 1})
    decision = decide(desk, "anon")
    with desk.database.write() as connection:
        set_owners(connection, [Link("anon", "c1", NOON)])
    handle(desk, event(None, type="identify", anonymous_id="anon"))
    assert DecisionReader(desk.database, desk.served).read(decision)["customer_id"] == "c1"


def test_the_log_is_exported_as_training_reads_it(desk: Desk, tmp_path: Any) -> None:
    import polars as pl

    decision = decide(desk)
    decide(desk, "c2")
    handle(desk, event("Email Delivered", channel="email", decision_id=decision))
    with desk.database.read() as connection:
        counts = export_decisions(connection, tmp_path := tmp_path / "tables")
        assert export_decisions(connection, tmp_path) == counts
    assert counts.rows == {"decisions": 8, "outcomes": 1, "offers": 2, "offer_versions": 2}
    assert counts.damaged == []
    log = DECISIONS.validate(pl.read_parquet(tmp_path / "decisions.parquet"))
    assert log.group_by("decision_id").agg(pl.col("propensity").sum())["propensity"].to_list() == pytest.approx([1, 1])
    assert log.filter("chosen").height == 2
    assert log.filter(pl.col("offer_id").is_null()).height == 2
    OUTCOMES.validate(pl.read_parquet(tmp_path / "outcomes.parquet"))
    OFFERS.validate(pl.read_parquet(tmp_path / "offers.parquet"))
    OFFER_VERSIONS.validate(pl.read_parquet(tmp_path / "offer_versions.parquet"))
    assert {path.stem for path in tmp_path.iterdir()} == {"decisions", "offers", "offer_versions", "outcomes"}


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 100])
def test_the_last_rows_of_the_log_are_exported_wherever_a_part_ends(
    desk: Desk, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """One that ended with the last rows was written over by an empty one."""
    import polars as pl

    monkeypatch.setattr("service.decisions.export_decisions._PART", rows)
    decide(desk)  # four candidates
    with desk.database.read() as connection:
        counts = export_decisions(connection, tmp_path)
    for table in ("decisions", "offers", "offer_versions"):
        assert pl.read_parquet(tmp_path / f"{table}.parquet").height == counts.rows[table] > 0


@pytest.mark.parametrize("arm", ["model", "random"])
def test_what_a_business_rule_excluded_is_no_candidate_of_the_log(desk: Desk, tmp_path: Any, arm: str) -> None:
    """Else no policy could be evaluated that treats all candidates alike, or likes the excluded one best."""
    import polars as pl

    arms = {"model": 0.0, "random": 0.0, "business_as_usual": 0.0, "holdout": 0.0, arm: 1.0}
    rules = [{"name": "no a", "do": "exclude", "offers": ["a"]}, {"name": "b", "do": "pin", "offers": ["b"]}]
    desk.settings = Settings.model_validate({"placements": {"default": {"arms": arms, "rules": rules}}})
    decide(desk)
    with desk.database.read() as connection:
        export_decisions(connection, tmp_path)
    log = pl.read_parquet(tmp_path / "decisions.parquet")
    assert log["offer_id"].to_list() == ["b", None]
    assert log["propensity"].sum() == 1.0


def test_decisions_as_of_another_time_are_marked(desk: Desk, tmp_path: Any) -> None:
    import polars as pl

    later = {"next week": NOON + timedelta(days=7), "tomorrow": NOON + timedelta(days=1), "now": NOON, "late": NOON}
    asked = {name: decide(desk, at=at - timedelta(hours=2 * (name == "late"))) for name, at in later.items()}
    asked["plain"] = decide(desk)
    with desk.database.read() as connection:
        export_decisions(connection, tmp_path)
    log = pl.read_parquet(tmp_path / "decisions.parquet")
    marked = set(log.filter("another_time")["decision_id"])
    assert marked == {asked["next week"], asked["late"]}
    reader = DecisionReader(desk.database, desk.served)
    assert reader.replay(asked["next week"])["equal"]


@pytest.mark.parametrize("column", ["record", "candidates"])
def test_a_damaged_record_stops_no_export_and_is_named(desk: Desk, tmp_path: Any, column: str) -> None:
    import polars as pl

    rules = [{"name": "no a", "do": "exclude", "offers": ["a"]}, {"name": "b", "do": "pin", "offers": ["b"]}]
    arms = {"model": 1.0, "random": 0.0, "business_as_usual": 0.0, "holdout": 0.0}
    desk.settings = Settings.model_validate({"placements": {"default": {"arms": arms, "rules": rules}}})
    sound, broken = decide(desk), decide(desk, "c2")
    damage(desk.database, broken, column)
    with desk.database.read() as connection:
        exported = export_decisions(connection, tmp_path)
    assert exported.damaged == [broken]
    assert pl.read_parquet(tmp_path / "decisions.parquet")["decision_id"].unique().to_list() == [sound]


def test_an_order_told_again_with_its_decision_is_tied_to_it_once(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Order Completed", order_id="o1", revenue_cents=500))  # told by a server, of no delivery
    again = event("Order Repeated", order_id="o1", revenue_cents=500, decision_id=decision)
    handle(desk, again, event("Order Repeated", order_id="o1", revenue_cents=500, decision_id=decision))
    assert outcomes(desk) == [("converted", decision, "a", 500, False)]
    handle(desk, event("Order Repeated", order_id="o1", revenue_cents=500))
    assert len(outcomes(desk)) == 1


def test_an_order_told_again_with_its_decision_meets_a_prerequisite(desk: Desk) -> None:
    desk.put(b={"requires": [{"offer_id": "a", "event": "converted"}]})
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Order Repeated", decision_id=decision, revenue_cents=100))
    desk.clock.forward(hours=1)
    assert desk.decider.decide(DecisionIn(customer_id="c1", offers=["b"], dry_run=True))["actions"]


def test_an_empty_log_is_exported_too(database: Database, tmp_path: Any) -> None:
    import polars as pl

    with database.read() as connection:
        assert not any(export_decisions(connection, tmp_path).rows.values())
    assert DECISIONS.validate(pl.read_parquet(tmp_path / "decisions.parquet")).height == 0


def test_one_persons_data_can_be_had_and_erased(desk: Desk) -> None:
    decision = decide(desk)
    handle(desk, event("Email Delivered", channel="email", decision_id=decision))
    with desk.database.write() as connection:
        held = export_of(connection, ["c1"])
        assert [d["decision_id"] for d in held["decisions"]] == [decision]
        assert [o["kind"] for o in held["outcomes"]] == ["delivered"]
        assert erase_of(connection, ["c1"]) >= 3
        assert export_of(connection, ["c1"]) == {"decisions": [], "outcomes": []}
        assert read_rates(connection)["a", "email"].shown == 1


def test_events_of_decisions_that_there_are_not_are_counted(desk: Desk) -> None:
    """Of a dry run, say: they counted by customer and offer, or for nothing, and nobody saw why."""
    decision = decide(desk, offers=["a"], channels=["email"])
    dry = decide(desk, offers=["a"], channels=["email"], dry_run=True)
    told = [event("Email Opened", channel="email", decision_id=one) for one in (decision, dry, "typo", None)]
    with desk.database.write() as connection:
        count_unknown_decisions(connection, told)
    with desk.database.read() as connection:
        assert read_report(connection, NOON + timedelta(days=1), 30)["unknown_decisions"] == 2


def statements_of(database: Database, work: Callable[[Connection], object]) -> int:
    """How many statements a piece of work sends."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    sqlalchemy.event.listen(database.engine, "before_cursor_execute", note)
    try:
        with database.write() as connection:
            work(connection)
    finally:
        sqlalchemy.event.remove(database.engine, "before_cursor_execute", note)
    return len(sent)


def test_visitors_of_whom_nothing_is_kept_cost_nothing_each_when_they_become_known(desk: Desk) -> None:
    """Libraries tell the visitor's id with every identify of a user, years after they became known."""

    def told(many: int) -> list[dict[str, Any]]:
        return [event(None, f"u{n}", type="identify", anonymous_id=f"v{n}") for n in range(many)]

    with desk.database.write() as connection:
        for n in range(40):
            set_owners(connection, [Link(f"v{n}", f"u{n}", NOON)])

    def work(many: int) -> int:
        def effects(connection: Connection) -> None:
            AttributeOutcomes(CatalogueCache(), 14)(connection, told(many))
            apply_outcomes(connection, told(many), NOON)

        return statements_of(desk.database, effects)

    assert work(40) == work(2)

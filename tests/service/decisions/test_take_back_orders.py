"""What orders did is taken back when they are refunded, or told once more for another decision."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from sqlalchemy import text

from service.customers.identity_store import Link, set_owners
from service.customers.keep_refunds import keep_refunds
from service.decisions.attribute_outcomes import AttributeOutcomes
from service.decisions.decision_store import read_rates
from service.decisions.export_decisions import export_decisions
from service.decisions.lessons_store import CONVERTED, due_lessons
from service.decisions.outcome_store import every_outcome
from service.decisions.schemas import DecisionIn
from service.offers.catalogue import CatalogueCache
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk, NextOffer
from tests.service.decisions.test_attribute_outcomes import decide, event, handle

HOUR = timedelta(hours=1)


@pytest.fixture
def desk(database: Database) -> Desk:
    made = Desk(database)
    made.put(a={"product_ids": ["p1"]}, b={"category": "shoes"})
    made.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.5})
    return made


def ordered(order: str, decision: str | None, **fields: Any) -> dict[str, Any]:
    told = {"revenue_cents": 4200, "at": NOON + HOUR, **fields}
    return event("Order Completed", order_id=order, decision_id=decision, **told)


def refunded(order: str | None, cents: int | None, at: Any = NOON + 2 * HOUR, **fields: Any) -> dict[str, Any]:
    return event("Order Refunded", order_id=order, revenue_cents=cents, at=at, **fields)


def outcomes(desk: Desk) -> list[tuple[str, str, int | None]]:
    with desk.database.read() as connection:
        rows = [row for rows in every_outcome(connection) for row in rows]
    return [(row.kind, row.decision_id, row.value_cents) for row in sorted(rows, key=lambda row: row.at)]


def converted(desk: Desk, offer: str = "a") -> int:
    with desk.database.read() as connection:
        return sum(rate.converted for (name, _), rate in read_rates(connection).items() if name == offer)


def conversions_to_learn(desk: Desk) -> int:
    with desk.database.read() as connection:
        due = due_lessons(connection, NOON + timedelta(days=30), 100)
    return sum(row.stage <= CONVERTED for row in due)


def may_get(desk: Desk, offer: str) -> bool:
    return bool(desk.decider.decide(DecisionIn(customer_id="c1", offers=[offer], dry_run=True))["actions"])


def test_an_order_given_back_in_full_is_no_conversion(desk: Desk, tmp_path: Path) -> None:
    desk.put(b={"requires": [{"offer_id": "a", "event": "converted"}]})
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Email Delivered", channel="email", decision_id=decision), ordered("o1", decision))
    desk.clock.forward(days=1)
    assert (converted(desk), conversions_to_learn(desk), may_get(desk, "b")) == (1, 1, True)
    again = refunded("o1", 2200, NOON + 3 * HOUR)
    handle(desk, refunded("o1", 2000), refunded("of nobody", 4200), refunded(None, 4200))
    assert (converted(desk), conversions_to_learn(desk), may_get(desk, "b")) == (1, 1, True)
    for _ in range(2):  # once more: nothing twice
        handle(desk, again)
        assert (converted(desk), conversions_to_learn(desk), may_get(desk, "b")) == (0, 0, False)
    with desk.database.read() as connection:
        export_decisions(connection, tmp_path)
    told = pl.read_parquet(tmp_path / "outcomes.parquet").sort("at")
    assert outcomes(desk) == list(told.select("kind", "decision_id", "value_cents").iter_rows())
    assert outcomes(desk) == [
        ("delivered", decision, None),
        ("returned", decision, 4200),
        ("refunded", decision, 2000),
        ("refunded", decision, 2200),
    ]
    handle(desk, ordered("o2", decision, at=NOON + 3 * HOUR))
    assert (converted(desk), conversions_to_learn(desk), may_get(desk, "b")) == (1, 1, True)


@pytest.mark.parametrize("order_first", [True, False])
def test_an_order_and_its_refund_of_the_same_instant_find_each_other(desk: Desk, order_first: bool) -> None:
    """A file's order and the API's refund: on Postgres neither saw the other's transaction, and the order stood."""
    decision = decide(desk, offers=["a"], channels=["email"])
    both = [ordered("o1", decision), refunded("o1", 4200)]
    first, second = both if order_first else reversed(both)
    with ThreadPoolExecutor(1) as pool:
        with desk.database.write() as connection:
            keep_refunds(connection, [first])
            AttributeOutcomes(CatalogueCache(), 14)(connection, [first])
            beside = pool.submit(handle, desk, second)
            while not (beside.done() or waits(desk.database)):
                time.sleep(0.005)
        beside.result()
    assert sorted(kind for kind, *_ in outcomes(desk)) == ["refunded", "returned"]
    assert converted(desk) == 0


def waits(database: Database) -> bool:
    """Whether another transaction waits for the one under way; SQLite has no other."""
    if database.is_sqlite:
        return True
    with database.read() as connection:
        return bool(connection.execute(text("SELECT 1 FROM pg_locks WHERE NOT granted")).first())


def test_another_order_of_the_decision_stands(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, ordered("o1", decision), ordered("o2", decision, at=NOON + 2 * HOUR))
    handle(desk, refunded("o2", 4200))
    assert (converted(desk), conversions_to_learn(desk)) == (1, 1)
    handle(desk, refunded("o1", None))
    assert (converted(desk), conversions_to_learn(desk)) == (0, 0)


def test_what_an_order_was_worth_may_be_told_by_the_second_message(desk: Desk) -> None:
    """Else nobody could tell that all of it was given back."""
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, ordered("o1", decision, revenue_cents=None))
    for cents in (None, 4200, 9999):
        handle(desk, event("Order Repeated", order_id="o1", revenue_cents=cents))
    assert outcomes(desk) == [("converted", decision, 4200)]
    handle(desk, refunded("o1", 4200))
    assert converted(desk) == 0


def test_a_refund_that_is_sent_with_its_order_may_stand_before_it(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, refunded("o1", 4200), ordered("o1", decision))
    assert outcomes(desk) == [("returned", decision, 4200), ("refunded", decision, 4200)]
    assert (converted(desk), conversions_to_learn(desk)) == (0, 0)


def test_what_was_redeemed_with_an_order_goes_back_with_it(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Coupon Redeemed", decision_id=decision, order_id="o1"), ordered("o1", decision))
    handle(desk, refunded("o1", 4200))
    with desk.database.read() as connection:
        rate = read_rates(connection)["a", "email"]
    assert (rate.shown, rate.converted, rate.redeemed) == (1, 0, 0)


def test_a_refund_finds_the_order_of_whoever_the_customer_was_before(desk: Desk) -> None:
    decision = decide(desk, customer="anonymous", offers=["a"], channels=["email"])
    handle(desk, ordered("o1", decision, customer="anonymous"))
    with desk.database.write() as connection:
        set_owners(connection, [Link("anonymous", "c1", NOON)])
    handle(desk, event(None, type="identify", anonymous_id="anonymous"), refunded("o1", 4200))
    assert converted(desk) == 0


@pytest.mark.parametrize(("again", "counted"), [("o1", 1), ("o2", 2)])
def test_an_order_that_one_person_told_under_two_ids_counts_once(desk: Desk, again: str, counted: int) -> None:
    """As in the log, the customer's counts: one decision each, for the browser's visitor and for the server's user."""
    for customer, order in (("anonymous", "o1"), ("c1", again)):
        decision = decide(desk, customer=customer, offers=["a"], channels=["email"])
        handle(desk, ordered(order, decision, customer=customer))
    assert (converted(desk), conversions_to_learn(desk)) == (2, 2)
    with desk.database.write() as connection:
        set_owners(connection, [Link("anonymous", "c1", NOON)])
    handle(desk, event(None, type="identify", anonymous_id="anonymous"))
    assert (converted(desk), conversions_to_learn(desk)) == (counted, counted)
    kept = [one for kind, one, _ in outcomes(desk) if kind == "converted"]
    assert (len(kept), decision in kept) == (counted, True)


def test_an_order_of_another_offer_under_a_decision_takes_nothing_from_its_counts(desk: Desk) -> None:
    theirs = decide(desk, "c2", offers=["b"], channels=["email"])
    handle(desk, ordered("o9", theirs, customer="c2"))
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, ordered("o1", decision, offer_id="b"), refunded("o1", 4200))
    assert converted(desk, "b") == 1


def test_an_order_told_again_for_a_decision_is_no_outcome_of_another(desk: Desk) -> None:
    """At first its products spoke for the newest delivery; the second message names the one that it was for."""
    named, newest = (decide(desk, offers=["a"], channels=[channel]) for channel in ("email", "sms"))
    for decision, channel in ((named, "email"), (newest, "sms")):
        handle(desk, event("Offer Delivered", channel=channel, decision_id=decision))
    handle(desk, ordered("o1", None, products=[{"product_id": "p1", "category": None}]))
    assert [decision for kind, decision, _ in outcomes(desk) if kind == "converted"] == [newest]
    repeated = event("Order Repeated", order_id="o1", decision_id=named, revenue_cents=4200, at=NOON + HOUR)
    handle(desk, repeated)
    assert [decision for kind, decision, _ in outcomes(desk) if kind == "converted"] == [named]
    with desk.database.read() as connection:
        rates = {channel: rate.converted for (_, channel), rate in read_rates(connection).items()}
    assert (rates, conversions_to_learn(desk)) == ({"email": 1, "sms": 0}, 1)
    handle(desk, refunded("o1", 4200), {**repeated, "message_id": "later", "decision_id": newest})
    assert (converted(desk), conversions_to_learn(desk)) == (0, 0)


def test_an_order_told_again_at_once_meets_the_prerequisite_of_the_decision_that_it_names(desk: Desk) -> None:
    """And of no other: both messages come in one portion."""
    desk.put(
        c={"requires": [{"offer_id": "b", "event": "converted"}]},
        d={"requires": [{"offer_id": "a", "event": "converted"}]},
    )
    named, newest = decide(desk, offers=["a"], channels=["email"]), decide(desk, offers=["b"], channels=["sms"])
    handle(desk, event("SMS Delivered", channel="sms", decision_id=newest))
    shoes = [{"product_id": "p9", "category": "shoes"}]
    again = event("Order Repeated", order_id="o1", decision_id=named, at=NOON + HOUR)
    handle(desk, ordered("o1", None, products=shoes), again)
    desk.clock.forward(days=8)
    assert (may_get(desk, "c"), may_get(desk, "d")) == (False, True)


def test_each_order_told_again_belongs_to_the_decision_that_it_names(desk: Desk) -> None:
    """Also where that has led to another order already."""
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, ordered("o1", decision), ordered("o2", None))
    for _ in range(2):
        again = event("Order Repeated", order_id="o2", decision_id=decision, revenue_cents=100, at=NOON + 2 * HOUR)
        handle(desk, again)
        assert [(kind, cents) for kind, _, cents in outcomes(desk)] == [("converted", 4200), ("converted", 100)]


def test_a_refund_that_came_before_its_order_finds_it(desk: Desk) -> None:
    """Out of order, as from another system or another file."""
    desk.put(b={"requires": [{"offer_id": "a", "event": "converted"}]})
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, event("Email Delivered", channel="email", decision_id=decision), refunded("o1", 2000))
    handle(desk, refunded("o1", None, NOON + 3 * HOUR), refunded("o2", 100))
    assert outcomes(desk) == [("delivered", decision, None)]
    for _ in range(2):
        handle(desk, ordered("o1", decision, message_id="the order"))
        assert (converted(desk), conversions_to_learn(desk), may_get(desk, "b")) == (0, 0, False)
        assert outcomes(desk)[1:] == [
            ("returned", decision, 4200),
            ("refunded", decision, 2000),
            ("refunded", decision, 2200),
        ]
    handle(desk, ordered("o2", decision))
    assert (converted(desk), conversions_to_learn(desk)) == (1, 1)


def test_what_is_redeemed_with_an_order_that_went_back_before_counts_for_nothing(desk: Desk) -> None:
    decision = decide(desk, offers=["a"], channels=["email"])
    handle(desk, ordered("o1", decision), refunded("o1", 4200))
    handle(desk, event("Coupon Redeemed", decision_id=decision, order_id="o1", at=NOON + 3 * HOUR))
    with desk.database.read() as connection:
        rate = read_rates(connection)["a", "email"]
    assert (rate.converted, rate.redeemed) == (0, 0)


def test_a_refund_under_one_id_of_a_person_finds_the_order_under_the_other(desk: Desk) -> None:
    decision = decide(desk, customer="anonymous", offers=["a"], channels=["email"])
    handle(desk, refunded("o1", 4200), ordered("o1", decision, customer="anonymous"))
    assert converted(desk) == 1
    with desk.database.write() as connection:
        set_owners(connection, [Link("anonymous", "c1", NOON)])
    handle(desk, event(None, type="identify", anonymous_id="anonymous"))
    assert converted(desk) == 0

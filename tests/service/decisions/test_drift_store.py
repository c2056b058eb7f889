"""What came of the offers that decisions put first, as it was promised."""

from __future__ import annotations

from datetime import timedelta

from service.decisions.drift_store import (
    add_drift_check,
    add_shadow_scores,
    latest_drift,
    newest_shadow,
    responses,
)
from service.decisions.schemas import DecisionIn
from service.decisions.skew_store import add_check, latest_checks
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk, NextOffer, settings
from tests.service.decisions.test_attribute_outcomes import event, handle

WINDOW = timedelta(days=14)


def test_reports_and_scores_of_a_clock_that_was_ahead_are_not_the_newest(database: Database) -> None:
    ahead = NOON + timedelta(days=365)
    score = {"model": "m", "version": "1", "customer_id": "c", "score": 0.5, "champion": None, "champion_score": None}
    with database.write() as connection:
        for at in (ahead, NOON):
            add_drift_check(connection, at, {"of": at.year})
            add_check(connection, at, {"of": at.year})
            add_shadow_scores(connection, [{**score, "decision_id": f"d{at.year}", "decided_at": at}])
        assert latest_drift(connection) == {"of": NOON.year}
        assert latest_checks(connection, 9) == [(NOON, {"of": NOON.year})]
        assert newest_shadow(connection, "m", "1", NOON) == NOON


def test_a_promise_is_kept_by_its_own_offer_in_its_own_time(database: Database) -> None:
    desk = Desk(database, settings(caps=[]))
    desk.put(a={}, b={})
    desk.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.5})
    told = {
        "kept": ("a", "Order Completed", 13),
        "late": ("a", "Order Completed", 14),
        "other": ("b", "Coupon Redeemed", 1),
        "nothing": ("a", "Email Opened", 1),
    }
    made = {}
    for customer, (offer, name, days) in told.items():
        asked = DecisionIn(customer_id=customer, offers=["a", "b"], channels=["email"], top_k=2)
        decision = made[customer] = str(desk.decider.decide(asked)["decision_id"])
        delivered = event("Email Delivered", customer, channel="email", decision_id=decision, offer_id="a")
        at = NOON + timedelta(days=days)
        handle(desk, delivered, event(name, customer, at=at, decision_id=decision, offer_id=offer))
    unseen = str(desk.decider.decide(DecisionIn(customer_id="unseen", offers=["b"], channels=["email"]))["decision_id"])
    handle(desk, event("Order Completed", "unseen", decision_id=unseen, offer_id="b"))
    with database.read() as connection:
        found = responses(connection, [*made.values(), unseen], WINDOW)
    assert {customer: found[decision] for customer, decision in made.items()} == {
        "kept": True,
        "late": False,
        "other": False,
        "nothing": False,
    }
    assert unseen not in found

"""Decisions on a large catalogue: what may go and suits is found among thousands, whatever crowds it out."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from models.candidates import MOST
from service.decisions.schemas import DecisionIn
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk, row, settings

MANY = MOST + 200


@pytest.fixture
def desk(database: Database) -> Desk:
    """A catalogue of dear offers, and beside it what tests put."""
    made = Desk(database)
    made.put(**{f"dear-{n:03}": {"value": 50.0, "channels": ["email"]} for n in range(MANY)})
    made.people.add("c1")
    return made


def weighed(desk: Desk, **request: Any) -> tuple[set[str], dict[str, Any]]:
    """The offers that a decision weighed, and its answer."""
    decider = desk.decider
    (draft,) = decider.draft([DecisionIn(customer_id="c1", **request)], NOON)
    return {offer.offer_id for offer in draft.case.offers}, decider.decide(DecisionIn(customer_id="c1", **request))


def test_at_most_so_many_are_weighed(desk: Desk) -> None:
    found, answer = weighed(desk)
    assert len(found) == MOST
    assert answer["actions"]


def test_the_only_offer_of_an_open_channel_is_found(desk: Desk) -> None:
    desk.put(cheap={"value": 0.5, "channels": ["sms"]})
    assert "cheap" in weighed(desk, channels=["sms"])[0]
    desk.people.add("c1", consents={"email": {"marketing": False}})
    found, answer = weighed(desk)
    assert found == {"cheap"}
    assert answer["actions"][0]["offer_id"] == "cheap"


def test_rules_are_asked_before_the_search(desk: Desk) -> None:
    rule = "customer.features.orders_90d >= 1"
    desk.put(**{f"dear-{n:03}": {"value": 50.0, "eligibility": rule} for n in range(MANY)})
    desk.put(everyone={"value": 0.5}, ended={"value": 90.0, "ends_at": (NOON - timedelta(days=1)).isoformat()})
    assert weighed(desk)[0] == {"everyone"}
    desk.rows.add("c1", orders_90d=2.0)
    assert len(weighed(desk)[0]) == MOST


def test_what_the_customer_buys_is_found(desk: Desk) -> None:
    desk.put(**{f"tea-{n}": {"value": 0.5, "category": "tea"} for n in range(3)})
    assert not any(name.startswith("tea") for name in weighed(desk)[0])
    desk.rows.rows["c1"] = row("c1", affinity={"tea": (1.0, 4.0, 3.0)})
    assert {"tea-0", "tea-1", "tea-2"} <= weighed(desk)[0]


def test_what_the_placement_names_is_found(database: Database) -> None:
    desk = Desk(database, settings(business_as_usual="usual", arms={"business_as_usual": 1, "model": 0, "random": 0,
                                                                   "holdout": 0}))  # fmt: skip
    desk.put(usual={"value": 0.5}, **{f"dear-{n:03}": {"value": 50.0} for n in range(MANY)})
    found, answer = weighed(desk)
    assert "usual" in found
    assert answer["actions"][0]["offer_id"] == "usual"


def test_offers_that_are_asked_for_are_weighed_as_they_are(desk: Desk) -> None:
    assert weighed(desk, offers=["dear-001"])[0] == {"dear-001"}

"""A journey over the real parts: its messages are held to the rules of decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.content.review_variant import Review
from service.content.variant import Variant, said_hash
from service.content.variant_store import add_variants
from service.customers.change_segments import change_segments
from service.customers.set_consents import set_consents
from service.decisions.ledger_lines_store import release_decisions
from service.decisions.schemas import DecisionIn
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Entering, enrol
from service.journeys.journey_store import find_journey
from service.journeys.manage_journeys import change_status, put_journey
from service.journeys.read_enrolments import show_enrolments
from service.offers.offers_store import put_offers
from service.offers.schemas import OfferIn
from service.settings import Settings
from service.wiring import Parts, build, journey_runner, journeys
from service.wiring.journeys import JourneyCollaborators

STEPS = [
    {"id": "choose", "kind": "decide", "placement": "p", "channels": ["call"], "else": "exit"},
    {"id": "first", "kind": "send"},
    {"id": "again", "kind": "send"},
]


@pytest.fixture
def parts(tmp_path: Path) -> Any:
    """Everybody in the model's arm, nothing explored, one message a week."""
    settings = Settings(
        home=tmp_path,
        placements={"p": {"arms": {"model": 1, "random": 0, "business_as_usual": 0, "holdout": 0}}},  # type: ignore[dict-item]
        decisions={  # type: ignore[arg-type]
            "caps": [{"max": 1, "per_days": 7}],
            "explore_by": "epsilon_greedy",
            "epsilon": 0,
            "floor": 0,
        },
        quiet_hours={"start": "00:00", "end": "00:00"},  # type: ignore[arg-type]
    )
    made = build(settings)
    yield made
    made.close()


def put(parts: Parts) -> None:
    offer = OfferIn.model_validate({"name": "o1", "channels": ["call"], "value": 100.0}).document()
    now = parts.clock.now()
    with parts.database.write() as connection:
        put_offers(connection, {"o1": offer}, now)
        put_journey(connection, "j", {"name": "Test", "steps": STEPS}, now, "tester")
        change_status(connection, "j", "activate", now)
        set_consents(connection, "anna", {"call": {"marketing": True}}, None, now, "test")
        row = find_journey(connection, "j")
        assert row is not None
        enrol(connection, row, Definitions().get(connection, "j", row.version), "anna", now, {"api": True}, Entering())


def test_a_second_message_of_a_decision_meets_the_cap(parts: Parts) -> None:
    put(parts)
    report = journey_runner(parts).run_due()
    assert (report.sent, report.blocked) == (1, 1)
    with parts.database.read() as connection:
        shown = show_enrolments(connection, "j", "anna")[0]
        lines = connection.execute(text("SELECT message FROM ledger")).scalars().all()
    assert shown["outcomes"] == {"choose": "action", "first": "sent", "again": "blocked"}
    assert shown["messages"][1]["detail"].startswith("frequency_cap: 1 of 1 messages in 7 days, until")
    assert lines == [True]
    answer = parts.decider.decide(DecisionIn(customer_id="anna", placement="p", channels=["call"]))
    assert [one["rule"] for one in answer["excluded"]] == ["frequency_cap"]


def test_consent_is_that_of_the_placements_purpose(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, placements={"receipt": {"purpose": "transactional"}})  # type: ignore[dict-item]
    parts = build(settings)
    put(parts)
    with parts.database.write() as connection:
        set_consents(connection, "anna", {"email": {"marketing": False}}, None, parts.clock.now(), "test")
    ask, now = JourneyCollaborators(parts), parts.clock.now()
    assert ask.clear(["anna"], "email", "p", now)["anna"].rule == "consent"
    assert ask.clear(["anna"], "email", "receipt", now)["anna"].against is None
    parts.close()


def test_words_that_were_edited_since_the_decision_are_not_sent_though_approved_again(parts: Parts) -> None:
    now = parts.clock.now()
    offer = OfferIn.model_validate({"name": "Coffee", "channels": ["email"], "value": 100.0}).document()
    fields = {"subject": "Coffee", "body": "Coffee for you."}
    variant = Variant(
        "v1", "o1", said_hash(offer), "email", "en", None, "plain", "approved", fields, (), {}, 1, now, now
    )
    with parts.database.write() as connection:
        put_offers(connection, {"o1": offer}, now)
        add_variants(connection, [variant])
        set_consents(connection, "anna", {"email": {"marketing": True}}, None, now, "test")
    ask, request = JourneyCollaborators(parts), DecisionIn(customer_id="anna", placement="p", channels=["email"])
    before = parts.decider.decide(request)
    copy = ("v1", "o1", before["decision_id"])
    assert before["actions"][0]["content"]["variant_id"] == "v1"
    assert ask.copy_against([copy]) == {}
    review, edits = parts.desk.reviewer, {"body": "Coffee, and only for you."}
    review.comment(Review("v1", "*", "tester"), "fine")
    assert ask.copy_against([copy]) == {}
    review.edit(Review("v1", "*", "tester"), edits)
    assert "no longer approved" in ask.copy_against([copy])[copy]
    review.approve(Review("v1", "*", "tester"))
    assert "edited since" in ask.copy_against([copy])[copy]
    with parts.database.write() as connection:
        release_decisions(connection, [before["decision_id"]])
    again = ("v1", "o1", parts.decider.decide(request)["decision_id"])
    assert ask.copy_against([again]) == {}


def test_all_members_of_a_segment_come_however_many_are_read_at_once(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journeys, "_MEMBERS", 2)
    with parts.database.write() as connection:
        for customer in ("c1", "c2", "c3", "c4", "c5"):
            change_segments(connection, customer, parts.clock.now(), add=("lapsed",) if customer != "c2" else ("new",))
    ask = JourneyCollaborators(parts)
    assert list(ask.members_of("lapsed")) == ["c1", "c3", "c4", "c5"]
    assert list(ask.members_of("nobody")) == []

"""A refusal of profiling is told for what it is: in verdicts, in what would change them, and among the limits."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from service.decisions.decision_store import decisions
from service.decisions.explain import Explanation
from service.decisions.parts_store import Parts
from service.decisions.read_decision import DecisionReader
from service.decisions.record import unsqueeze
from service.decisions.schemas import DecisionIn
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import Desk, NextOffer, settings

GOLD, SEGMENT, CART = "customer.traits.gold == true", "'eu' in customer.segments", "context.page == 'cart'"


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database, settings(explore_by="epsilon_greedy", epsilon=0.0, floor=0.0, caps=[]))
    made.served.models = {"next-offer": NextOffer({"a": 0.1, "vip": 0.9, "eu": 0.8, "cart": 0.7})}
    made.put(a={}, vip={"eligibility": GOLD}, eu={"eligibility": SEGMENT}, cart={"eligibility": CART})
    made.people.add("refusing", profiling=False, traits={"gold": True}, segments=("eu",))
    made.people.add("unknown")
    return made


def decide(desk: Desk, customer_id: str) -> dict[str, Any]:
    return desk.decider.decide(DecisionIn(customer_id=customer_id, channels=["email"]))


def words(desk: Desk, decision: dict[str, Any]) -> Explanation:
    return DecisionReader(desk.database, desk.served).explain(decision["decision_id"])


def details(decision: dict[str, Any]) -> dict[str, str]:
    return {one["offer_id"]: one["detail"] for one in decision["excluded"]}


def test_verdicts_tell_a_refusal_from_what_is_not_known_whoever_was_asked_first(desk: Desk) -> None:
    refused = {
        "vip": "the rule needs 'gold', which may not be used: the customer refused profiling",
        "eu": f"does not hold with what may be used, as the customer refused profiling: {SEGMENT}",
        "cart": "the rule needs 'page', which is not known of this customer",
    }
    unknown = {
        "vip": "the rule needs 'gold', which is not known of this customer",
        "eu": f"does not hold: {SEGMENT}",
        "cart": refused["cart"],
    }
    decider = desk.decider
    for customer_id, told in (("refusing", refused), ("unknown", unknown)) * 2:
        assert details(decider.decide(DecisionIn(customer_id=customer_id, channels=["email"]))) == told


def test_the_flip_is_consent_to_profiling_and_the_limits_say_so(desk: Desk) -> None:
    decision = decide(desk, "refusing")
    told = words(desk, decision)
    assert told.limits[0].startswith("The customer refused profiling: ")
    assert not any("now: " in line for line in told.why_not)
    begins = "If the customer agreed to profiling and "
    promised = [line for line in told.would_flip if "customer" in line]
    assert promised == [
        f"{begins}'gold' were known and fitted its rule, Offer vip by email could be sent.",
        f"{begins}“{SEGMENT}” held, Offer eu by email could be sent.",
    ]
    assert not any("refused" in line for line in words(desk, decide(desk, "unknown")).limits)
    desk.people.add("refusing", traits={"gold": True}, segments=("eu",))
    assert details(decide(desk, "refusing")).keys() == {"cart"}


def test_a_decision_recorded_before_refusals_were_told_replays_equal(desk: Desk) -> None:
    decision = decide(desk, "refusing")
    reader = DecisionReader(desk.database, desk.served)
    assert reader.replay(decision["decision_id"])["equal"]
    with desk.database.write() as connection:
        record = unsqueeze(connection.execute(decisions.select()).one().record, Parts(connection))
        record["v"] = 2
        record["verdicts"]["offers"]["vip"][0][1] = "the rule needs 'gold', which is not known of this customer"
        record["verdicts"]["offers"]["eu"][0][1] = f"does not hold: {SEGMENT}"
        connection.execute(decisions.update().values(record=zlib.compress(orjson.dumps(record))))
    told = reader.replay(decision["decision_id"])
    assert (told["equal"], told["differences"]) == (True, [])
    assert words(desk, decision).limits[0].startswith("The customer refused profiling: ")


def test_a_request_that_names_no_offers_is_told_so(desk: Desk) -> None:
    decider = desk.decider
    none = words(desk, decider.decide(DecisionIn(customer_id="unknown", channels=["email"], offers=[])))
    assert none.why_nothing == ("The request named no offers: its list of offers was empty.",)
    assert none.would_flip[0].startswith("A request that names offers could")
    other = words(desk, decider.decide(DecisionIn(customer_id="unknown", channels=["push"], offers=["a"])))
    assert other.why_nothing == ("None of the offers that the request named goes by the channels asked for.",)

"""What is said to change a decision does: each change is made, and it is decided again."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from models.send_time import SendTimeModel
from service.decisions.moments_store import note_moments
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, NextOffer, settings

GREEDY = {"explore_by": "epsilon_greedy", "epsilon": 0.0, "floor": 0.0, "fatigue_cost": 0.0}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database, settings(**GREEDY))
    made.people.add("c1")
    made.rows.add("c1")
    chances = {"a": 0.10, "b": 0.08, "dear": 0.02, "best": 0.5}
    made.served.models = {"next-offer": NextOffer(chances), "send-time": SendTimeModel.untrained()}
    made.put(a={}, b={"priority": 2.0, "cost": 0.9}, dear={"cost": 3.0})
    return made


def decide(desk: Desk, **request: Any) -> dict[str, Any]:
    return desk.decider.decide(DecisionIn(customer_id="c1", channels=["email"], **request))


def first_of(decision: dict[str, Any]) -> str | None:
    return decision["actions"][0]["offer_id"] if decision["actions"] else None


def flips(desk: Desk, decision: dict[str, Any]) -> tuple[str, ...]:
    return DecisionReader(desk.database, desk.served).explain(decision["decision_id"]).would_flip


def test_the_value_and_the_chance_that_are_told_are_just_enough(desk: Desk) -> None:
    decision = decide(desk)
    assert first_of(decision) == "a"
    told = next(line for line in flips(desk, decision) if line.startswith("Offer b by email would come first"))
    found = re.search(r"worth ([\d.]+) more at the same chance, or if its chance were ([\d.]+)%", told)
    assert found is not None
    more, chance = float(found[1]), float(found[2]) / 100
    for value, wins in ((10.0 + more, "b"), (10.0 + more - 0.02, "a")):
        desk.put(b={"priority": 2.0, "cost": 0.9, "value": value})
        assert first_of(decide(desk, dry_run=True)) == wins
    desk.put(b={"priority": 2.0, "cost": 0.9})
    for likely, wins in ((chance, "b"), (chance - 0.002, "a")):
        desk.served.models["next-offer"] = NextOffer({"a": 0.10, "b": likely}, version="4")
        assert first_of(decide(desk, dry_run=True)) == wins


def test_nothing_becomes_something_by_what_is_told(desk: Desk) -> None:
    decision = decide(desk, offers=["dear"])
    assert first_of(decision) is None
    told = flips(desk, decision)[0]
    found = re.match(r"Offer dear by email would be worth sending if an order of it were worth ([\d.]+) more", told)
    assert found is not None
    for more, sent in ((float(found[1]), "dear"), (float(found[1]) - 1.0, None)):
        desk.put(dear={"cost": 3.0, "value": 10.0 + more})
        assert first_of(decide(desk, offers=["dear"], dry_run=True)) == sent


def test_a_time_that_is_told_is_when_every_rule_lets_it(desk: Desk) -> None:
    """It starts in a day, while a pause after a purchase ends in three."""
    desk.settings = settings(**GREEDY, cool_downs=[{"after": "purchase", "days": 3}])
    desk.put(best={"starts_at": (NOON + timedelta(days=1)).isoformat()})
    with desk.database.write() as connection:
        note_moments(connection, [("c1", "purchase", "", round(NOON.timestamp() * 1e6))])
    told = flips(desk, decide(desk, offers=["best"]))
    assert told == (
        "From 2026-03-07 12:00 UTC on Offer best by email can be sent, and with the chances of then it would come "
        "first (5.00 against 0.00).",
    )
    then = datetime(2026, 3, 7, 12, tzinfo=UTC)
    for at, sent in ((then, "best"), (then - timedelta(seconds=1), None)):
        desk.clock.time = at
        assert first_of(decide(desk, offers=["best"], dry_run=True)) == sent


def test_the_minute_that_is_told_is_late_enough(desk: Desk) -> None:
    desk.put(best={"starts_at": (NOON + timedelta(hours=1, seconds=17)).isoformat()})
    told = flips(desk, decide(desk))[0]
    assert told.startswith("Decided from 2026-03-04 13:01 UTC on instead, Offer best by email could be sent")
    assert first_of(decide(desk, dry_run=True, at=datetime(2026, 3, 4, 13, 1, tzinfo=UTC))) == "best"


def test_the_fewest_conditions_that_open_an_offer_are_told(desk: Desk) -> None:
    desk.put(best={"eligibility": "customer.traits.plan == 'gold'", "channels": ["email", "sms"]})
    desk.people.add("c1", traits={"plan": "tin"}, consents={"email": {"marketing": False}})
    decision = desk.decider.decide(DecisionIn(customer_id="c1", channels=["email", "sms"], offers=["best"]))
    assert flips(desk, decision) == (
        "If “customer.traits.plan == 'gold'” held, Offer best by sms could be sent, and with the chances of then it "
        "would come first (5.00 against 0.00).",
    )
    words = DecisionReader(desk.database, desk.served).explain(decision["decision_id"])
    assert "Offer best: does not hold: customer.traits.plan == 'gold' (now: plan tin)." in words.why_not
    desk.people.add("c1", traits={"plan": "gold"}, consents={"email": {"marketing": False}})
    again = desk.decider.decide(DecisionIn(customer_id="c1", channels=["email", "sms"], offers=["best"]))
    assert (first_of(again), again["actions"][0]["channel"]) == ("best", "sms")


def test_a_change_that_would_not_be_enough_says_so(desk: Desk) -> None:
    desk.put(b={"eligibility": "context.page == 'cart'"})
    told = [line for line in flips(desk, decide(desk)) if "Offer b" in line]
    assert told == [
        "If 'page' were known and fitted its rule, Offer b by email could be sent; it would still not come first "
        "(0.80 against 1.00)."
    ]


def test_chance_is_told_where_it_decided(desk: Desk) -> None:
    desk.settings = settings(arms={"model": 0, "random": 1, "business_as_usual": 0, "holdout": 0})
    assert flips(desk, decide(desk))[0] == "Another draw would: in this arm each has the same chance."


def test_no_other_draw_is_promised_where_rules_stop_everything(desk: Desk) -> None:
    desk.settings = settings(arms={"model": 0, "random": 1, "business_as_usual": 0, "holdout": 0})
    desk.people.add("c1", consents={"email": {"marketing": False}, "sms": {"marketing": False}})
    told = flips(desk, decide(desk))
    assert told
    assert [line for line in told if "draw" in line] == []


def test_what_ends_before_it_may_go_is_not_promised(desk: Desk) -> None:
    desk.settings = settings(**GREEDY, cool_downs=[{"after": "purchase", "days": 3}])
    desk.put(best={"ends_at": (NOON + timedelta(days=2)).isoformat()})
    with desk.database.write() as connection:
        note_moments(connection, [("c1", "purchase", "", round(NOON.timestamp() * 1e6))])
    assert flips(desk, decide(desk, offers=["best"])) == ()


def test_what_may_go_by_then_too_is_weighed(desk: Desk) -> None:
    """An offer worth more starts earlier, and one that asks for the time is asked again at that time."""
    desk.settings = settings(**GREEDY, caps=[])
    starts, clock = (NOON + timedelta(days=2)).isoformat(), "now < timestamp('2026-03-05T12:00:00Z')"
    desk.put(best={"starts_at": (NOON + timedelta(days=1)).isoformat()}, b={"starts_at": starts}, a={"value": 1.0})
    desk.put(dear={"value": 500.0, "eligibility": clock})
    for offers, wins in ((["a", "b", "best"], "best"), (["b", "dear"], "b")):
        told = [line for line in flips(desk, decide(desk, offers=offers)) if "Offer b by" in line]
        assert told[0].startswith("Decided from 2026-03-06 12:00 UTC on instead, Offer b by email could be sent")
        assert ("would come first" in told[0]) == (wins == "b")
        desk.clock.time = NOON + timedelta(days=2)
        assert first_of(decide(desk, offers=offers, dry_run=True)) == wins
        desk.clock.time = NOON

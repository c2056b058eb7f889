from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import fsum
from typing import Any

import numpy as np
import pytest

from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.errors import Invalid
from service.settings import Cap, Settings
from service.telemetry import registry
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, NextOffer, row, settings


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database)
    made.people.add("c1", timezone="Europe/Paris", locale="fr")
    made.rows.add("c1", orders_90d=2.0)
    made.served.models["next-offer"] = NextOffer({"a": 0.1, "b": 0.3})
    return made


def ask(desk: Desk, customer: str = "c1", **request: Any) -> dict[str, Any]:
    return desk.decider.decide(DecisionIn(customer_id=customer, **request))


def record(desk: Desk, decision: dict[str, Any]) -> dict[str, Any]:
    return DecisionReader(desk.database, desk.served).read(decision["decision_id"])


def rules(decision: dict[str, Any]) -> set[tuple[str, str | None, str]]:
    return {(e["offer_id"], e["channel"], e["rule"]) for e in decision["excluded"]}


def test_a_decision_has_all_that_the_contract_names(desk: Desk) -> None:
    desk.put(a={}, b={})
    decision = ask(desk)
    assert decision["arm"] == "model"
    assert decision["policy"]["name"] == "default"
    assert decision["models"] == {"next-offer": "3"}
    assert decision["degraded"] == ["model:send-time"]
    assert [action["rank"] for action in decision["actions"]] == [1, 2, 3, 4]
    first = decision["actions"][0]
    assert first["content"]["locale"] == "fr"
    assert first["reasons"] == [{"feature": "orders_90d", "text": "ordered lately", "effect": 0.31}]
    assert first["probability"] in {0.2, 0.6}
    assert first["expected_value"] == pytest.approx(first["probability"] * 10 - 0.01)
    kept = record(desk, decision)
    assert kept["features"]["values"] == {"orders_90d": 2.0}
    assert fsum(candidate["propensity"] for candidate in kept["candidates"]) == pytest.approx(1.0, abs=1e-12)
    assert kept["candidates"][-1]["offer_id"] is None
    assert set(kept["candidates"][0]["verdicts"].values()) == {"pass"}
    assert kept["actions"][0]["propensity"] == first["propensity"]


def test_without_explanation_reasons_and_exclusions_are_left_out(desk: Desk) -> None:
    desk.put(a={}, b={"starts_at": "2030-01-01T00:00:00Z"})
    decision = ask(desk, explain=False)
    assert "excluded" not in decision
    assert "reasons" not in decision["actions"][0]


def test_a_dry_run_records_and_reserves_nothing(desk: Desk) -> None:
    desk.put(a={})
    for _ in range(5):
        assert ask(desk, dry_run=True)["actions"]
    assert DecisionReader(desk.database, desk.served).latest("c1", 10) == []


def test_consent_suppression_dates_channels_and_rules_exclude(desk: Desk) -> None:
    desk.people.add("c2", consents={"email": {"marketing": False}}, segments=("vip",))
    desk.rows.add("c2", orders_90d=0.0)
    desk.put(
        ended={"ends_at": (NOON - timedelta(days=1)).isoformat()},
        later={"starts_at": (NOON + timedelta(days=1)).isoformat()},
        buyers={"eligibility": "customer.features.orders_90d >= 1"},
        plain={"eligibility": "!('vip' in customer.segments)"},
        unknown={"eligibility": "customer.features.nosuch > 1"},
        push={"channels": ["push"]},
        fine={},
    )
    decision = ask(desk, "c2", channels=["email", "sms"])
    found = rules(decision)
    assert {(offer, "email", "consent") for offer in ("ended", "later", "buyers", "fine")} <= found
    assert ("ended", "sms", "ended") in found
    assert ("later", "sms", "not_started") in found
    assert ("buyers", "sms", "eligibility") in found
    assert ("plain", "sms", "eligibility") in found
    assert ("unknown", "sms", "eligibility") in found
    assert ("push", None, "offer_channel") in found
    assert {(action["offer_id"], action["channel"]) for action in decision["actions"]} <= {("fine", "sms")}
    kept = record(desk, decision)
    ended = next(c for c in kept["candidates"] if (c["offer_id"], c["channel"]) == ("ended", "email"))
    assert ended["verdicts"]["consent"] != "pass"
    assert ended["verdicts"]["ended"] != "pass"  # every rule's verdict, not only the first that fails


def test_unknown_consent_may_deny(desk: Desk) -> None:
    desk.settings = settings(consent={"when_unknown": "deny"})
    desk.people.add("c2", consents={"sms": {"marketing": True}})
    desk.put(a={})
    assert rules(ask(desk, "c2")) == {("a", "email", "consent")}


def test_profiling_opt_out_decides_without_anything_known(desk: Desk) -> None:
    desk.people.add("c2", profiling=False, traits={"plan": "gold"}, segments=("vip",), timezone="Asia/Tokyo")
    desk.rows.add("c2", orders_90d=5.0)
    desk.put(a={}, b={"eligibility": "customer.traits.plan == 'gold'"})
    decision = ask(desk, "c2")
    kept = record(desk, decision)
    assert "c2" not in desk.rows.asked
    assert kept["features"] is None
    assert kept["contextless"] == "profiling_opt_out"
    assert (kept["customer"]["traits"], kept["customer"]["segments"]) == ({}, [])
    assert kept["customer"]["timezone"] == "Asia/Tokyo"  # quiet hours are no profiling
    assert ("b", "email", "eligibility") in rules(decision)
    assert all(action["probability"] == 0.1 for action in decision["actions"])


def test_a_frequency_cap_names_count_and_until(desk: Desk) -> None:
    desk.put(a={}, b={})
    taken = [ask(desk) for _ in range(30)]
    assert sum(1 for decision in taken if decision["actions"]) == 2
    verdict = taken[-1]["excluded"][0]
    assert (verdict["rule"], verdict["detail"]) == ("frequency_cap", "2 of 2 messages in 7 days")
    assert verdict["until"] == NOON + timedelta(hours=48)  # nothing was delivered: the reservations come back
    desk.clock.forward(hours=48)
    assert any(ask(desk)["actions"] for _ in range(10))


def test_offer_caps_and_budgets(desk: Desk) -> None:
    desk.settings = Settings.model_validate({**settings().model_dump(), "decisions": {"caps": []}})
    desk.put(
        once={"caps": [{"max": 1, "per_days": 7}], "channels": ["email"]},
        scarce={"caps": [{"max": 2, "per_days": 1, "per": "everyone"}], "channels": ["sms"]},
        costly={"budget": {"amount": 1.0, "per_days": 1}, "cost": 0.4, "channels": ["push"]},
    )
    desk.served.models["next-offer"] = NextOffer({"once": 0.9, "scarce": 0.9, "costly": 0.9})
    for customer in ("c1", "c3", "c4"):
        for _ in range(12):
            ask(desk, customer)
    assert rules(ask(desk, "c1")) >= {("once", "email", "offer_cap")}
    assert rules(ask(desk, "c9")) >= {("scarce", "sms", "offer_cap"), ("costly", "push", "budget")}
    detail = next(e for e in ask(desk, "c9")["excluded"] if e["offer_id"] == "costly")
    assert detail["detail"] == "0.80 of 1.00 spent in 1 day"
    assert detail["until"] == NOON + timedelta(days=1)


def test_messages_wait_for_the_morning_and_the_web_does_not(desk: Desk) -> None:
    desk.put(a={"channels": ["email", "web"]})
    desk.clock.time = datetime(2026, 3, 4, 23, 30, tzinfo=UTC)  # 00:30 in Paris
    times = {a["channel"]: a["send_at"] for a in ask(desk, "c1", top_k=10)["actions"]}
    assert times["email"] == datetime(2026, 3, 5, 7, tzinfo=UTC)
    assert times["web"] == desk.clock.time
    desk.put(a={"channels": ["email"], "ends_at": datetime(2026, 3, 5, 7, 30, tzinfo=UTC).isoformat()})
    assert rules(ask(desk, "c1")) == set()
    assert rules(ask(desk, "c3")) == {("a", "email", "ended")}  # in UTC the morning comes after its end


def test_an_unknown_zone_is_named_and_the_default_used(desk: Desk) -> None:
    desk.put(a={"channels": ["email"]})
    desk.people.add("c2", timezone="Mars/Olympus")
    assert "unknown_timezone" in ask(desk, "c2")["degraded"]
    desk.people.add("c3")
    assert "unknown_timezone" not in ask(desk, "c3")["degraded"]
    desk.people.add("c4", traits={"timezone": "Nope/Zone"})  # as events give it: what is none is not taken for one
    assert "unknown_timezone" in ask(desk, "c4")["degraded"]


def test_cold_start_and_the_ladder(desk: Desk) -> None:
    desk.put(a={}, b={"name": "wordless"})
    cold = ask(desk, "nobody")
    assert cold["degraded"][0] == "unknown_customer"
    assert cold["actions"]
    desk.people.add("c2")
    assert "features" in ask(desk, "c2")["degraded"]
    desk.rows.broken = True
    assert "features" in ask(desk, "c1")["degraded"]
    desk.rows.broken = False
    desk.served.models["next-offer"] = NextOffer({}, broken=True)
    fallen = ask(desk, "c5", offers=["b"])
    assert {"model:next-offer", "content"} <= set(fallen["degraded"])
    assert fallen["models"] == {}
    assert fallen["actions"][0]["content"] is None
    assert fallen["actions"][0]["probability"] == pytest.approx(0.05)
    assert fallen["actions"][0]["reasons"][0]["feature"] == "response_rate"


def test_a_message_that_costs_more_than_it_earns_is_not_sent(desk: Desk) -> None:
    desk.put(a={"value": 1.0, "cost": 5.0})
    assert ask(desk)["actions"] == []


@dataclass
class Uplift:
    """Contact causes a fixed share of the conversions."""

    share: float
    serves: bool = True
    version: str = "2"

    def caused(self, rows: Sequence[Any]) -> np.ndarray:
        return np.full(len(rows), self.share)


@pytest.mark.parametrize(("share", "expected"), [(0.5, 0.5), (-0.2, -0.2), (float("nan"), 1.0)])
def test_what_contact_causes_stands_for_the_probability(desk: Desk, share: float, expected: float) -> None:
    desk.settings = settings(fatigue_cost=0.0)
    desk.put(a={"value": 10.0, "cost": 0.0})
    plain = record(desk, ask(desk, "c1", placement="email.spring"))
    desk.served.models["uplift-email.spring"] = Uplift(share)
    decided = ask(desk, "c1", placement="email.spring")
    found = record(desk, decided)
    worth = {one["offer_id"]: one["expected_value"] for one in found["candidates"] if one["channel"] == "email"}
    before = {one["offer_id"]: one["expected_value"] for one in plain["candidates"] if one["channel"] == "email"}
    assert worth["a"] == pytest.approx(expected * before["a"])
    assert bool(decided["actions"]) == (expected > 0)
    assert ("model:uplift" in decided["degraded"]) == (share != share)
    assert ("uplift-email.spring" in decided["models"]) == (share == share)
    assert DecisionReader(desk.database, desk.served).replay(decided["decision_id"])["equal"]


def test_uplift_of_another_placement_or_of_other_columns_counts_nothing(desk: Desk) -> None:
    desk.put(a={"value": 10.0})
    desk.served.models |= {"uplift-elsewhere": Uplift(-1.0), "uplift-email.spring": Uplift(-1.0, serves=False)}
    assert record(desk, ask(desk, placement="email.spring"))["uplift"] is None


def test_fatigue_grows_with_what_was_sent_and_spares_the_web(desk: Desk) -> None:
    caps = [Cap(channel=None, max=99, per_days=7)]
    desk.settings = settings(fatigue_cost=0.5, caps=caps)
    desk.put(a={"channels": ["email", "web"]})
    first = {a["channel"]: a["expected_value"] for a in ask(desk)["actions"]}
    assert first["email"] == pytest.approx(2.0 - 0.5)
    assert first["web"] == pytest.approx(2.0)


def test_arms(desk: Desk) -> None:
    desk.put(a={"priority": 2.0}, b={})
    arms = {"model": 0.25, "random": 0.25, "business_as_usual": 0.25, "holdout": 0.25}
    desk.settings = settings(arms=arms, business_as_usual="b")
    seen: dict[str, dict[str, Any]] = {}
    for n in range(60):
        decision = ask(desk, f"x{n}")
        seen.setdefault(decision["arm"], decision)
    assert set(seen) == set(arms)
    assert seen["holdout"]["actions"] == []
    usual = seen["business_as_usual"]["actions"]
    assert [(action["offer_id"], action["propensity"]) for action in usual] == [("b", 1.0)]
    chance = record(desk, seen["random"])
    assert {c["propensity"] for c in chance["candidates"]} == {0.2}


@pytest.mark.parametrize(
    ("named", "channels", "sent"),
    [
        (None, None, ("b", "email")),  # the highest priority, by the order of the catalogue
        (None, ["sms", "email"], ("b", "sms")),
        ("d", ["sms", "email"], ("d", "sms")),
        ("closed", None, None),
        ("nosuch", None, None),
    ],
)
def test_business_as_usual_is_the_named_offer_or_the_highest_priority(
    desk: Desk, named: str | None, channels: list[str] | None, sent: tuple[str, str] | None
) -> None:
    closed = {"priority": 9.0, "ends_at": "2020-01-01T00:00:00Z"}
    desk.put(a={"value": 99.0}, b={"priority": 3.0}, c={"priority": 3.0}, closed=closed, d={"priority": 2.0})
    arms = {"model": 0, "random": 0, "business_as_usual": 1, "holdout": 0}
    desk.settings = settings(arms=arms, business_as_usual=named)
    actions = ask(desk, channels=channels)["actions"]
    assert [(one["offer_id"], one["channel"], one["propensity"]) for one in actions] == ([(*sent, 1.0)] if sent else [])


def test_no_offers_gives_a_decision_to_send_nothing(desk: Desk) -> None:
    decision = ask(desk)
    assert decision["actions"] == []
    kept = record(desk, decision)
    assert [(c["offer_id"], c["propensity"], c["rank"]) for c in kept["candidates"]] == [(None, 1.0, 1)]
    desk.put(a={})
    assert ask(desk, offers=[])["actions"] == []


def test_an_unknown_offer_is_named(desk: Desk) -> None:
    desk.put(a={})
    with pytest.raises(Invalid) as fault:
        ask(desk, offers=["a", "nosuch"])
    assert fault.value.errors[0].field == "offers[1]"
    with pytest.raises(Invalid) as fault:
        desk.decider.decide_many([DecisionIn(customer_id="c1"), DecisionIn(customer_id="c1", offers=["x"])])
    assert fault.value.errors[0].field == "requests[1].offers[0]"


def test_a_batch_sees_what_it_has_itself_reserved(desk: Desk) -> None:
    desk.put(a={}, b={})
    batch = desk.decider.decide_many([DecisionIn(customer_id="c1") for _ in range(250)])
    assert sum(1 for decision in batch if decision["actions"]) == 2
    assert len({decision["decision_id"] for decision in batch}) == 250


def test_as_of_another_time_the_caps_are_those_of_then(desk: Desk) -> None:
    desk.put(a={}, b={})
    while ask(desk)["actions"]:
        pass
    before = NOON - timedelta(days=1)
    assert any(ask(desk, at=before, dry_run=True)["actions"] for _ in range(10))
    after = NOON + timedelta(days=3)
    assert any(ask(desk, at=after, dry_run=True)["actions"] for _ in range(10))
    assert ask(desk, at=after, dry_run=True)["decided_at"] == after


def test_many_offers_do_not_fall_over(desk: Desk) -> None:
    desk.put(**{f"o{n:05}": {"category": f"c{n % 50}", "value": float(n % 97)} for n in range(3_000)})
    desk.rows.rows["c1"] = row("c1", affinity={"c3": (2.0, 3.0, 5.0)}, orders_90d=1.0)
    decision = ask(desk, top_k=100)
    assert 1 <= len(decision["actions"]) <= 100
    assert len(record(desk, decision)["candidates"]) == 601


def test_scores_are_computed_only_where_a_rule_asks(desk: Desk) -> None:
    class Churn:
        version = "5"

        def score(self, _: Any) -> Any:
            return type("Score", (), {"probability": 0.7})

    desk.served.models["churn"] = Churn()
    desk.put(a={})
    assert "churn" not in ask(desk)["models"]
    desk.put(a={"eligibility": "customer.scores.churn > 0.5"})
    decision = ask(desk)
    assert decision["models"]["churn"] == "5"
    assert rules(decision) == set()


def test_a_key_is_decided_once(desk: Desk) -> None:
    desk.put(a={}, b={})
    requests = [DecisionIn(customer_id="c1"), DecisionIn(customer_id="c3")]
    first = desk.decider.decide_many(requests, keys=["visit 1", "visit 2"])
    again = desk.decider.decide_many([*requests, DecisionIn(customer_id="c4")], keys=["visit 1", "visit 2", "visit 3"])
    for one, two in zip(first, again, strict=False):
        assert {**one, "excluded": None} == {**two, "excluded": None}
    assert again[2]["customer_id"] == "c4"
    assert len(DecisionReader(desk.database, desk.served).latest("c1", 10)) == 1


def test_decisions_and_what_they_do_without_are_counted(desk: Desk) -> None:
    desk.put(a={})

    def counted(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    before = counted("opportune_decisions_total", arm="model")
    strangers = counted("opportune_degraded_total", part="unknown_customer")
    ask(desk, "nobody")
    ask(desk, "nobody", dry_run=True)
    assert counted("opportune_decisions_total", arm="model") == before + 1
    assert counted("opportune_degraded_total", part="unknown_customer") == strangers + 1

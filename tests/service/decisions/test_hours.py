"""Hours that are drawn: how often, which, and that the probability told is the one drawn with."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from fractions import Fraction
from typing import Any

import pytest

from models.send_time import SendTimeModel
from service.decisions.decision_store import every_decision
from service.decisions.export_decisions import _decisions
from service.decisions.hours import Planned, plan_hour
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, NextOffer, settings

HOURS = [NOON + timedelta(hours=n) for n in (3, 1, 2, 5, 4)]


def test_the_share_told_is_the_share_drawn_of_every_hour() -> None:
    drawn: Counter[Planned | None] = Counter()
    for n in range(1000):
        drawn[plan_hour(lambda k: HOURS[:k], 0.2, (n + 0.5) / 1000)] += 1
    assert {planned.at for planned in drawn if planned} == set(HOURS)
    for planned, times in drawn.items():
        assert planned is not None
        assert Fraction(times, 1000) == Fraction(planned.probability).limit_denominator(1000)


@pytest.mark.parametrize("number", [0.0, 0.199999, 0.2, 0.999])
def test_one_hour_is_certain_and_none_is_none(number: float) -> None:
    assert plan_hour(lambda k: HOURS[:1], 0.2, number) == Planned(HOURS[0], 1.0)
    assert plan_hour(lambda k: [], 0.2, number) is None
    assert plan_hour(lambda k: HOURS[:k], 0.0, number) == Planned(HOURS[0], 1.0)


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database, settings(explore_hours=0.3))
    made.people.add("c1", timezone="Europe/Paris")
    made.rows.add("c1", orders_90d=2.0)
    made.put(a={"channels": ["email", "web"]})
    return made


@pytest.mark.parametrize("trained", [True, False])
def test_a_decision_explores_allowed_hours_and_logs_with_which_probability(desk: Desk, trained: bool) -> None:
    desk.served.models = {"next-offer": NextOffer({"a": 0.1})}
    if trained:
        desk.served.models["send-time"] = SendTimeModel.untrained()
    told = [desk.decider.decide(DecisionIn(customer_id=f"x{n}")) for n in range(120)]
    actions = [{a["channel"]: a for a in one["actions"]} for one in told]
    emails = [by["email"] for by in actions]
    best = Counter(a["send_at"] for a in emails).most_common(1)[0][0]
    other = [a for a in emails if a["send_at"] != best]
    assert 15 <= len(other) <= 60
    assert all(a["send_at_probability"] == 0.7 for a in emails if a["send_at"] == best)
    assert len({a["send_at"] for a in other}) > 5
    assert all(0.3 / 72 <= a["send_at_probability"] <= 0.3 / 30 for a in other)
    assert all(NOON <= a["send_at"] < NOON + timedelta(hours=72) and 8 <= a["send_at"].hour < 21 for a in other)
    assert all(by["web"]["send_at_probability"] == 1.0 for by in actions)
    reader = DecisionReader(desk.database, desk.served)
    for one in told[:20]:
        assert reader.replay(one["decision_id"])["equal"]
    with desk.database.read() as connection:
        rows = [line for some in every_decision(connection) for line in _decisions(connection, some, []).to_dicts()]
    logged = {(row["decision_id"], row["channel"]): row["send_at_probability"] for row in rows if row["offer_id"]}
    assert logged[told[3]["decision_id"], "email"] == emails[3]["send_at_probability"]
    assert reader.read(told[3]["decision_id"])["actions"][0]["send_at_probability"] is not None

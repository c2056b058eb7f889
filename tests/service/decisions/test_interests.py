"""What is personal where no model is trained: what the customer bought and looked at, and when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from features.customer_row import CustomerRow
from features.products import ProductOrders, product_key
from models.send_time import SendTimeModel
from service.decisions.alike import Alike
from service.decisions.interests import Interests, interests, moved
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.offers.catalogue import CatalogueCache
from service.offers.offer import Offer
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, row, settings

NEVER = float("nan")
OFFERS: dict[str, dict[str, Any]] = {
    "tea": {"name": "A fifth off green tea", "category": "tea"},
    "pots": {"name": "Pots to brew tea in", "category": "kitchen"},
    "own": {"name": "Those that you know", "product_ids": ["p1", "p2"]},
    "shoes": {"name": "Shoes for the rain", "category": "shoes"},
}


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database)
    made.settings = settings(caps=[])
    made.put(**{name: {"channels": ["email"], **offer} for name, offer in OFFERS.items()})
    return made


def offers_of(desk: Desk) -> tuple[tuple[Offer, ...], Alike]:
    with desk.database.read() as connection:
        catalogue = CatalogueCache().current(connection)
    return catalogue.offers, Alike(catalogue.by_id)


def of(desk: Desk, customer: CustomerRow | None) -> dict[str, float]:
    """The factor of each offer."""
    offers, alike = offers_of(desk)
    found = interests(customer, offers, alike)
    assert isinstance(found, Interests)
    return dict(zip((offer.offer_id for offer in offers), found.factor.tolist(), strict=True))


def likes(orders: dict[str, float] | None = None, looks: dict[str, int] | None = None) -> CustomerRow:
    bought = {name: (count, count, NEVER) for name, count in (orders or {}).items()}
    return replace(row("c1", affinity=bought, orders_365d=1.0), views=looks or {}, response_hours={})


def decide(desk: Desk, customer: str = "c1", **request: Any) -> dict[str, Any]:
    return desk.decider.decide(DecisionIn(customer_id=customer, **request))


def test_who_bought_of_a_category_takes_what_is_of_it_or_about_it(desk: Desk) -> None:
    found = of(desk, likes({"tea": 4.0}))
    assert found["tea"] > 1.0 > found["pots"] > found["shoes"] == found["own"]
    more = of(desk, likes({"tea": 40.0}))
    assert more["tea"] > found["tea"]
    looked = of(desk, likes(looks={"tea": 4}))
    assert found["tea"] > looked["tea"] > 1.0  # a look says less than an order


def test_products_that_were_bought_speak_for_offers_that_name_them(desk: Desk) -> None:
    bought = ProductOrders(np.sort(np.array([product_key("p1"), product_key("other")])), np.array([3, 3]))
    found = of(desk, replace(likes(), products=bought))
    assert found["own"] > 1.0 > found["tea"] == found["shoes"]


@pytest.mark.filterwarnings("error")
def test_products_without_a_category_are_a_reason_too(desk: Desk) -> None:
    bought = ProductOrders(np.array([product_key("p1")]), np.array([3]))
    offers, alike = offers_of(desk)
    found = interests(replace(likes(), products=bought), offers, alike)
    assert found is not None
    told = found.reason([offer.offer_id for offer in offers].index("own"))
    assert told is not None
    assert told["text"] == "100% of what this customer bought or looked at is what this offer is about"


def test_of_whom_nothing_is_known_all_offers_do_alike(desk: Desk) -> None:
    assert set(of(desk, likes()).values()) == {1.0}
    offers, alike = offers_of(desk)
    assert interests(None, offers, alike) is None
    assert interests(likes({"tea": 4.0}), offers, None) is None
    assert interests(likes({"tea": 4.0}), (), alike) is None


@given(st.lists(st.tuples(st.floats(1e-6, 1.0), st.floats(1e-3, 1e3)), max_size=5))
@example([(1.0, 1e-3), (1.0 - 2.0**-53, 1e3), (0.999, 1e3)])
def test_moved_rates_are_probabilities_with_their_odds_multiplied(told: list[tuple[float, float]]) -> None:
    rates, factors = [rate for rate, _ in told], [factor for _, factor in told]
    for rate, factor, now in zip(rates, factors, moved(rates, factors), strict=True):
        assert 0.0 < now <= 1.0
        if rate <= 0.999:  # nearer to 1 the odds of a rounded chance say nothing
            assert now / (1 - now) == pytest.approx(factor * rate / (1 - rate), rel=1e-6)


def test_without_a_model_the_customer_decides_and_is_told_why(desk: Desk) -> None:
    desk.people.add("c1")
    desk.rows.rows["c1"] = likes({"tea": 6.0, "shoes": 1.0}, {"tea": 5})
    decision = decide(desk, top_k=4)
    assert "model:next-offer" in decision["degraded"]
    first, last = decision["actions"][0], decision["actions"][-1]
    assert (first["offer_id"], last["offer_id"]) == ("tea", "own")
    assert first["probability"] > 0.05 > last["probability"]
    assert [reason["feature"] for reason in first["reasons"]] == ["interest", "response_rate"]
    assert first["reasons"][0]["text"] == "88% of what this customer bought or looked at is what this offer is about"
    assert [reason["feature"] for reason in last["reasons"]] == ["response_rate"]
    reader = DecisionReader(desk.database, desk.served)
    assert reader.replay(decision["decision_id"])["equal"]


def test_who_may_not_be_profiled_gets_what_works_for_everyone(desk: Desk) -> None:
    desk.people.add("c1", profiling=False)
    desk.rows.rows["c1"] = likes({"tea": 60.0})
    assert {action["probability"] for action in decide(desk, top_k=4)["actions"]} == {0.05}


def busy(hour: int, orders: float = 20.0) -> CustomerRow:
    """Somebody who orders on every day at a local hour."""
    hours = np.zeros(168)
    hours[hour::24] = orders / 7
    return replace(likes(), order_hours=hours)


def test_without_a_model_of_hours_the_customers_own_habits_choose(desk: Desk) -> None:
    desk.people.add("c1", timezone="UTC")
    desk.rows.rows["c1"] = busy(19)
    decision = decide(desk)
    assert "model:send-time" in decision["degraded"]
    assert decision["models"]["send-time"] == "untrained"
    assert {action["send_at"].hour for action in decision["actions"]} <= {18, 19}
    assert NOON < decision["actions"][0]["send_at"] <= NOON + timedelta(hours=72)
    visits = np.zeros(168)
    visits[19::24] = 10.0
    desk.rows.rows["c1"] = replace(busy(0, 0.0), visit_hours=visits)
    assert decide(desk)["actions"][0]["send_at"].hour in {18, 19}


def test_of_whose_habits_little_is_known_messages_go_when_they_may(desk: Desk) -> None:
    desk.people.add("c1", timezone="UTC")
    desk.rows.rows["c1"] = busy(19, orders=4.0)
    decision = decide(desk)
    assert decision["actions"][0]["send_at"] == NOON
    assert "model:send-time" in decision["degraded"]
    assert "send-time" not in decision["models"]


def test_hours_by_habits_replay_equal_whatever_serves_later(desk: Desk) -> None:
    desk.people.add("c1", timezone="UTC")
    desk.rows.rows["c1"] = busy(19)
    by_habits = decide(desk)["decision_id"]
    desk.rows.rows["c1"] = busy(19, orders=4.0)
    by_none = decide(desk)["decision_id"]
    reader = DecisionReader(desk.database, desk.served)
    for served in ({}, {"send-time": replace(SendTimeModel.untrained(), version="8")}):
        desk.served.models = served
        told = reader.replay(by_habits)
        assert (told["equal"], "send_at" in told["decided_again"]) == (True, True)
    assert reader.replay(by_none)["from_record"][-1] == "send_at"  # a model serves now that did not then
    desk.served.models = {}
    told = reader.replay(by_none)
    assert (told["equal"], "send_at" in told["decided_again"]) == (True, True)


def test_records_of_before_habits_stood_in_replay_as_then(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.people.add("c1", timezone="UTC")
    desk.rows.rows["c1"] = busy(19)
    with monkeypatch.context() as before:
        before.setattr("service.decisions.send_hours.has_habits", lambda row: False)
        decision = decide(desk)
    assert decision["actions"][0]["send_at"] == NOON == datetime(2026, 3, 4, 12, tzinfo=UTC)
    told = DecisionReader(desk.database, desk.served).replay(decision["decision_id"])
    assert (told["equal"], "send_at" in told["decided_again"]) == (True, True)

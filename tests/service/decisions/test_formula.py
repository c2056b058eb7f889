"""What a page says of an action's worth adds up to the worth that it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.decisions.formula import formula
from service.decisions.money import money
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import Desk, NextOffer, settings

SURE: dict[str, Any] = {"exploration": 1e12, "floor": 0.0, "fatigue_cost": 0.02}
ORDER = "a chance of 25% that it leads to an order, times its value (10.00)"
PATIENCE = "less what one more message costs in patience (0.02)"
CLICKS = ", plus a chance of 5% of a click, times 0.40"


@pytest.mark.parametrize(
    ("offer", "goals", "worth", "said"),
    [
        ({"channels": ["email"]}, {}, 2.48, f"{ORDER}, {PATIENCE}"),
        ({"channels": ["web"]}, {}, 2.5, ORDER),
        (
            {"channels": ["web"], "cost": 0.5, "priority": 2.0},
            {},
            4.0,
            f"{ORDER}, less its cost (0.50), all that times its priority (2)",
        ),
        (
            {"channels": ["email"], "cost": 0.5},
            {"conversion": 0.5, "click": 0.4},
            0.75,
            f"{ORDER} and the weight of orders (0.5){CLICKS}, less its cost (0.50) and "
            "what one more message costs in patience (0.02)",
        ),
    ],
)
def test_every_figure_is_told(
    tmp_path: Path, offer: dict[str, Any], goals: dict[str, float], worth: float, said: str
) -> None:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database, settings(goals=goals, **SURE))
    desk.put(a=offer)
    desk.served.models["next-offer"] = NextOffer({"a": 0.25})
    decision = desk.decider.decide(DecisionIn(customer_id="c1"))["decision_id"]
    desk.put(a={"value": 99.0})  # what it was worth then is told
    told = DecisionReader(desk.database, desk.served).explain(decision)
    assert told.why[1] == f"It is expected to earn {worth:.2f}: {said}."
    database.close()


@pytest.mark.parametrize(
    ("value", "told"), [(-0.0, "0.00"), (-0.00001, "0.0000"), (-0.0051, "-0.0051"), (-3e6, "-3,000,000.00")]
)
def test_no_amount_is_minus_zero(value: float, told: str) -> None:
    assert money(value) == told


def test_uplift_stands_for_the_chance_and_an_offer_that_is_gone_has_no_figures() -> None:
    weighed = [{"offer_id": "a", "channel": "web", "probability": 0.25}]
    record = {
        "terms": {"offers": {"a": {"value": 10.0, "cost": 0.0, "priority": 1.0}}, "patience": {"web": 0.0}},
        "policy": {"rules": {}},
        "uplift": [0.1],
    }
    raised = "the 10% by which sending raises the chance of an order, times its value (10.00)"
    assert formula(record, weighed, 0) == raised
    record["terms"] = {"offers": {}, "patience": {"web": 0.0}}
    assert formula(record, weighed, 0) == "what its offer was worth then is not known any more"

"""The model card says all that the declaration says."""

from __future__ import annotations

from models.declared import declared
from models.send_time import SendTimeModel
from training.card import propensity_card
from training.gate import Findings, Verdict
from training.send_time_report import card


def test_a_declared_goal_exclusions_and_purpose_are_on_the_card() -> None:
    declaration = declared(
        {
            "name": "upgrade",
            "purpose": "Shown to people.",
            "population": ["tenure_days >= 14"],
            "exclusions": ["complaints_365d > 0"],
            "goal": {"event": "Plan Upgraded", "where": "properties.plan = 'pro'"},
            "horizon_days": 30,
            "attribution_days": 7,
        },
        "test",
    )
    card = propensity_card(declaration, {}, {}, "promoted", (), [("segment vip", 9, 0.5, 0.25)], ["a note"])
    goal = "has the event 'Plan Upgraded' where `properties.plan = 'pro'` within 7 days of a delivered message."
    for part in ("within 30 days, the customer " + goal, "- `tenure_days >= 14`", "- not `complaints_365d > 0`",
                 "Shown to people.", "| segment vip | 9 | 0.500 | 0.250 |", "- a note"):  # fmt: skip
        assert part in card


def test_the_card_of_hours_says_who_is_not_scored() -> None:
    told = card(
        SendTimeModel.untrained(), Findings({}, {"overall_best_hours": {}}, Verdict(False, "refused")), {"customers": 3}
    )
    assert "## Who is scored\nEverybody who may be profiled. Who may not gets everybody's hours" in told

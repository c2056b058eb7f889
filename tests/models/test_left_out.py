"""Why a customer is left out, in words: with values, without them, and where the words are wrong."""

from __future__ import annotations

import pytest

from models.declaration import Declaration
from models.left_out import check_sentence, filled


@pytest.mark.parametrize(
    ("template", "value", "said"),
    [
        ("has {orders_90d:.0f} orders", 3.0, "has 3 orders"),
        ("is new: has {orders_90d:.0f} orders", float("nan"), "is new"),
        ("has {orders_90d:.0f} orders", float("nan"), None),
        ("has {orders_90d} orders", float("inf"), None),
        ("has {{no}} orders", 1.0, "has {no} orders"),
        ("last order {orders_90d:.0f} days ago", 1.0, "last order 1 day ago"),
    ],
)
def test_a_sentence_is_filled_as_far_as_is_known(template: str, value: float, said: str | None) -> None:
    check_sentence(template)
    assert filled(template, {"orders_90d": value}) == said


@pytest.mark.parametrize(
    "wrong", ["has {orders_90d:%Q} and {", "has {", "has {nothing}", "has {}", "has {orders_90d.x}"]
)
def test_a_wrong_sentence_of_a_registered_version_falls_back_to_the_condition(wrong: str) -> None:
    with pytest.raises(ValueError, match="otherwise"):
        check_sentence(wrong)
    made = Declaration.from_dict(
        {
            "name": "upgrade",
            "population": [["orders_90d >= 1", wrong]],
            "goal": {"event": "Plan Upgraded"},
            "horizon_days": 30,
            "baseline": "orders_90d",
        }
    )
    assert made.why_not({"orders_90d": 0.0}) == "orders_90d >= 1"

"""Reasons: strongest first, said once, silent about what is not known."""

from __future__ import annotations

import pytest

from features.catalogue import FEATURES
from models.reasons import one_of_many, sentence, strongest

NAN = float("nan")
VALUES = {"days_since_last_order": 41.0, "order_gap_mean_days": 20.0, "orders_90d": 3.0, "orders_30d": NAN}


def test_strongest_come_first() -> None:
    names = ("orders_90d", "days_since_last_order", "orders_30d")
    found = strongest(names, [0.1, -0.6, 2.0], VALUES, n=2)
    assert [(reason.feature, reason.effect) for reason in found] == [
        ("days_since_last_order", -0.6),
        ("orders_90d", 0.1),
    ]
    assert found[0].text == "last order 41 days ago, usually every 20"


def test_what_has_no_effect_or_no_value_is_no_reason() -> None:
    assert strongest(("orders_90d", "orders_30d", "unheard_of"), [0.0, 1.0, 1.0], VALUES) == ()


def test_what_has_no_sentence_is_no_reason() -> None:
    """In one zone the offset from UTC says only whether it was summer then."""
    values = {**VALUES, "utc_offset_hours": -4.0}
    found = strongest(("utc_offset_hours", "orders_90d"), [-2.0, 0.1], values)
    assert [reason.feature for reason in found] == ["orders_90d"]


def test_one_sentence_is_said_once_with_both_effects() -> None:
    names = ("current_gap_ratio", "orders_90d", "days_since_last_order")
    found = strongest(names, [0.2, 0.4, 0.3], VALUES | {"current_gap_ratio": 2.05})
    assert [(reason.feature, reason.effect) for reason in found] == [
        ("days_since_last_order", 0.5),
        ("orders_90d", 0.4),
    ]


def test_a_sentence_keeps_the_part_that_is_known() -> None:
    assert sentence("days_since_last_order", VALUES | {"order_gap_mean_days": NAN}) == "last order 41 days ago"
    assert sentence("days_since_last_order", VALUES | {"days_since_last_order": NAN}) is None


@pytest.mark.parametrize(
    ("many", "one"),
    [
        ("last order 1 days ago, usually every 1", "last order 1 day ago, usually every 1"),
        ("covers 1 categories", "covers 1 category"),
        ("1 sms clicks in the last 90 days", "1 sms click in the last 90 days"),
        ("redeemed 1 coupons after 1 messages", "redeemed 1 coupon after 1 message"),
        ("21 days and 0.1 times their pace", "21 days and 0.1 times their pace"),
        ("1 opens and clicks of any kind", "1 opens and clicks of any kind"),
        ("around 1 o'clock", "around 1 o'clock"),
    ],
)
def test_one_is_told_in_the_singular(many: str, one: str) -> None:
    assert one_of_many(many) == one


SILENT = ["utc_offset_hours"]


def test_only_these_features_are_never_reasons() -> None:
    assert [one.name for one in FEATURES if not one.sentence] == SILENT


@pytest.mark.parametrize(
    "feature", [one for one in FEATURES if one.name not in SILENT], ids=lambda feature: feature.name
)
def test_every_feature_of_the_catalogue_can_be_said(feature: object) -> None:
    values = {one.name: 3.0 for one in FEATURES}
    text = sentence(feature.name, values)  # type: ignore[attr-defined]
    assert text
    assert "{" not in text

"""How much of an order a refund gives back, and what is left of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from features.currencies import CURRENCIES
from service.customers.refund import given_back, refund_from, share_left


def event(**told: Any) -> dict[str, Any]:
    head = {"type": "track", "event": "Order Refunded", "message_id": "m", "customer_id": "c", "order_id": "o1"}
    money = {"revenue_cents": None, "currency": CURRENCIES.home, "products": None}
    return {**head, **money, "timestamp": datetime(2026, 3, 4, tzinfo=UTC), **told}


LINES = [{"product_id": "p1"}]


@pytest.mark.parametrize(
    ("told", "value", "before", "expected"),
    [
        ({"revenue_cents": 4200}, 4200, 0, (4200, True)),
        ({"revenue_cents": -4200}, 4200, 0, (4200, True)),
        ({"revenue_cents": 4199}, 4200, 0, (4199, False)),
        ({"revenue_cents": 1000}, 4200, 3200, (1000, True)),
        ({}, 4200, 1200, (3000, True)),
        ({}, None, 0, (None, True)),
        ({"products": LINES}, 4200, 0, (None, False)),
        ({"revenue_cents": 4200}, None, 0, (4200, False)),
        ({"revenue_cents": 4200, "currency": "XXX"}, 4200, 0, (None, False)),
    ],
)
def test_how_much_a_refund_gives_back(
    told: dict[str, Any], value: int | None, before: int, expected: tuple[int | None, bool]
) -> None:
    refund = refund_from(event(**told))
    assert refund is not None
    assert given_back(refund, value, before) == expected


def test_what_names_no_order_or_is_no_refund_is_none() -> None:
    assert refund_from(event(order_id=None)) is None
    assert refund_from(event(event="Order Completed")) is None
    assert refund_from(event(type="page")) is None


@pytest.mark.parametrize(
    ("refunds", "worth", "left"),
    [
        ([], 4000, 1.0), ([{"revenue_cents": 1000}], 4000, 0.75), ([{"revenue_cents": 1000}] * 2, 4000, 0.5),
        ([{"revenue_cents": 3000}] * 2, 4000, None), ([{}], None, None), ([{"revenue_cents": 1000}], None, 1.0),
        ([{"revenue_cents": 1000}], 0, None), ([{"products": LINES}], 4000, 1.0),
    ],
)  # fmt: skip
def test_what_is_left_of_an_order(refunds: list[dict[str, Any]], worth: int | None, left: float | None) -> None:
    given = [refund for told in refunds if (refund := refund_from(event(**told))) is not None]
    assert share_left(given, worth) == left

"""What a customer gave back of an order. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from features.currencies import CURRENCIES
from features.vocabulary import NAMES


@dataclass(frozen=True, slots=True)
class Refund:
    """An `Order Refunded`. `cents`: of the home currency, None where it is not told or has no rate; `whole`: it tells
    neither an amount nor products, so it is of all that is left.
    """

    message_id: str
    customer_id: str
    order_id: str
    at: datetime
    cents: int | None
    whole: bool


def refund_from(event: Mapping[str, Any]) -> Refund | None:
    """None where the event is no refund, or names no order."""
    meaning = NAMES.get(event["event"] or "") if event["type"] == "track" else None
    if meaning is None or meaning.verb != "refunded" or event["order_id"] is None:
        return None
    told = CURRENCIES.in_home(event["revenue_cents"], event["currency"])
    whole = event["revenue_cents"] is None and not event["products"]
    cents = None if told is None else abs(told)
    return Refund(event["message_id"], event["customer_id"], event["order_id"], event["timestamp"], cents, whole)


def given_back(refund: Refund, worth: int | None, before: int) -> tuple[int | None, bool]:
    """What a refund gives back of an order, in cents, and whether nothing of it is left; `before` was given back
    already.
    """
    if refund.whole:
        return None if worth is None else max(worth - before, 0), True
    return refund.cents, refund.cents is not None and worth is not None and before + refund.cents >= worth


def share_left(refunds: Iterable[Refund], worth: int | None) -> float | None:
    """How much of an order these leave, from 0 to 1; None where all of it went back."""
    before = 0
    for refund in refunds:
        cents, whole = given_back(refund, worth, before)
        if whole:
            return None
        before += cents or 0
    return 1 - before / worth if worth else 1.0

"""What an event adds to a metric, and what is left of that once its order is refunded. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import orjson

from features.currencies import CURRENCIES
from service.experiments.definition import Metric

Event = Mapping[str, Any]
_PAID = frozenset({"revenue_cents", "revenue", "total", "value", "subtotal"})
"""What a refund in part makes less, by as much as it is of the order."""
_MONEY = frozenset({"revenue", "total", "value", "subtotal", "tax", "shipping", "discount", "price"})
"""Properties of Segment's events that are money."""


def amount_of(event: Event, metric: Metric) -> float:
    """The number that the metric sums; 0 where the event carries none. Money is of the home currency; where it is in
    another one without a rate, it is not counted."""
    if metric.value is None:
        return 0.0
    given: Any
    if metric.value in ("revenue_cents", "discount_cents") and event.get(metric.value) is not None:
        given = CURRENCIES.in_home(event[metric.value], event.get("currency"))
    elif metric.value in _MONEY and event.get("currency") not in (None, CURRENCIES.home):
        given = _in_home(properties_of(event).get(metric.value), event["currency"])
    else:
        given = properties_of(event).get(metric.value)
    usable = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    return float(given) if usable and given is not None else 0.0


def worth_of(event: Event) -> int | None:
    """What an order was worth, in cents of the home currency; None where it is not told."""
    return CURRENCIES.in_home(event.get("revenue_cents"), event.get("currency"))


def net_of(amount: float, metric: Metric, left: float | None) -> tuple[int, float]:
    """How often an order counts, and for how much, of which `left` (a share; None: nothing) was not given back."""
    if left is None:
        return 0, 0.0
    return 1, amount * max(left, 0.0) if metric.value in _PAID else amount


def properties_of(event: Event) -> Mapping[str, Any]:
    """An event's properties, opened."""
    given = event.get("properties")
    parsed = orjson.loads(given) if isinstance(given, str | bytes) and given else given
    return parsed if isinstance(parsed, Mapping) else {}


def _in_home(given: Any, currency: str) -> float | None:
    """A property that is money, in the home currency."""
    rate = CURRENCIES.rates.get(currency)
    return given * float(rate) if rate is not None and type(given) in (int, float) else None

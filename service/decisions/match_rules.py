"""Which offers each business rule of the ranker is about, for one customer at one time.

A rule's `when` is CEL over what eligibility sees and `offer` (id, name, category, tags, channels, value, cost,
priority, discount_percent where there is one). One that cannot be told of an offer does not hold for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from features.rows import CustomerRow
from service.decisions.case import Customer, Steer
from service.decisions.rules import compiled_steer
from service.offers.cel import Expression, ask, prepare
from service.offers.offer import Offer


def steered(
    rules: Sequence[Steer],
    offers: Sequence[Offer],
    customer: Customer,
    row: CustomerRow | None,
    scores: Mapping[str, float],
    context: Mapping[str, Any],
    at: datetime,
) -> tuple[tuple[int, ...], ...]:
    """For each rule the positions of the offers that it is about."""
    if not rules:
        return ()
    prepared: list[Any] = []

    def variables() -> Any:
        if not prepared:
            values = {} if row is None else row.values
            prepared.append(prepare(customer.traits, values, customer.segments, scores, context, at))
        return prepared[0]

    return tuple(tuple(_about(rule, offers, variables)) for rule in rules)


def _about(rule: Steer, offers: Sequence[Offer], variables: Callable[[], Any]) -> Sequence[int]:
    named = [position for position, offer in enumerate(offers) if _names(rule, offer)]
    if rule.when is None or not named:
        return named
    expression = compiled_steer(rule.when)
    if "offer" not in expression.program.variables():
        return named if ask(expression, variables()).holds else ()
    return [position for position in named if _holds(expression, variables(), offers[position])]


def _names(rule: Steer, offer: Offer) -> bool:
    if not (rule.offers or rule.tags or rule.categories):
        return True
    return (
        offer.offer_id in rule.offers
        or offer.info.category in rule.categories
        or any(tag in rule.tags for tag in offer.info.tags)
    )


def _holds(expression: Expression, prepared: Any, offer: Offer) -> bool:
    info = offer.info
    facts = {
        "id": offer.offer_id,
        "name": offer.document["name"],
        "category": info.category or "",
        "tags": list(info.tags),
        "channels": list(offer.channels),
        "value": offer.value,
        "cost": offer.cost,
        "priority": offer.priority,
    }
    if info.discount_percent is not None:
        facts["discount_percent"] = float(info.discount_percent)
    prepared.add_variable("offer", facts)
    return ask(expression, prepared).holds

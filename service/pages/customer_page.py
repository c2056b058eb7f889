"""What `/customers/{id}` shows: why this person gets what, why not the rest, and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from models.declared import PROPENSITIES
from service.customers.look_up import CustomerReader
from service.decisions.explain import Explanation
from service.decisions.read_decision import DecisionReader
from service.errors import NotFound

DECISIONS = 5
TIMELINE = 40
QUESTIONS = {
    "lead": "Will become a first-time buyer",
    "churn": "Will stop buying",
    "winback": "Will come back",
}


@dataclass(frozen=True, slots=True)
class Told:
    """A decision with its words."""

    record: dict[str, Any]
    words: Explanation


def customer_view(customers: CustomerReader, decisions: DecisionReader, customer_id: str) -> dict[str, Any]:
    """The overview (None when nothing is known) and the newest decisions in words; NotFound when there is neither."""
    told = [Told(record, words) for record, words in decisions.told(customer_id, DECISIONS)]
    try:
        overview: dict[str, Any] | None = customers.overview(customer_id)
    except NotFound:
        if not told:
            raise
        overview = None
    return {
        "customer_id": customer_id,
        "known": overview,
        "told": told,
        "questions": {name: one.title for name, one in PROPENSITIES.items()} | QUESTIONS,
        "timeline": (overview or {}).get("timeline", [])[:TIMELINE],
        "features": shown_features((overview or {}).get("features") or {}),
    }


def shown_features(features: dict[str, Any]) -> list[tuple[str, Any]]:
    """Scalar features that have a value, by name."""
    values = features.get("values", features)
    return [(name, value) for name, value in sorted(values.items()) if isinstance(value, (int, float))]

"""What the eligibility rules of the offers that a decision weighs ask; made once for a tuple of offers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from service.offers.catalogue import distinct_expressions
from service.offers.cel import Expression
from service.offers.offer import Offer

_REMEMBERED = 256
_known: dict[int, Questions] = {}


@dataclass(frozen=True, slots=True)
class Questions:
    """Each expression of `offers` once, and whether any of them reads the customer's scores."""

    offers: tuple[Offer, ...]
    expressions: Mapping[str, Expression]
    uses_scores: bool


def questions(offers: tuple[Offer, ...]) -> Questions:
    """The questions of these offers, found again by identity: decisions mostly weigh the same tuple."""
    found = _known.get(id(offers))
    if found is None or found.offers is not offers:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        expressions = distinct_expressions(offers)
        uses_scores = any(expression.uses_scores for expression in expressions.values())
        found = _known[id(offers)] = Questions(offers, expressions, uses_scores)
    return found

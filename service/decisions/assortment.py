"""The offers that a decision weighs, with what hangs on them alone. Pure.

Decisions mostly weigh the same tuple of offers, so this is made once for it and found again by identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from features.offers import OfferInfo
from service.offers.catalogue import distinct_expressions
from service.offers.cel import Expression
from service.offers.offer import Offer

_REMEMBERED = 256
_known: dict[int, Assortment] = {}


@dataclass(frozen=True, slots=True)
class Assortment:
    """`free` offers have no rule but `eligibility`; `capped` ones have caps of one customer beside it.

    Both map an offer to its eligibility; `other` offers have dates, budgets or limits shared by all customers.
    """

    offers: tuple[Offer, ...]
    infos: tuple[OfferInfo, ...]
    expressions: Mapping[str, Expression]
    uses_scores: bool
    free: Mapping[str, str | None]
    capped: Mapping[str, str | None]
    ending: tuple[Offer, ...]
    shared: tuple[Offer, ...]


def assortment(offers: tuple[Offer, ...]) -> Assortment:
    """What hangs on these offers alone."""
    found = _known.get(id(offers))
    if found is None or found.offers is not offers:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        found = _known[id(offers)] = _made(offers)
    return found


def _made(offers: tuple[Offer, ...]) -> Assortment:
    expressions = distinct_expressions(offers)
    plain = [o for o in offers if o.starts_at is None and o.ends_at is None and o.budget is None]
    return Assortment(
        offers,
        tuple(offer.info for offer in offers),
        expressions,
        any(expression.uses_scores for expression in expressions.values()),
        {offer.offer_id: offer.eligibility for offer in plain if not offer.caps},
        {
            offer.offer_id: offer.eligibility
            for offer in plain
            if offer.caps and all(cap.per == "customer" and cap.max > 0 for cap in offer.caps)
        },
        tuple(offer for offer in offers if offer.ends_at is not None),
        tuple(offer for offer in offers if offer.shared_limits),
    )

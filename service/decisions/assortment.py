"""The offers that a decision weighs, with what hangs on them alone. Pure.

Decisions mostly weigh the same tuple of offers, so this is made once for it and found again by identity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from features.offers import OfferInfo
from service.decisions.pairs import Pairs
from service.decisions.remembered import Remembered
from service.offers.offer import Offer


@dataclass(frozen=True, slots=True)
class Assortment:
    """`free` offers have no rule but `eligibility`; `capped` ones have caps of one customer beside it.

    `grouped`: some offer has an exclusion group. `untold`: offers whose text has no vector yet; None: no text has one.
    Both map an offer to its eligibility; all others (`special`) have dates, budgets, limits that customers share, rules
    about other offers, or are off. `judged` and `pairs` are remembered: see `eligibility`.
    """

    infos: tuple[OfferInfo, ...]
    free: Mapping[str, str | None]
    capped: Mapping[str, str | None]
    ending: tuple[Offer, ...]
    shared: tuple[Offer, ...]
    special: tuple[int, ...]
    grouped: bool
    place: Mapping[str, int]
    untold: tuple[str, ...] | None = None
    judged: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    pairs: dict[Any, Pairs] = field(default_factory=dict, compare=False, repr=False)


def _made(offers: tuple[Offer, ...]) -> Assortment:
    plain = [
        o
        for o in offers
        if o.starts_at is None and o.ends_at is None and o.budget is None and not o.requires and not o.exclusion_days
        if o.priority > 0
    ]
    free = {offer.offer_id: offer.eligibility for offer in plain if not offer.caps}
    capped = {
        offer.offer_id: offer.eligibility
        for offer in plain
        if offer.caps and all(cap.per == "customer" and cap.max > 0 for cap in offer.caps)
    }
    return Assortment(
        tuple(offer.info for offer in offers),
        free,
        capped,
        tuple(offer for offer in offers if offer.ends_at is not None),
        tuple(offer for offer in offers if offer.shared_limits),
        tuple(place for place, o in enumerate(offers) if o.offer_id not in free and o.offer_id not in capped),
        any(offer.exclusion_group is not None for offer in offers),
        {offer.offer_id: place for place, offer in enumerate(offers)},
        _untold(offers),
    )


def _untold(offers: tuple[Offer, ...]) -> tuple[str, ...] | None:
    found = tuple(offer.offer_id for offer in offers if offer.info.text is None)
    return None if len(found) == len(offers) else found


assortment = Remembered(_made)
"""What hangs on these offers alone."""

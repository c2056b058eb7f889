"""One offer of the catalogue, as decisions use it, and the hash that ties approved copy to its facts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, NamedTuple

import orjson
import xxhash

from features.currencies import CURRENCIES, minor_scale
from features.offers import OfferInfo
from features.text_keys import offer_text, text_key

CALENDAR_DAYS = {"calendar_day": 1.1, "calendar_week": 7.1, "calendar_month": 31.1}
"""How far back each calendar window may reach, in days; a day on which clocks go back has 25 hours."""
_SAID_IN_COPY = ("name", "description", "category", "facts")


@dataclass(frozen=True, slots=True)
class OfferCap:
    """At most `max` impressions in any `per_days` days, or in each `calendar` period: of a customer, or of everyone."""

    max: int
    per_days: float | None
    per: str = "customer"
    calendar: str | None = None


@dataclass(frozen=True, slots=True)
class Budget:
    """At most `amount` of cost (the catalogue's currency) in any `per_days` days or `calendar` period, over everyone.

    `even`: spent no faster than evenly over the period (see `service.decisions.pacing`).
    """

    amount: float
    per_days: float | None
    calendar: str | None = None
    even: bool = False


@dataclass(frozen=True, slots=True)
class Requirement:
    """What must have happened with another offer: `event` at least `after_days` ago, at most `within_days` ago."""

    offer_id: str
    event: str
    within_days: float | None = None
    after_days: float = 0.0


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer at one version. `ends_at` is the earlier of its own and its facts' end; `text` is its text's key."""

    offer_id: str
    version: int
    document: Mapping[str, Any]
    channels: tuple[str, ...]
    value: float
    cost: float
    priority: float
    starts_at: datetime | None
    ends_at: datetime | None
    eligibility: str | None
    caps: tuple[OfferCap, ...]
    budget: Budget | None
    info: OfferInfo
    exclusion_group: str | None = None
    exclusion_days: float | None = None
    requires: tuple[Requirement, ...] = ()
    text: int = 0

    @property
    def longest_cap_days(self) -> float:
        """How far back its caps of one customer and its exclusions look, in days; 0 without any."""
        caps = [
            CALENDAR_DAYS.get(cap.calendar or "", cap.per_days or 0.0) for cap in self.caps if cap.per == "customer"
        ]
        return max([*caps, self.exclusion_days or 0.0])

    def told(self, known: bool) -> Offer:
        """The same offer, whose text has a vector or has none."""
        text = self.text if known else None
        return self if self.info.text == text else replace(self, info=replace(self.info, text=text))

    @property
    def shared_limits(self) -> bool:
        """Whether customers compete for this offer: a cap over everyone, or a budget that its cost uses up."""
        return any(cap.per == "everyone" for cap in self.caps) or (self.budget is not None and self.cost > 0)


class Past(NamedTuple):
    """What of a customer's past the rules of some offers ask for.

    How many `days` back; whether `moments` (what happened before); the offers whose impressions are `counted` against
    a cap of one customer; whether impressions of others of a group count (`grouped`).
    """

    days: float = 0.0
    moments: bool = False
    counted: frozenset[str] = frozenset()
    grouped: bool = False

    def and_of(self, other: Past) -> Past:
        """What both ask for."""
        days, counted = max(self.days, other.days), self.counted | other.counted
        return Past(days, self.moments or other.moments, counted, self.grouped or other.grouped)

    def counts(self, offer_id: str, group: str | None) -> bool:
        """Whether an impression that is no message counts for any of them."""
        return offer_id in self.counted or (self.grouped and group is not None)


def past_of(offers: Iterable[Offer]) -> Past:
    """What of a customer's past the rules of these offers ask for."""
    some = list(offers)
    return Past(
        max((offer.longest_cap_days for offer in some), default=0.0),
        any(offer.requires for offer in some),
        frozenset(offer.offer_id for offer in some if any(cap.per == "customer" for cap in offer.caps)),
        any(offer.exclusion_days is not None for offer in some),
    )


def content_hash(document: Mapping[str, Any]) -> str:
    """16 hex digits over what copy may say: name, description, category, facts. Worth and rules are not said."""
    said = {key: document.get(key) for key in _SAID_IN_COPY}
    return xxhash.xxh3_64_hexdigest(orjson.dumps(said, option=orjson.OPT_SORT_KEYS))


def offer_from_document(offer_id: str, version: int, document: Mapping[str, Any]) -> Offer:
    """Builds an offer from its stored document (as `schemas.OfferIn` writes it: every field is there).

    Whether its text has a vector is told by `Offer.told`.
    """
    facts = document["facts"]
    ends = [_time(text) for text in (document["ends_at"], facts.get("ends_at")) if text]
    starts_at, ends_at = _time(document["starts_at"]), min((end for end in ends if end), default=None)
    budget = document["budget"]
    return Offer(
        offer_id=offer_id,
        version=version,
        document=document,
        channels=tuple(document["channels"]),
        value=document["value"],
        cost=document["cost"],
        priority=document["priority"],
        starts_at=starts_at,
        ends_at=ends_at,
        eligibility=document["eligibility"],
        caps=tuple(_cap(cap) for cap in document["caps"]),
        budget=_budget(budget) if budget else None,
        info=_info(offer_id, document, starts_at, ends_at),
        exclusion_group=document.get("exclusion_group"),
        exclusion_days=document.get("exclusion_days"),
        requires=tuple(Requirement(**one) for one in document.get("requires", ())),
        text=text_key(offer_text(document["name"], document["description"])),
    )


def _cap(cap: Mapping[str, Any]) -> OfferCap:
    calendar = cap["per"] if cap["per"] in CALENDAR_DAYS else None
    per = cap["of"] if calendar else cap["per"]
    return OfferCap(cap["max"], cap["per_days"], per, calendar)


def _budget(budget: Mapping[str, Any]) -> Budget:
    return Budget(budget["amount"], budget["per_days"], budget.get("per"), budget.get("pacing") == "even")


def price_cents(facts: Mapping[str, Any]) -> int | None:
    """The price in minor units of its currency, rounded half up as money of events is; None without a price."""
    price = facts.get("price")
    if price is None:
        return None
    return int((Decimal(price["amount"]) * minor_scale(price["currency"])).to_integral_value(ROUND_HALF_UP))


def _info(offer_id: str, document: Mapping[str, Any], starts: datetime | None, ends: datetime | None) -> OfferInfo:
    facts = document["facts"]
    discount, price = facts.get("discount"), facts.get("price")
    return OfferInfo(
        offer_id=offer_id,
        category=document["category"],
        product_ids=frozenset(document["product_ids"]),
        channels=tuple(document["channels"]),
        discount_percent=discount["percent"] if discount else None,
        price_cents=None if price is None else CURRENCIES.in_home(price_cents(facts), price["currency"]),
        value=document["value"],
        cost=document["cost"],
        starts_at=starts,
        tags=tuple(document["tags"]),
        ends_at=ends,
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None

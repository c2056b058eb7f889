"""What the ranker's features of offers say, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from features.currencies import CURRENCIES, in_units
from models.reasons import one_of_many

SENTENCES: Mapping[str, str] = {
    "category_orders_90d": "bought {category} {category_orders_90d} in 90 days",
    "category_orders_365d": "bought {category} {category_orders_365d} in a year",
    "category_days_since_last": "last bought {category} {category_days_since_last} days ago",
    "category_share_365d": "bought {category} {category_orders_365d} in a year",
    "category_due": "last bought {category} {category_days_since_last} days ago",
    "category_popular_and_bought": "bought {category} {category_orders_365d} in a year",
    "product_orders": "bought products of this offer {product_orders}",
    "product_share": "bought products of this offer {product_orders}",
    "product_popular_and_bought": "bought products of this offer {product_orders}",
    "category_views_365d": "looked at {category} {category_views_365d} in a year",
    "category_interest": "looked at {category} {category_views_365d} in a year",
    "text_similarity": "close to what this customer buys",
    "offer_popularity": "bought by {offer_popularity} of customers in two weeks",
    "offer_discount_percent": "{offer_discount_percent}% off",
    "offer_price_cents": "priced around {offer_price_cents}",
    "offer_categories": "covers {offer_categories} categories",
}
"""What the features of a pair say: at most one number each, and the category."""
_COUNTED = ("category_orders_90d", "category_orders_365d", "product_orders", "category_views_365d")
EXACT = ("offer_popularity", "offer_price_cents")
"""Numbers that are told as they are; the others are rounded first."""


@dataclass(frozen=True, slots=True)
class Saying:
    """A sentence and the feature whose number it tells, if it tells one."""

    template: str
    told: str | None

    def text(self, number: float, category: str | None) -> str | None:
        """The sentence with this number; None where that is not known."""
        if not math.isfinite(number):
            return None
        return _written(self.template, self.told, number if self.told in EXACT else round(number), category)


SAYINGS: Mapping[str, Saying] = {
    name: Saying(text, next((part for part in SENTENCES if f"{{{part}}}" in text), None))
    for name, text in SENTENCES.items()
}


@lru_cache(maxsize=20_000)
def _written(template: str, told: str | None, number: float, category: str | None) -> str:
    words = {"category": _lower(category or "its products")}
    if told is not None:
        words[told] = _worded(told, number)
    text = one_of_many(" ".join(template.format_map(words).split()))
    if told not in _COUNTED or number:
        return text
    return text.replace("bought", "has not bought", 1).replace("looked", "has not looked", 1)


def _worded(name: str, number: float) -> str:
    if name in _COUNTED:
        return _times(round(number))
    if name == "offer_popularity":
        return _share(number)
    return in_units(number, CURRENCIES.home) if name == "offer_price_cents" else f"{number:.0f}"


def _times(count: int) -> str:
    """once, twice, 3 times; nothing for none, where the sentence says so itself."""
    return {0: "", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _share(log_odds: float) -> str:
    share = 1 / (1 + math.exp(-log_odds))
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}"


def _lower(text: str) -> str:
    """`Soft drinks` as it stands inside a sentence; abbreviations keep their capitals."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]

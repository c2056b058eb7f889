"""The world's shop: categories, products, and the offers that policies choose from. All of it is invented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CHANNELS = ("email", "sms", "push")
CATEGORIES = ("coffee", "tea", "chocolate", "cheese", "pasta", "wine")
PRODUCTS_A_CATEGORY = 8
PRICE_CENTS = {"coffee": 890, "tea": 540, "chocolate": 390, "cheese": 720, "pasta": 260, "wine": 1290}


@dataclass(frozen=True, slots=True)
class WorldOffer:
    """An offer: `discount` in percent, `value` earned by a conversion and `cost` of sending in the world's currency.

    `audience` names the kind of customer whom it moves more than others (`everyone`: nobody in particular).
    """

    offer_id: str
    category: str
    discount: int
    value: float
    cost: float
    audience: str = "everyone"
    channels: tuple[str, ...] = CHANNELS

    @property
    def product_ids(self) -> list[str]:
        return products_of(self.category)

    def contract(self) -> dict[str, Any]:
        """The offer as `PUT /v1/offers` takes it, with its `offer_id`."""
        name = f"{self.discount}% off {self.category}" if self.discount else f"New: {self.category} of the month"
        return {
            "offer_id": self.offer_id,
            "name": name,
            "description": f"{name}, in the shop and online.",
            "category": self.category,
            "product_ids": self.product_ids,
            "channels": list(self.channels),
            "facts": {
                "discount": {"percent": self.discount},
                "price": {"amount": f"{PRICE_CENTS[self.category] / 100:.2f}", "currency": "USD"},
                "code": f"{self.category[:4].upper()}{self.discount}",
                "url": f"https://world.example.org/{self.offer_id}",
            },
            "value": self.value,
            "cost": self.cost,
            "tags": ["simulated", self.audience],
            "requires_approval": True,
        }


def products_of(category: str) -> list[str]:
    """Ids of the category's products."""
    return [f"{category}-{number}" for number in range(1, PRODUCTS_A_CATEGORY + 1)]


def default_offers() -> tuple[WorldOffer, ...]:
    """Fourteen offers: two for each category (small and large discount), one for the lapsed, one for leads."""
    margin = {category: 3 + PRICE_CENTS[category] / 200 for category in CATEGORIES}
    plain = [
        WorldOffer(
            f"{category}-{discount}", category, discount, round(margin[category] * (1 - discount / 100), 2), 0.05
        )
        for category in CATEGORIES
        for discount in (10, 30)
    ]
    return (
        *plain,
        WorldOffer("come-back", "chocolate", 40, 5.0, 0.05, audience="lapsed"),
        WorldOffer("welcome", "coffee", 25, 6.0, 0.05, audience="lead"),
    )

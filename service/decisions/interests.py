"""What a customer bought and looked at as interest in offers: what is personal where no model is trained yet. Pure.

Signs are looks at products, an order counts as `AN_ORDER` of them. An offer has those of its category, those of its
products, and those of other categories as far as its text is about them. The odds of an offer are multiplied by its
signs beside those of the mean offer; of whom nothing is known, all offers are taken to do alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from features.customer_row import CustomerRow
from features.products import product_key
from models.offer_features import AN_ORDER
from service.decisions.alike import Alike
from service.decisions.remembered import Remembered
from service.offers.offer import Offer

Floats = npt.NDArray[np.float64]
GIVEN = AN_ORDER
"""Signs that every offer is given, as one order says little."""
STRENGTH = 0.7
"""Exponent: at 1 the odds would follow the signs wholly, but who likes something buys it without an offer, too."""


class Interests(NamedTuple):
    """Of each offer (n,) its `signs` and the `factor` that its odds are multiplied by; `total`: all that the customer
    gave by category.
    """

    signs: Floats
    factor: Floats
    total: float

    def reason(self, place: int) -> dict[str, Any] | None:
        """Why an offer's odds are higher, in the customer's terms; None where they are not."""
        if self.factor[place] <= 1.0:
            return None
        signs = self.signs[place]
        share = signs / max(self.total, signs)  # products may have no category
        text = f"{share:.0%} of what this customer bought or looked at is what this offer is about"
        return {"feature": "interest", "text": text, "effect": float(np.log(self.factor[place]))}


def interests(row: CustomerRow | None, offers: tuple[Offer, ...], alike: Alike | None) -> Interests | None:
    """The interest of a customer in each offer; None where nothing is known of either."""
    if row is None or alike is None or not offers:
        return None
    signs = {category: float(looks) for category, looks in row.views.items()}
    for category, (_, orders, _) in row.affinity.items():
        signs[category] = signs.get(category, 0.0) + AN_ORDER * orders
    told = np.zeros(len(offers))
    for category, count in signs.items():
        told += count * alike.to_category(offers, category)
    told += AN_ORDER * _own_products(row, offers)
    factor = ((told + GIVEN) / (told.mean() + GIVEN)) ** STRENGTH
    return Interests(told, factor, sum(signs.values()))


def moved(rates: Sequence[float], factors: Sequence[float]) -> list[float]:
    """Probabilities in (0, 1] whose odds are multiplied."""
    return [rate * by / (1.0 - rate + rate * by) for rate, by in zip(rates, factors, strict=True)]


def _product_keys(offers: tuple[Offer, ...]) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Places of the offers that name products, with the products' keys, ascending."""
    named = [(place, offer.info.product_ids) for place, offer in enumerate(offers) if offer.info.product_ids]
    return [(place, np.unique([product_key(name) for name in ids]).astype(np.int64)) for place, ids in named]


_KEYS = Remembered(_product_keys)


def _own_products(row: CustomerRow, offers: tuple[Offer, ...]) -> Floats:
    """Orders of each offer's own products (n,)."""
    found = np.zeros(len(offers))
    if len(row.products.key):
        for place, keys in _KEYS(offers):
            found[place] = row.products.of(keys).orders.sum()
    return found

"""What the ranker sees of a customer and an offer together: the same arrays in training and for one request."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_hexdigest

from features.offers import OfferInfo
from features.products import NO_PRODUCTS, ManyProducts, ProductOrders, product_key
from features.texts import Texts
from models.candidates import Together
from models.reasons import fill

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

CUSTOMER = (
    "days_since_last_order",
    "orders_30d",
    "orders_90d",
    "orders_365d",
    "order_gap_mean_days",
    "current_gap_ratio",
    "average_order_cents_365d",
    "categories_90d",
    "top_category_share_365d",
    "discount_share_365d",
    "redeemed_365d",
    "redeemed_total",
    "tenure_days",
    "delivered_7d",
    "delivered_30d",
    "clicks_human_90d",
    "opens_human_90d",
)
"""The customer's features that the ranker uses, of features/catalogue.py."""
OFFER = ("offer_discount_percent", "offer_price_cents", "offer_popularity", "offer_categories")
CROSS = (
    "category_orders_90d",
    "category_orders_365d",
    "category_days_since_last",
    "category_share_365d",
    "category_due",
    "category_popular_and_bought",
    "text_similarity",
    "product_orders",
    "product_share",
    "product_popular_and_bought",
)
LIKED = CROSS[:3]
"""Sentences of these tell the customer's orders of the offer's main category, whatever part of it the offer covers."""
PAIR = (*CUSTOMER, *OFFER, *CROSS)
CATEGORIES_AN_OFFER = 6
SMALL_PART = 0.25
"""Categories with less than this part of an offer's largest count for how often, not for how long ago."""
_ORDERS_365D = CUSTOMER.index("orders_365d")
NO_RATE = math.log(0.01 / 0.99)


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """An offer as numbers: `index` of its categories and their `weight` (the part of a category's orders that its
    products have; 1 where only the category is known), `static` (OFFER) and its text's vector.
    """

    index: Ints
    weight: Floats
    static: Floats
    vector: Floats
    products: Ints


@dataclass(frozen=True, slots=True)
class OfferTable:
    """The facts of M offers, stacked: index and weight (M, 6), static (M, 4), vectors (M, dimensions) and these of
    length 1 (`units`). `product` and `of_offer` (P,): hashes of products (features/products.py), ascending, and the
    offer that each belongs to; `named` (M,): which offers name products.
    """

    index: Ints
    weight: Floats
    static: Floats
    vectors: Floats
    units: Floats
    product: Ints
    of_offer: Ints
    named: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, facts: Sequence[OfferFacts]) -> OfferTable:
        vectors = np.array([one.vector for one in facts], np.float64).reshape(len(facts), -1)
        with np.errstate(invalid="ignore", divide="ignore"):
            units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        product = np.concatenate([np.empty(0, np.int64), *(one.products for one in facts)])
        of_offer = np.repeat(np.arange(len(facts)), [len(one.products) for one in facts])
        order = np.argsort(product, kind="stable")
        return cls(
            np.array([one.index for one in facts], np.int64).reshape(-1, CATEGORIES_AN_OFFER),
            np.array([one.weight for one in facts], np.float64).reshape(-1, CATEGORIES_AN_OFFER),
            np.array([one.static for one in facts], np.float64).reshape(-1, len(OFFER)),
            vectors,
            units,
            product[order],
            of_offer[order],
            np.array([len(one.products) > 0 for one in facts], np.bool_),
        )


@dataclass(frozen=True, slots=True)
class Customers:
    """N customers as arrays: `values` (N, CUSTOMER), NaN where unknown; `affinity` (N, categories, 3): orders in 90
    and 365 days, days since the last (NaN: never). `known` False makes a row one of which nothing is known.
    `products`: orders by product.
    """

    values: Floats
    affinity: Floats
    known: npt.NDArray[np.bool_]
    products: ManyProducts


@dataclass(frozen=True, slots=True)
class Projection:
    """How a text's whole vector (width,) becomes the short one (dimensions,) of a model; `model` names the embedder."""

    model: str
    mean: Floats
    axes: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """(..., dimensions) of vectors (..., width), in single precision."""
        return ((vectors - self.mean) @ self.axes.T).astype(np.float32).astype(np.float64)


@dataclass(frozen=True)
class OfferKnowledge:
    """What training knew of offers: categories by number, each offer's mix, popularity (log-odds of an active customer
    buying within the horizon), and text vectors of categories and offers.

    New offers are placed by their text's vector (`texts`, shortened by `projection`), else by their category.
    """

    categories: tuple[str, ...]
    mixes: Mapping[str, tuple[str, tuple[tuple[str, float], ...]]]
    popularity: Mapping[str, float]
    category_popularity: Mapping[str, float]
    usual_popularity: float
    category_vectors: Floats
    offer_vectors: Mapping[str, Floats]
    projection: Projection | None = None
    texts: Texts | None = field(default=None, repr=False, compare=False)
    together: Together = field(default_factory=Together.none, repr=False, compare=False)
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    _facts: dict[OfferInfo, OfferFacts] = field(init=False, repr=False, compare=False, default_factory=dict)
    _lock: Any = field(init=False, repr=False, compare=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self._numbers.update({name: number for number, name in enumerate(self.categories)})

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as it was made: what is remembered, and its lock, stay behind."""
        return OfferKnowledge, tuple(getattr(self, one.name) for one in fields(self) if one.init)

    @property
    def dimensions(self) -> int:
        return self.category_vectors.shape[1] if self.category_vectors.ndim == 2 else 0

    @property
    def width(self) -> int:
        """How many categories have a number; grows as new offers bring new ones."""
        return len(self._numbers)

    def table(self, offers: Sequence[OfferInfo]) -> OfferTable:
        """The facts of these offers, remembered from call to call."""
        return OfferTable.of([self._facts.get(offer) or self._learn(offer) for offer in offers])

    def _learn(self, offer: OfferInfo) -> OfferFacts:
        with self._lock:
            if len(self._facts) > 20_000:
                self._facts.clear()
            mix = self._mix(offer)
            index, weight = np.zeros(CATEGORIES_AN_OFFER, np.int64), np.zeros(CATEGORIES_AN_OFFER)
            for place, (category, part) in enumerate(mix):
                index[place] = self._numbers.setdefault(category, len(self._numbers))
                weight[place] = part
            static = np.array([_number(offer.discount_percent), _number(offer.price_cents),
                               self.popular(offer), len(mix)])  # fmt: skip
            products = np.unique([product_key(name) for name in offer.product_ids]).astype(np.int64)
            facts = OfferFacts(index, weight, static, self._vector(offer), products)
            self._facts[offer] = facts
            return facts

    def _mix(self, offer: OfferInfo) -> tuple[tuple[str, float], ...]:
        """What was learnt, if the offer's products are still the same; else its category as a whole."""
        signature, mix = self.mixes.get(offer.offer_id, ("", ()))
        if mix and signature == products_signature(offer):
            return mix[:CATEGORIES_AN_OFFER]
        return ((offer.category, 1.0),) if offer.category else ()

    def main_category(self, offer: OfferInfo) -> str | None:
        """The category that the offer is mostly about: its own, else the largest of what its products are."""
        mix = self._mix(offer)
        return offer.category or (mix[0][0] if mix else None)

    def popular(self, offer: OfferInfo) -> float:
        """Log-odds of an active customer buying from the offer within the horizon; of a new one by its category."""
        own = self.popularity.get(offer.offer_id)
        if own is not None:
            return own
        return self.category_popularity.get(offer.category or "", self.usual_popularity)

    def _vector(self, offer: OfferInfo) -> Floats:
        own = self._told(offer)
        if own is None:
            own = self.offer_vectors.get(offer.offer_id)
        if own is not None:
            return own
        number = self._numbers.get(offer.category or "", -1)
        if 0 <= number < len(self.category_vectors):
            return np.asarray(self.category_vectors[number], np.float64)
        return np.full(self.dimensions, np.nan)

    def _told(self, offer: OfferInfo) -> Floats | None:
        """The short vector of its text as it now is."""
        if offer.text is None or self.texts is None or self.projection is None:
            return None
        held = self.texts.held
        whole = held.of_key(offer.text) if held.model == self.projection.model else None
        return None if whole is None else self.projection(whole)

    def customers(
        self,
        values: Mapping[str, float] | None,
        affinity: Mapping[str, Sequence[float]],
        products: ProductOrders = NO_PRODUCTS,
    ) -> Customers:
        """One customer as arrays; `values` None: somebody of whom nothing is known."""
        return self.many_customers([(values, affinity, products)])

    def many_customers(
        self, told: Sequence[tuple[Mapping[str, float] | None, Mapping[str, Sequence[float]], ProductOrders]]
    ) -> Customers:
        """Several customers as arrays, each as `customers` takes one."""
        unknown = [np.nan] * len(CUSTOMER)
        lines = [unknown if of is None else [of.get(name, np.nan) for name in CUSTOMER] for of, _, _ in told]
        grid = np.zeros((len(told), self.width, 3))
        grid[:, :, 2] = np.nan
        for place, (_, affinity, _) in enumerate(told):
            for category, numbers in affinity.items():
                number = self._numbers.get(category)
                if number is not None and number < grid.shape[1]:
                    grid[place, number] = numbers
        known = np.array([of is not None for of, _, _ in told])
        bought = ManyProducts.of([products for _, _, products in told])
        return Customers(np.array(lines, np.float64).reshape(-1, len(CUSTOMER)), grid, known, bought)


def products_signature(offer: OfferInfo) -> str:
    """Changes when the offer's products do."""
    return xxh3_64_hexdigest("\n".join(sorted(offer.product_ids)).encode()) if offer.product_ids else ""


def pair_features(customers: Customers, offers: OfferTable, knowledge: OfferKnowledge) -> Floats:
    """The features of every pair, shape (N, M, PAIR). Everything of the customer is NaN where nothing is known."""
    cross = np.empty((len(customers.values), len(offers.index), len(CROSS)))
    cross_features(customers, offers, knowledge, cross)
    return joined(customers.values, offers.static, cross)


def joined(customers: Floats, offers: Floats, cross: Floats) -> Floats:
    """PAIR of every pair (N, M, PAIR): CUSTOMER (N, ...), OFFER (M, ...) and CROSS (N, M, ...) side by side."""
    result = np.empty((*cross.shape[:2], len(PAIR)))
    first, second = len(CUSTOMER), len(CUSTOMER) + len(OFFER)
    result[:, :, :first] = customers[:, None, :]
    result[:, :, first:second] = offers[None]
    result[:, :, second:] = cross
    return result


def cross_features(customers: Customers, offers: OfferTable, knowledge: OfferKnowledge, out: Floats) -> None:
    """Writes CROSS of every pair into `out` (N, M, CROSS)."""
    out[:] = _cross(customers, offers, knowledge)


def _cross(customers: Customers, offers: OfferTable, knowledge: OfferKnowledge) -> Floats:
    missing = customers.affinity.shape[1] - (int(offers.index.max(initial=0)) + 1)
    affinity = customers.affinity
    if missing < 0:
        more = np.zeros((len(affinity), -missing, 3))
        more[:, :, 2] = np.nan
        affinity = np.concatenate([affinity, more], axis=1)
    orders_90d = np.einsum("nmk,mk->nm", affinity[:, offers.index, 0], offers.weight)
    orders_365d = np.einsum("nmk,mk->nm", affinity[:, offers.index, 1], offers.weight)
    main = (offers.weight > 0) & (offers.weight >= SMALL_PART * offers.weight.max(axis=1, keepdims=True, initial=0))
    days = np.where(main[None] & ~np.isnan(affinity[:, offers.index, 2]), affinity[:, offers.index, 2], np.inf)
    last = days.min(axis=2, initial=np.inf)
    last = np.where(np.isfinite(last), last, np.nan)
    all_orders = customers.values[:, _ORDERS_365D][:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(all_orders > 0, orders_365d / all_orders, 0.0)
        due = np.where(orders_365d > 0, last * orders_365d / 365, np.nan)
    popularity = offers.static[None, :, OFFER.index("offer_popularity")]
    both = popularity + np.log1p(orders_365d)
    likeness = _similarity(affinity, offers, knowledge)
    own = product_orders(customers.products, offers)
    with np.errstate(divide="ignore", invalid="ignore"):
        own_share = np.where(all_orders > 0, own / all_orders, 0 * own)
    own_both = popularity + np.log1p(own)
    parts = [orders_90d, orders_365d, last, share, due, both, likeness, own, own_share, own_both]
    stacked = np.stack(parts, axis=2)
    stacked[~customers.known] = np.nan
    return stacked


def product_orders(bought: ManyProducts, offers: OfferTable) -> Floats:
    """Orders of each offer's products, summed, (N, M); an order of two of them counts twice. NaN: it names none."""
    counts = np.zeros((len(bought.start) - 1, len(offers.named)))
    if len(offers.product) and len(bought.key):
        first = np.searchsorted(offers.product, bought.key)
        length = np.searchsorted(offers.product, bought.key, side="right") - first
        entry = np.repeat(np.arange(len(length)), length)
        place = first[entry] + np.arange(len(entry)) - np.repeat(np.cumsum(length) - length, length)
        at = bought.owner()[entry] * counts.shape[1] + offers.of_offer[place]
        np.add.at(counts.reshape(-1), at, bought.orders[entry])
    return np.where(offers.named, counts, np.nan)


def _similarity(affinity: Floats, offers: OfferTable, knowledge: OfferKnowledge) -> Floats:
    """Cosine of the offer's text and the texts of the categories bought in a year, weighted by orders' logarithm."""
    n, m = len(affinity), len(offers.index)
    known = min(len(knowledge.category_vectors), affinity.shape[1])
    if not knowledge.dimensions or not known:
        return np.full((n, m), np.nan)
    # One customer after another, and summed pair by pair: a pair's number must not depend on its neighbours.
    bought = np.log1p(affinity[:, :known, 1])
    interest = np.array([one @ knowledge.category_vectors[:known] for one in bought])
    size = np.linalg.norm(interest, axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = interest / size
        return np.asarray(np.einsum("nd,md->nm", unit, offers.units, optimize=False), np.float64)


def _number(value: float | int | None) -> float:
    return np.nan if value is None else float(value)


SENTENCES: Mapping[str, str] = {
    "category_orders_90d": "bought {category} {category_orders_90d} in 90 days",
    "category_orders_365d": "bought {category} {category_orders_365d} in a year",
    "category_days_since_last": "last bought {category} {category_days_since_last:.0f} days ago",
    "category_share_365d": "bought {category} {category_orders_365d} in a year",
    "category_due": "last bought {category} {category_days_since_last:.0f} days ago",
    "category_popular_and_bought": "bought {category} {category_orders_365d} in a year",
    "product_orders": "bought products of this offer {product_orders}",
    "product_share": "bought products of this offer {product_orders}",
    "product_popular_and_bought": "bought products of this offer {product_orders}",
    "text_similarity": "close to what this customer buys",
    "offer_popularity": "bought by {popular} of customers in two weeks",
    "offer_discount_percent": "{offer_discount_percent:.0f}% off",
    "offer_price_cents": "priced around {price:.2f}",
    "offer_categories": "covers {offer_categories:.0f} categories",
}
"""What the features of a pair say. Counts, `category`, `popular` and `price` are put into words by `describe`."""
_COUNTED = (*LIKED[:2], "product_orders")
_QUOTED = ("category_days_since_last", "offer_discount_percent", "offer_categories")


def describe(name: str, values: Mapping[str, float], category: str | None) -> str | None:
    """The sentence of a pair's feature; None where it has none or something that it needs is unknown."""
    template = SENTENCES.get(name)
    if template is None or not math.isfinite(values.get(name, math.nan)):
        return None
    words: dict[str, Any] = {
        "category": _lower(category or "its products"),
        "popular": _share(values.get("offer_popularity", NO_RATE)),
        "price": values.get("offer_price_cents", math.nan) / 100,
        **{other: values.get(other, math.nan) for other in _QUOTED},
    }
    for count in _COUNTED:
        number = values.get(count, math.nan)
        words[count] = _times(round(number)) if math.isfinite(number) else None
    said = fill(template, words)
    if said is None:
        return None
    said = " ".join(said.split())
    return said.replace("bought", "has not bought", 1) if _never(template, values) else said


def _never(template: str, values: Mapping[str, float]) -> bool:
    return any(f"{{{count}}}" in template and round(values.get(count, 0.0)) == 0 for count in _COUNTED)


def _times(count: int) -> str:
    """once, twice, 3 times; nothing for none, where the sentence says so itself."""
    return {0: "", 1: "once", 2: "twice"}.get(count, f"{count} times")


def _share(log_odds: float) -> str:
    share = 1 / (1 + math.exp(-log_odds))
    return f"{share:.0%}" if share >= 0.095 else f"{share:.1%}"


def _lower(text: str) -> str:
    """`Soft drinks` as it stands inside a sentence; abbreviations keep their capitals."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]

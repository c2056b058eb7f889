"""What the ranker sees of a customer and an offer together: the same arrays in training and for one request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from threading import Lock
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
from xxhash import xxh3_64_hexdigest

from features.offers import OfferInfo
from features.products import NO_PRODUCTS, ManyProducts, ProductOrders, product_key
from features.texts import Texts
from models.candidates import Together
from models.kernel import KERNEL

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

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
    "days_since_first_order",
    "forms_365d",
    "is_lead",
)
"""The customer's features that the ranker uses, of features/catalogue.py."""
OFFER = ("offer_discount_percent", "offer_price_cents", "offer_popularity", "offer_categories")
LOOKS = ("category_views_365d", "category_interest")
AN_ORDER = 5.0
"""How many looks at products an order is worth as a sign of interest."""
CROSS = (
    *LOOKS,
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
LIKED = ("category_orders_90d", "category_orders_365d", "category_days_since_last")
"""Sentences tell these of the whole of the offer's main category, whatever part of it the offer covers."""
PAIR = (*CUSTOMER, *OFFER, *CROSS)
CATEGORIES_AN_OFFER = 6
SMALL_PART = 0.25
"""Categories with less than this part of an offer's largest count for how often, not for how long ago."""
_ORDERS_365D = CUSTOMER.index("orders_365d")
_POPULARITY = OFFER.index("offer_popularity")
_INTEREST = CROSS.index("category_interest")
_ORDERS, _POPULAR = CROSS.index("category_orders_365d"), CROSS.index("category_popular_and_bought")
_OWN, _POPULAR_OWN = CROSS.index("product_orders"), CROSS.index("product_popular_and_bought")


NO_VIEWS: Mapping[str, int] = MappingProxyType({})
Told = tuple[Mapping[str, float] | None, Mapping[str, Sequence[float]], ProductOrders, Mapping[str, int]]
"""A customer: features (None: nothing is known), orders by category, by product, looks by category."""


@dataclass(frozen=True, slots=True)
class OfferFacts:
    """An offer as numbers: `index` of its categories and their `weight` (the part of a category's orders that its
    products have; 1 where only the category is known), `static` (OFFER), how `near` its text is to each category's
    (the category's vector times the offer's of length 1; NaN: no text is known) and hashes of its products.
    """

    index: Ints
    weight: Floats
    static: Floats
    near: Floats
    products: Ints


@dataclass(frozen=True, slots=True)
class OfferTable:
    """The facts of M offers, stacked: index, weight and whether a part is `main` (M, 6), static (M, 4), near (M, T).
    `product` and `of_offer` (P,): hashes of products (features/products.py), ascending, and the offer that each
    belongs to; `named` (M,): which offers name products. `part` (M, at most 6): weights that sum to 1, as many as the
    offer of most categories has; NaN where there is no category.
    """

    index: Ints
    weight: Floats
    main: Bools
    static: Floats
    near: Floats
    product: Ints
    of_offer: Ints
    named: Bools
    part: Floats

    @classmethod
    def of(cls, facts: Sequence[OfferFacts]) -> OfferTable:
        weight = np.array([one.weight for one in facts], np.float64).reshape(-1, CATEGORIES_AN_OFFER)
        product = np.concatenate([np.empty(0, np.int64), *(one.products for one in facts)])
        of_offer = np.repeat(np.arange(len(facts)), [len(one.products) for one in facts])
        order = np.argsort(product, kind="stable")
        used = max(int((weight > 0).any(axis=0).sum()), 1)
        with np.errstate(invalid="ignore"):
            part = weight[:, :used] / weight.sum(axis=1, keepdims=True)
        return cls(
            np.array([one.index for one in facts], np.int64).reshape(-1, CATEGORIES_AN_OFFER),
            weight,
            (weight > 0) & (weight >= SMALL_PART * weight.max(axis=1, keepdims=True, initial=0)),
            np.array([one.static for one in facts], np.float64).reshape(-1, len(OFFER)),
            np.array([one.near for one in facts], np.float64).reshape(len(facts), -1),
            product[order],
            of_offer[order],
            np.array([len(one.products) > 0 for one in facts], np.bool_),
            part,
        )


@dataclass(frozen=True, slots=True)
class Customers:
    """N customers as arrays: `values` (N, CUSTOMER), NaN where unknown; `affinity` (N, categories, 3): orders in 90
    and 365 days, days since the last (NaN: never). `known` False makes a row one of which nothing is known.
    `products`: orders by product. `views` (N, categories): looks at products in 365 days.
    """

    values: Floats
    affinity: Floats
    known: npt.NDArray[np.bool_]
    products: ManyProducts
    views: Floats


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
    _alike: Floats = field(init=False, repr=False, compare=False)
    """(texts, texts): categories' vectors times each other."""
    _numbers: dict[str, int] = field(init=False, repr=False, compare=False, default_factory=dict)
    _facts: dict[OfferInfo, OfferFacts] = field(init=False, repr=False, compare=False, default_factory=dict)
    _lock: Any = field(init=False, repr=False, compare=False, default_factory=Lock)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_alike", self.category_vectors @ self.category_vectors.T)
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

    @property
    def numbered(self) -> tuple[str, ...]:
        """The categories in the order of their numbers."""
        return tuple(self._numbers)

    def number_of(self, category: str) -> int:
        """The number of a category, a new one if need be."""
        with self._lock:
            return self._numbers.setdefault(category, len(self._numbers))

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
            facts = OfferFacts(index, weight, static, self._near(offer), products)
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

    def _near(self, offer: OfferInfo) -> Floats:
        if not self.dimensions:
            return np.full(len(self.category_vectors), np.nan)
        vector = self._vector(offer)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.category_vectors @ (vector / np.linalg.norm(vector)), np.float64)

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

    def interest(self, bought: Floats) -> Floats:
        """Lengths (n,) of the sums of categories' vectors, weighted by `bought` (n, texts); NaN for none."""
        texts = bought.shape[1]
        if not self.dimensions or not texts:
            return np.full(len(bought), np.nan)
        # One customer after another: a product of matrices adds otherwise when there are more rows.
        squares = np.matmul(bought[:, None, :], self._alike[:texts, :texts])[:, 0] * bought
        with np.errstate(invalid="ignore"):
            square = squares.sum(axis=1)
            return np.sqrt(np.where(square > 0, square, np.nan))

    def customers(
        self,
        values: Mapping[str, float] | None,
        affinity: Mapping[str, Sequence[float]],
        products: ProductOrders = NO_PRODUCTS,
        views: Mapping[str, int] = NO_VIEWS,
    ) -> Customers:
        """One customer as arrays; `values` None: somebody of whom nothing is known."""
        return self.many_customers([(values, affinity, products, views)])

    def many_customers(self, told: Sequence[Told]) -> Customers:
        """Several customers as arrays, each as `customers` takes one."""
        unknown = [np.nan] * len(CUSTOMER)
        lines = [unknown if of is None else [of.get(name, np.nan) for name in CUSTOMER] for of, _, _, _ in told]
        return Customers(
            np.array(lines, np.float64).reshape(-1, len(CUSTOMER)),
            self.affinities([affinity for _, affinity, _, _ in told]),
            np.array([of is not None for of, _, _, _ in told], np.bool_),
            ManyProducts.of([products for _, _, products, _ in told]),
            self.looks([views for _, _, _, views in told]),
        )

    def affinities(self, told: Sequence[Mapping[str, Sequence[float]]]) -> Floats:
        """(customers, categories, 3): what customers ordered of each category (`Customers.affinity`)."""
        grid = np.zeros((len(told), self.width, 3))
        grid[:, :, 2] = np.nan
        numbers = self._numbers
        found = [
            (place, numbers[category], liked)
            for place, affinity in enumerate(told)
            for category, liked in affinity.items()
            if category in numbers
        ]
        if found:
            places, categories, liked = zip(*found, strict=True)
            grid[places, categories] = liked
        return grid

    def looks(self, told: Sequence[Mapping[str, int]]) -> Floats:
        """(customers, categories): how often each looked at products of each category (`Customers.views`)."""
        grid = np.zeros((len(told), self.width))
        numbers = self._numbers
        for place, views in enumerate(told):
            for category, count in views.items():
                if category in numbers:
                    grid[place, numbers[category]] = count
        return grid


def products_signature(offer: OfferInfo) -> str:
    """Changes when the offer's products do."""
    return xxh3_64_hexdigest("\n".join(sorted(offer.product_ids)).encode()) if offer.product_ids else ""


def pair_features(customers: Customers, offers: OfferTable, knowledge: OfferKnowledge) -> Floats:
    """The features of every pair, shape (N, M, PAIR). Everything of the customer is NaN where nothing is known."""
    cross = np.empty((len(customers.values), len(offers.index), len(CROSS)))
    cross_features(customers, offers, knowledge, cross)
    return joined(customers.values, offers.static, cross)


def joined(customers: Floats, offers: Floats, cross: Floats) -> Floats:
    """PAIR of every pair (N, M, PAIR), of CUSTOMER (N, ...), OFFER (M, ...) and CROSS (N, M, ...)."""
    result = np.empty((*cross.shape[:2], len(PAIR)))
    first, second = len(CUSTOMER), len(CUSTOMER) + len(OFFER)
    result[:, :, :first] = customers[:, None, :]
    result[:, :, first:second] = offers[None]
    result[:, :, second:] = cross
    return result


def cross_features(customers: Customers, offers: OfferTable, knowledge: OfferKnowledge, out: Floats) -> None:
    """Writes CROSS of every pair into the last numbers of each row of `out` (N, M, ...), which lies row upon row.

    A pair's numbers do not depend on its neighbours: sums go one by one, categories in their order.
    """
    texts = min(len(knowledge.category_vectors), customers.affinity.shape[1])
    with np.errstate(invalid="ignore"):
        bought = np.log1p(customers.affinity[:, :texts, 1])
    size = knowledge.interest(bought)
    cross = out[:, :, -len(CROSS) :]
    trained = len(knowledge.categories)
    if KERNEL is not None:
        _kernel_cross(customers, offers, bought, size, trained, out)
    else:
        cross[:, :, len(LOOKS) :] = _cross(customers, offers, bought, size)
        cross[:, :, : len(LOOKS)] = _looks(customers, offers, trained)
    np.log(cross[:, :, _INTEREST], out=cross[:, :, _INTEREST])
    for logarithm, orders in ((_POPULAR, _ORDERS), (_POPULAR_OWN, _OWN)):
        cross[:, :, logarithm] = offers.static[:, _POPULARITY] + np.log1p(cross[:, :, orders])


def _kernel_cross(
    customers: Customers, offers: OfferTable, bought: Floats, size: Floats, trained: int, out: Floats
) -> None:
    products = customers.products
    numbers = [customers.affinity, bought, size, customers.values[:, _ORDERS_365D], customers.known]
    numbers += [offers.index, offers.weight, offers.main, offers.near[:, : bought.shape[1]]]
    numbers += [products.start, products.key, products.orders, offers.product, offers.of_offer, offers.named]
    numbers += [customers.views, offers.part, np.array([trained])]
    KERNEL.cross(*map(np.ascontiguousarray, numbers), out)


def _cross(customers: Customers, offers: OfferTable, bought: Floats, size: Floats) -> Floats:
    """CROSS behind LOOKS (N, M, ...) but for what takes a logarithm, which is 0."""
    affinity = _widened(customers.affinity, int(offers.index.max(initial=0)) + 1)
    orders_90d, orders_365d = (_weighted(affinity[:, offers.index, kind], offers.weight) for kind in (0, 1))
    days = np.where(offers.main[None] & ~np.isnan(affinity[:, offers.index, 2]), affinity[:, offers.index, 2], np.inf)
    last = days.min(axis=2, initial=np.inf)
    last = np.where(np.isfinite(last), last, np.nan)
    all_orders = customers.values[:, _ORDERS_365D][:, None]
    own = product_orders(customers.products, offers)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(all_orders > 0, orders_365d / all_orders, 0.0)
        due = np.where(orders_365d > 0, last * orders_365d / 365, np.nan)
        own_share = np.where(all_orders > 0, own / all_orders, 0 * own)
    later = np.zeros_like(own)
    parts = [orders_90d, orders_365d, last, share, due, later, _similarity(bought, size, offers), own, own_share, later]
    stacked = np.stack(parts, axis=2)
    stacked[~customers.known] = np.nan
    return stacked


def _looks(customers: Customers, offers: OfferTable, categories: int) -> Floats:
    """LOOKS (N, M, 2), the second before its logarithm: looks at products of the offer's categories, and how much more
    than an even share of all that the customer bought and looked at was of them; NaN for offers without a category.

    An even share is one of the `categories` that training knew: others, which come with new offers, count in no sum.
    """
    signs = customers.views + AN_ORDER * customers.affinity[:, :, 1]
    even = (signs[:, :categories].sum(axis=1) + categories) / max(categories, 1)
    later = int(offers.index.max(initial=0)) + 1 - signs.shape[1]
    both = np.stack([customers.views, signs])
    if later > 0:  # categories that came with new offers: no looks
        both = np.concatenate([both, np.zeros((*both.shape[:2], later))], axis=2)
    found = _weighted(both[:, :, offers.index[:, : offers.part.shape[1]]], offers.part)
    found[1] = (found[1] + 1) / even[:, None]
    found[:, ~customers.known] = np.nan
    return np.moveaxis(found, 0, 2)


def _widened(affinity: Floats, categories: int) -> Floats:
    """With categories that came later: no orders."""
    more = np.zeros((len(affinity), max(categories - affinity.shape[1], 0), 3))
    more[:, :, 2] = np.nan
    return np.concatenate([affinity, more], axis=1)


def _weighted(orders: Floats, weight: Floats) -> Floats:
    """Sums of orders (..., M, parts) by weight (M, parts), one part after another: (..., M)."""
    total = orders[..., 0] * weight[:, 0]
    for part in range(1, weight.shape[1]):
        total += orders[..., part] * weight[:, part]
    return np.asarray(total, np.float64)


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


def _similarity(bought: Floats, size: Floats, offers: OfferTable) -> Floats:
    """Cosine of the offer's text and the texts of the categories bought in a year, weighted by orders' logarithm."""
    total = np.zeros((len(bought), len(offers.index)))
    with np.errstate(invalid="ignore", divide="ignore"):
        for category in range(bought.shape[1]):
            here = bought[:, category, None]
            total += np.where(here != 0, here * offers.near[:, category], 0.0)
        return np.asarray(total / size[:, None], np.float64)


def _number(value: float | int | None) -> float:
    return np.nan if value is None else float(value)

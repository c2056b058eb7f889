"""The first stage on a made-up catalogue: what is bought, what goes with it, alike texts, and new offers are found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from features.offers import OfferInfo
from features.products import ManyProducts, ProductOrders, product_key
from features.rows import CustomerRow
from features.text_keys import text_key
from features.texts import Texts, TextVectors, add_texts
from models.candidates import CandidateIndex, Together, Worth
from models.offer_features import OfferKnowledge
from training.together import fit_together

NOW = datetime(2026, 5, 4, tzinfo=UTC)
MANY, MOST = 2_000, 40
TOPICS = ["tea", "rope", "shoes", "toys"]


def topic(number: int) -> str:
    return TOPICS[number % len(TOPICS)]


@pytest.fixture
def vectors(tmp_path: Path) -> TextVectors:
    """Texts about a topic point its way."""
    random, texts = np.random.default_rng(1), [*TOPICS, *(f"offer {n}" for n in range(MANY))]
    about = [TOPICS.index(text) if text in TOPICS else int(text.split()[1]) % len(TOPICS) for text in texts]
    made = np.eye(16)[about] + 0.05 * random.normal(size=(len(texts), 16))
    add_texts(tmp_path, "m", texts, (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32))
    return Texts(tmp_path).read()


def offers(category: bool = True) -> list[OfferInfo]:
    return [
        OfferInfo(f"o{n:04}", topic(n) if category else f"c{n}", frozenset({f"p{n}"}), text=text_key(f"offer {n}"))
        for n in range(MANY)
    ]


def known(new: frozenset[int] = frozenset(), together: Together | None = None) -> OfferKnowledge:
    popularity = {f"o{n:04}": -3.0 - n / MANY for n in range(MANY) if n not in new}
    return OfferKnowledge((), {}, popularity, {}, -4.0, np.zeros((0, 0)), {}, together=together or Together.none())


def customer(liked: str | None = None, bought: dict[int, int] | None = None) -> CustomerRow:
    told = sorted((product_key(f"p{n}"), times) for n, times in (bought or {}).items())
    keys, times = (np.array([pair[place] for pair in told], np.int64) for place in (0, 1))
    affinity = {liked: (1.0, 4.0, 9.0)} if liked else {}
    return CustomerRow("c", NOW, {}, affinity, np.zeros(168, np.int64), {}, ProductOrders(keys, times))


def worth(value: float = 1.0) -> Worth:
    return Worth(np.full(MANY, value), np.zeros(MANY), np.ones(MANY))


ALL = np.ones(MANY, np.bool_)


def test_a_stranger_gets_what_is_worth_most(vectors: TextVectors) -> None:
    index = CandidateIndex(offers(), worth(), known(), vectors)
    assert index.pick(None, ALL, MOST).tolist() == list(range(MOST))
    dear = Worth(np.where(np.arange(MANY) == 1999, 100.0, 1.0), np.zeros(MANY), np.ones(MANY))
    assert 1999 in CandidateIndex(offers(), dear, known(), vectors).pick(None, ALL, MOST)


def test_what_was_bought_and_its_categories_are_found(vectors: TextVectors) -> None:
    index = CandidateIndex(offers(), worth(), known(), vectors)
    found = index.pick(customer("toys", {1500: 3, 1777: 1}), ALL, MOST)
    assert len(found) == MOST
    assert {1500, 1777} <= set(found.tolist())
    assert sum(topic(place) == "toys" for place in found.tolist()) > MOST // 2


def test_alike_texts_are_found_without_a_category(vectors: TextVectors) -> None:
    index = CandidateIndex(offers(category=False), worth(), known(), vectors)
    found = index.pick(customer("toys"), ALL, MOST)
    assert sum(topic(place) == "toys" for place in found.tolist()) > MOST // 2
    blind = CandidateIndex(offers(category=False), worth(), known(), TextVectors.none())
    assert sum(topic(place) == "toys" for place in blind.pick(customer("toys"), ALL, MOST).tolist()) == MOST // 4


def test_what_goes_with_a_purchase_is_found(vectors: TextVectors) -> None:
    random = np.random.default_rng(2)
    carts = [
        ProductOrders(np.sort([product_key(f"p{n}") for n in cart]), np.ones(len(cart), np.int64))
        for cart in ([1900, 1901, *random.choice(1500, 3, replace=False).tolist()] for _ in range(30))
    ]
    together = fit_together(ManyProducts.of(carts))
    assert together.of(ProductOrders())[0].size == 0
    near, likeness = together.of(ProductOrders(np.array([product_key("p1900")]), np.array([2])))
    assert near[likeness.argmax()] == product_key("p1901")
    index = CandidateIndex(offers(), worth(), known(together=together), vectors)
    assert 1901 in index.pick(customer(None, {1900: 2}), ALL, MOST)
    assert 1901 not in CandidateIndex(offers(), worth(), known(), vectors).pick(customer(None, {1900: 2}), ALL, MOST)


def test_new_offers_have_places(vectors: TextVectors) -> None:
    index = CandidateIndex(offers(), worth(), known(new=frozenset({1998, 1999})), vectors)
    assert {1998, 1999} <= set(index.pick(customer("tea"), ALL, MOST).tolist())


def test_only_what_may_go_and_what_is_wanted_first(vectors: TextVectors) -> None:
    index = CandidateIndex(offers(), worth(), known(), vectors)
    open_ = np.arange(MANY) % 100 == 7
    found = index.pick(customer("toys", {1500: 3}), open_, MOST)
    assert found.tolist() == np.flatnonzero(open_).tolist()
    wanted = np.array([1990, 1991])
    assert set(wanted.tolist()) <= set(index.pick(customer("tea"), ALL, MOST, wanted).tolist())
    assert index.pick(customer("tea"), ~ALL, MOST).size == 0


def test_without_a_model_what_is_bought_is_found_too(vectors: TextVectors) -> None:
    index = CandidateIndex(offers(), worth(), None, vectors)
    found = index.pick(customer("toys", {1500: 3}), ALL, MOST)
    assert 1500 in found
    assert len(found) == MOST


def test_nothing_is_alike_where_few_bought() -> None:
    few = ProductOrders(np.array([1, 2]), np.array([1, 1]))
    assert len(fit_together(ManyProducts.of([few, few])).key) == 0
    assert len(fit_together(ManyProducts.of([])).key) == 0

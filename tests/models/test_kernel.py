"""The compiled part and numpy give the same bits; without the compiled part, the same answers."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.offers import OfferInfo
from features.products import NO_PRODUCTS, Bought, ManyProducts, counted, product_key
from models.explaining import REASONS, TABLES, Explained, Market, explain, sizes
from models.kernel import KERNEL, KernelTrees
from models.linear import Codes, Linear
from models.offer_features import CROSS, CUSTOMER, PAIR, Customers, OfferKnowledge, OfferTable, pair_features
from models.quick_trees import QuickTrees, quick_trees
from models.response import INPUTS
from models.seen_words import Remembered, Teller, texts_about
from models.trees import parse_trees

WIDTH = 6
GROUP = TABLES[0]
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-30, 1e300, -5.0, 3.7])
ROOT = Path(__file__).parents[2]

compiled = pytest.mark.skipif(KERNEL is None or REASONS is None, reason="the kernel was not built here")


def rows_of(seed: int, *shape: int) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.normal(size=shape).round(1)
    odd = random.random(x.shape) < 0.3
    x[odd] = random.choice(ODD, odd.sum())
    return x


def booster_of(seed: int, **options: object) -> lightgbm.Booster:
    x = rows_of(seed, 400, WIDTH)
    y = (np.nan_to_num(x[:, 0], posinf=1, neginf=1) + np.random.default_rng(seed).normal(size=400) > 0).astype(float)
    told = {"objective": "binary", "min_data_in_leaf": 2, "verbose": -1, "num_threads": 1, "seed": seed} | options
    return lightgbm.train(told, lightgbm.Dataset(x, y, params={"verbose": -1}), 12)


def tables_of(booster: lightgbm.Booster) -> QuickTrees:
    tables = quick_trees(parse_trees(booster.model_to_string()))
    assert tables is not None
    return tables


@compiled
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    leaves=st.sampled_from([2, 7, 16, 31, 64]),
    count=st.integers(0, 130),
    options=st.sampled_from([{}, {"zero_as_missing": True}, {"use_missing": False}]),
)
def test_rows_are_equal_to_the_bit(seed: int, leaves: int, count: int, options: dict[str, object]) -> None:
    booster = booster_of(seed, num_leaves=leaves, **options)
    tables, rows = tables_of(booster), rows_of(seed + 1, count, WIDTH)
    kernel = KernelTrees(tables)
    assert kernel.raw_score(rows).tobytes() == tables.raw_score(rows).tobytes()
    assert kernel.contributions(rows).tobytes() == tables.contributions(rows).tobytes()
    if count:
        assert kernel.raw_score(rows).tobytes() == booster.predict(rows, raw_score=True).tobytes()


@compiled
@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    leaves=st.sampled_from([4, 8, 31, 64]),
    n=st.integers(1, 3),
    m=st.integers(1, 140),
    c=st.integers(0, 3),
)
def test_markets_are_equal_to_the_bit(seed: int, leaves: int, n: int, m: int, c: int) -> None:
    """Features 0 and 1 hang on the customer, 2 on the offer, 3 and 4 on both, 5 on customer and channel."""
    tables = tables_of(booster_of(seed, num_leaves=leaves))
    customers, offers = rows_of(seed + 1, n, 2), rows_of(seed + 2, m, 1)
    cross, channels = rows_of(seed + 3, n, m, 3), rows_of(seed + 4, n * max(c, 1), 1)
    told, effects = [], []
    random = np.random.default_rng(seed)
    twins = np.where(random.random(m) < 0.5, random.integers(m, size=m), np.arange(m))  # they are scored once
    offers, cross = offers[twins], np.where(random.random((n, m, 1)) < 0.8, cross[:, twins], cross)
    asked = np.stack([random.integers(most, size=90) for most in (n, m, max(c, 1))], axis=1).astype(np.int64)
    asked = np.concatenate([asked, asked[:9]])[np.argsort(np.append(asked[:, 0], asked[:9, 0]), kind="stable")]
    for trees, wide in ((tables, True), (KernelTrees(tables), True), (KernelTrees(tables), False)):
        KERNEL.wide(wide)
        masks = trees.masks([0, 1], customers), trees.masks([2], offers), trees.masks([5], channels) if c else None
        told.append(trees.weigh([3, -1, 4], cross, *masks))
        effects.append(trees.effects([3, -1, 4], cross, *masks, asked))
    assert told[0].shape == (n, m, max(c, 1))
    KERNEL.wide(True)
    assert told[0].tobytes() == told[1].tobytes() == told[2].tobytes()
    assert effects[0].tobytes() == effects[1].tobytes() == effects[2].tobytes()
    if c:
        whole = np.empty((n, m, c, WIDTH))
        whole[..., :2], whole[..., 2:3] = customers[:, None, None], offers[None, :, None]
        whole[..., 3:5], whole[..., 5] = cross[:, :, None, [0, 2]], channels.reshape(n, 1, c)
        assert told[0].tobytes() == tables.raw_score(whole.reshape(-1, WIDTH)).tobytes()
        assert effects[0].tolist() == tables.contributions(whole[tuple(asked.T)])[:, :-1].tolist()


def knowledge_of(random: np.random.Generator, dimensions: int) -> OfferKnowledge:
    vectors = random.normal(size=(3, dimensions))
    return OfferKnowledge(("a", "b", "c"), {}, {}, {}, -2.0, vectors, {"o1": random.normal(size=dimensions)})


def market_of(seed: int, n: int, m: int, dimensions: int) -> tuple[Customers, OfferTable, OfferKnowledge]:
    random = np.random.default_rng(seed)
    known = knowledge_of(random, dimensions)
    offers = [
        OfferInfo(f"o{j}", [None, "a", "b", "c", "new"][random.integers(5)], names("p", random.integers(0, 4), random))
        for j in range(m)
    ]
    affinity = random.integers(0, 4, (n, 3, 3)).astype(float)
    affinity[random.random((n, 3)) < 0.3] = [0.0, 0.0, np.nan]
    values = np.where(random.random((n, len(CUSTOMER))) < 0.2, np.nan, random.integers(0, 3, (n, len(CUSTOMER))))
    bought = [
        counted(
            NO_PRODUCTS, Bought().and_([product_key(f"p{p}") for p in random.integers(0, 6, random.integers(9))], 0, 0)
        )
        for _ in range(n)
    ]
    views = random.integers(0, 5, (n, 3)).astype(float)
    customers = Customers(values, affinity, random.random(n) < 0.8, ManyProducts.of(bought), views)
    return customers, known.table(offers), known


@compiled
@pytest.mark.parametrize("categories", [1, 7, 8, 9, 128, 129, 300])
def test_many_categories_are_added_up_as_numpy_does(categories: int) -> None:
    random = np.random.default_rng(categories)
    names = tuple(f"k{number}" for number in range(categories))
    known = OfferKnowledge(names, {}, {}, {}, -2.0, np.empty((0, 0)), {})
    offers = known.table([OfferInfo(f"o{j}", f"k{j}", frozenset(), ("email",), *[None] * 5, ()) for j in range(3)])
    liked = random.normal(size=(4, known.width, 3)) * 10.0 ** random.integers(-3, 4, (4, known.width, 1))
    products = ManyProducts.of([NO_PRODUCTS] * 4)
    market = Customers(np.ones((4, len(CUSTOMER))), liked, np.ones(4, np.bool_), products, np.abs(liked[:, :, 0]))
    with np.errstate(invalid="ignore"):  # of shares below nothing, which only a test has
        told = [by(lambda: pair_features(market, offers, known), kernel) for kernel in (KERNEL, None)]
    assert np.array_equal(told[0], told[1], equal_nan=True)
    short = replace(market, views=market.views[:, :-1])
    with pytest.raises(ValueError, match="looks differ"):
        pair_features(short, offers, known)


def names(prefix: str, count: int, random: np.random.Generator) -> frozenset[str]:
    return frozenset(f"{prefix}{number}" for number in random.integers(0, 6, count))


@compiled
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 4), m=st.integers(1, 9), dimensions=st.sampled_from([0, 3]))
def test_what_a_customer_and_an_offer_are_to_each_other(seed: int, n: int, m: int, dimensions: int) -> None:
    market = market_of(seed, n, m, dimensions)
    told = [by(lambda: pair_features(*market), kernel) for kernel in (KERNEL, None)]
    assert np.array_equal(told[0], told[1], equal_nan=True)
    if m > 1:
        customers, offers, known = market
        one = [getattr(offers, part)[1:2] for part in ("index", "weight", "main", "static", "near")]
        mine = offers.of_offer == 1
        named, part = offers.named[1:2], offers.part[1:2]
        alone = OfferTable(*one, offers.product[mine], np.zeros(mine.sum(), np.int64), named, part)
        assert np.array_equal(pair_features(customers, alone, known)[:, 0], told[0][:, 1], equal_nan=True)


def by(call: Callable[[], Any], kernel: Any) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.offer_features.KERNEL", kernel)
        patch.setattr("models.explaining.REASONS", kernel and REASONS)
        patch.setattr("models.seen_words.REASONS", kernel and REASONS)
        patch.setattr("models.linear.KERNEL", kernel)
        return call()


def explained_market(seed: int, n: int, m: int, c: int) -> Market:
    """As `market_of`, with whole numbers, odd ones, and categories of which some have no number."""
    random = np.random.default_rng(seed)
    customers, offers, known = market_of(seed, n, m, 3)
    seen = rows_of(seed + 1, n, m, 1 + len(CROSS)) * 2
    rates = rows_of(seed + 2, n, c, len(INPUTS) - len(PAIR))
    mains = random.integers(-1, known.width if n else 0, m)
    liked = known.affinities([{"a": (1.0, 2.0, 40.5), "b": (0.0, 1.0, 0.5)} for _ in range(n)])
    customers = replace(customers, affinity=liked, views=random.integers(0, 5, liked.shape[:2]).astype(float))
    return Market(customers, offers.static, seen, rates, random.normal(size=m), mains)


@compiled
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 3),
    m=st.integers(1, 4),
    k=st.integers(0, 5),
    divided=st.booleans(),
)
def test_what_reasons_tell_is_the_same(seed: int, n: int, m: int, k: int, divided: bool) -> None:
    random, market = np.random.default_rng(seed), explained_market(seed, n, m, 2)
    asked = np.stack([random.integers(most, size=k) for most in (n, m, 2)], axis=1).astype(np.int64)
    scale = random.choice([0.3, 0.0004])
    parts, head = (random.integers(-3, 4, (k, width)) * scale for width in (len(PAIR), 1 + len(INPUTS)))
    told = [by(lambda: explain(asked, market, parts, head, divided), kernel) for kernel in (KERNEL, None)]
    assert [part.tobytes() for part in map(np.nan_to_num, told[0])] == [
        part.tobytes() for part in map(np.nan_to_num, told[1])
    ]
    assert [np.isnan(part).tolist() for part in told[0]] == [np.isnan(part).tolist() for part in told[1]]
    spoken = [row[row >= 0] for row in told[0].first]
    assert all(len(set(GROUP[row])) == len(row) for row in spoken)


@compiled
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), k=st.integers(0, 6), most=st.integers(0, 5))
def test_reasons_have_the_same_words(seed: int, k: int, most: int) -> None:
    random, market = np.random.default_rng(seed), explained_market(seed, 2, 3, 2)
    asked = np.stack([random.integers(many, size=k) for many in (2, 3, 2)], axis=1).astype(np.int64)
    parts, head = (random.normal(size=(k, width)) for width in (len(PAIR), 1 + len(INPUTS)))
    found = explain(asked, market, parts, head, True)
    categories, told = ["a", None, "Grüße"], []
    for kernel in (KERNEL, KERNEL, None):  # the second time all is remembered
        texts = [texts_about(category) for category in categories]
        teller = Teller(market.customers, categories, texts, ("email", "sms"), most)
        told.append(by(lambda teller=teller: teller.tell(asked, found), kernel))
    assert told[0] == told[1] == told[2]
    assert len(told[0]) == k
    for reasons in told[0]:
        assert len(reasons) <= most
        assert len({one["text"] for one in reasons}) == len(reasons)


def test_sentences_are_remembered_up_to_a_number() -> None:
    memory = Remembered(2 * len(INPUTS))
    tea, sms = memory.about("tea"), memory.about("sms")
    assert memory.about("tea") is tea
    for number in range(2 * len(INPUTS)):
        memory.put(tea[number % 2], float(number), "bought tea")
    assert [len(tea[0]), len(tea[1]), len(sms[0])] == [len(INPUTS), len(INPUTS), 0]
    memory.put(sms[0], 1.0, None)
    assert [len(tea[0]), len(tea[1]), len(sms[0])] == [0, 0, 1]
    assert memory.about("coffee") is not tea
    assert memory.about("tea") is not tea


@compiled
@pytest.mark.parametrize("wrong", [{"first": 99}, {"asked": 9}, {"first": len(CUSTOMER), "asked": 9}])
def test_words_of_what_is_not_there_are_refused(wrong: dict[str, int]) -> None:
    market = explained_market(1, 1, 1, 1)
    teller = Teller(market.customers, ["a"], [texts_about("a")], ("email",), 3)
    asked = np.full((1, 3), wrong.get("asked", 0))
    found = Explained(np.full((1, 2), wrong.get("first", len(PAIR))), np.ones((1, 2)), np.zeros((1, 2)))
    with pytest.raises(IndexError):
        teller.tell(asked, found)
    with pytest.raises(ValueError, match="differ in length"):
        teller.tell(asked[:, :2], found)


@compiled
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(0, 5))
def test_a_regression_scores_the_same(seed: int, n: int) -> None:
    random, rows = np.random.default_rng(seed), rows_of(seed, n, WIDTH)
    rows[random.random(rows.shape) < 0.2] = 3.0
    center, weight, missing = random.normal(size=(3, WIDTH))
    codes = {2: Codes(np.array([-5.0, 0.0, 3.0]), random.normal(size=3)), 4: Codes(np.array([3.7]), np.array([0.5]))}
    model = Linear(center, random.random(WIDTH) + 0.5, weight, missing, -1.25, codes)
    told = [by(lambda: model.raw_score(rows), kernel) for kernel in (KERNEL, None)]
    assert told[0].tobytes() == told[1].tobytes()
    with pytest.raises(ValueError, match="differ in length"):
        model.raw_score(np.zeros((2, WIDTH + 1)))


def test_sizes_are_added_up_as_numpy_does() -> None:
    parts = np.random.default_rng(0).normal(size=(9, len(PAIR))) * 10.0 ** np.arange(-4, 5)[:, None]
    assert sizes(parts).tolist() == np.abs(parts).sum(axis=1).tolist()


@compiled
def test_what_does_not_fit_is_refused() -> None:
    kernel = KernelTrees(tables_of(booster_of(1)))
    rows, masks = rows_of(1, 3, WIDTH), kernel.masks([0], rows_of(1, 3, 1))
    with pytest.raises(ValueError, match="differ"):
        kernel.raw_score(rows[:, :-1])
    with pytest.raises(ValueError, match="no feature"):
        kernel.masks([WIDTH], rows[:, :1])
    with pytest.raises(ValueError, match="numbers of rows"):
        kernel.weigh([3], rows_of(1, 3, 2, 1), masks, masks, None)
    with pytest.raises(ValueError, match="not there"):
        kernel.effects([3], rows_of(1, 3, 3, 1), masks, masks, None, np.array([[0, 3, 0]]))
    with pytest.raises(ValueError, match="asked and results"):
        kernel.effects([3], rows_of(1, 3, 3, 1), masks, masks, None, np.array([[0, 1]]))
    with pytest.raises(ValueError, match="do not fit"):
        KERNEL.Forest(2, 1, 0.0, *(np.zeros(1, kind) for kind in (int, float, np.uint8, float, int, int, float)))


@compiled
@pytest.mark.parametrize("asked", [(0, 0, 2), (0, 2, 0), (1, 0, 0), (-1, 0, 0), (0, -1, 0), (0, 0, -1)])
def test_nobody_who_is_not_there_is_explained(asked: tuple[int, int, int]) -> None:
    parts, head = np.zeros((1, len(PAIR))), np.zeros((1, 1 + len(INPUTS)))
    with pytest.raises(ValueError, match="not there"):
        explain(np.array([asked]), explained_market(1, 1, 2, 2), parts, head, True)


@compiled
@pytest.mark.parametrize("wrong", ["seen", "rates", "mains", "static", "of_channels", "parts", "head"])
def test_parts_that_do_not_fit_are_not_explained(wrong: str) -> None:
    market, asked = explained_market(1, 2, 2, 2), np.zeros((1, 3), np.int64)
    effects = {"parts": np.zeros((1, len(PAIR))), "head": np.zeros((1, 1 + len(INPUTS)))}
    if wrong in effects:
        effects[wrong] = effects[wrong][:, :-1]
    else:
        value = getattr(market, wrong)
        market = replace(market, **{wrong: np.full(2, 99) if wrong == "mains" else value.ravel()[:-1]})
    with pytest.raises(ValueError):
        explain(asked, market, **effects, divided=True)


@pytest.mark.parametrize("pure", ["0", "1"])
def test_one_variable_leaves_it_unused(pure: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import models.kernel as k; print(k.KERNEL is None)"],
        env={**os.environ, "OPPORTUNE_PURE": pure, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
        cwd=ROOT,
    )
    assert told.stdout.strip() == str(pure == "1" or KERNEL is None)

"""Ranking figures with intervals, and on earlier cuts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from models.offer_features import PAIR
from training import offer_judge
from training.offer_fit import Block, Purchase, fit_purchase
from training.offer_judge import FOLDS, earlier_folds, figures, slices

AT = datetime(2026, 1, 1, tzinfo=UTC)


def block(seed: int) -> Block:
    """60 customers, 20 offers: who has orders of a category buys it."""
    random = np.random.default_rng(seed)
    features = random.random((60, 20, len(PAIR)))
    liked = features[:, :, PAIR.index("category_orders_90d")]
    return Block(features, random.random((60, 20)) < liked**3, np.arange(20))


def test_figures_have_the_ends_of_their_intervals() -> None:
    one = block(1)
    found = figures(one.features[:, :, PAIR.index("category_orders_90d")], one.bought, np.zeros_like(one.bought))
    assert found["ndcg_at_10.low"] < found["ndcg_at_10"] < found["ndcg_at_10.high"]
    assert found["auc"] > 0.7
    assert found["redemptions"] == 0
    assert "redemption_auc" not in found  # nobody redeemed


def test_earlier_cuts_are_judged_by_rankers_that_had_not_seen_them(monkeypatch: pytest.MonkeyPatch) -> None:
    cuts = [AT + timedelta(days=14 * number) for number in range(5)]
    blocks = {cut: block(number) for number, cut in enumerate(cuts)}
    place = {id(one): number for number, one in enumerate(blocks.values())}
    seen: list[tuple[list[int], int]] = []

    def fit(train: Sequence[Block], valid: Block) -> Purchase:
        seen.append(([place[id(one)] for one in train], place[id(valid)]))
        return fit_purchase(train, valid)

    monkeypatch.setattr(offer_judge, "fit_purchase", fit)
    found = earlier_folds(blocks, cuts)
    assert [fold["cut"] for fold in found] == [cut.timestamp() for cut in cuts[-1 - FOLDS : -1]]
    assert all(fold["auc"] > 0.6 for fold in found)
    assert seen == [([0], 1), ([0, 1], 2)]  # judged are 2 and 3
    assert earlier_folds(blocks, cuts[:3]) == []
    with pytest.raises(KeyError):
        earlier_folds({}, cuts)


def test_promises_are_held_against_what_came_by_group() -> None:
    one = block(3)
    one.features[:, :, PAIR.index("product_orders")] = np.arange(20) % 2
    found = {name: rest for name, *rest in slices(one, np.full(one.bought.shape, 0.25))}
    pairs, promised, observed = found["bought the offer's products before"]
    assert (pairs, promised) == (600, 0.25)
    assert observed == pytest.approx(one.bought[:, 1::2].mean())
    assert "more than 5 orders in a year" not in found  # nobody in it
    assert found["not more than 5 orders in a year"][0] == 1200

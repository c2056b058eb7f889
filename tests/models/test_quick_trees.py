"""Bit masks reach the same leaves as LightGBM, whatever the values; reasons through leaves are those along paths."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channel_hours import ChannelHours
from features.offers import OfferInfo
from features.rows import CustomerRow
from models.next_offer import NextOfferModel
from models.offer_features import CUSTOMER
from models.offer_stages import STAGE, OfferStages
from models.quick_trees import ADDED_AT_ONCE, FEW_ROWS, quick_trees
from models.response import SEEN, ResponseHead
from models.trees import TreeModel, parse_trees
from tests.fakes.model_cases import next_offer_case

ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-30, 1e300, -5.0, 3.7])
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
HOURS = np.zeros(168, np.int64)
CHANNELS = ("email", "sms")
OFFERS = [
    OfferInfo(f"o-{n}", category, frozenset(), CHANNELS, percent, None, 5.0, 0.1, None, ())
    for n, (category, percent) in enumerate([("Tea", 10.0), ("Tea", None), (None, 30.0), ("New", 5.0)])
]


def _rows(seed: int, rows: int = 300, width: int = 6) -> np.ndarray:
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, width)).round(1)
    x[random.random(x.shape) < 0.2] = np.nan
    x[random.random(x.shape) < 0.2] = 0.0
    return x


def _fit(seed: int, width: int = 6, names: list[str] | None = None, **options: object) -> lightgbm.Booster:
    x = _rows(seed, 500, width)
    y = (np.nan_to_num(x[:, 0]) + np.random.default_rng(seed).normal(size=500) > 0).astype(float)
    parameters = {"objective": "binary", "min_data_in_leaf": 3, "verbose": -1, "num_threads": 1, "seed": seed}
    data = lightgbm.Dataset(x, y, feature_name=names or "auto", params={"verbose": -1})
    return lightgbm.train(parameters | options, data, 20)


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    leaves=st.sampled_from([4, 8, 15, 31, 64]),
    options=st.sampled_from([{}, {"zero_as_missing": True}, {"use_missing": False}]),
)
def test_scores_equal_lightgbm_bit_for_bit(seed: int, leaves: int, options: dict[str, object]) -> None:
    booster = _fit(seed, num_leaves=leaves, **options)
    model = parse_trees(booster.model_to_string())
    assert model.quick is not None
    rows = _rows(seed + 1)
    mask = np.random.default_rng(seed).random(rows.shape) < 0.3
    rows[mask] = np.random.default_rng(seed).choice(ODD, mask.sum())
    assert (model.raw_score(rows) == booster.predict(rows, raw_score=True)).all()
    assert np.allclose(model.contributions(rows).sum(axis=1), model.raw_score(rows), atol=1e-9)
    assert np.allclose(model.contributions(rows[:9]), _walked(model).contributions(rows[:9]), atol=1e-12)


def _walked(model: TreeModel) -> TreeModel:
    copy = replace(model)
    object.__setattr__(copy, "quick", None)
    return copy


@pytest.mark.parametrize("options", [{"num_leaves": 100, "min_data_in_leaf": 1, "min_sum_hessian_in_leaf": 0}])
def test_larger_trees_are_walked(options: dict[str, object]) -> None:
    model = parse_trees(_fit(3, **options).model_to_string())
    assert quick_trees(model) is None
    assert len(model.raw_score(_rows(1))) == 300


def _customer(seed: int) -> CustomerRow:
    random = np.random.default_rng(seed)
    values = dict(zip(CUSTOMER, random.gamma(1.0, 5.0, len(CUSTOMER)).tolist(), strict=True))
    values["orders_90d"] = float("nan") if seed % 2 else 3.0
    answered = np.roll(HOURS + np.arange(168) % 3, seed)
    return CustomerRow(
        f"c{seed}", NOW, values, {"Tea": (1.0, float(seed), 3.0)}, HOURS, {"sms": ChannelHours(answered, HOURS)}
    )


def _with_trees() -> NextOfferModel:
    model = next_offer_case().model
    assert isinstance(model, NextOfferModel)
    text = _fit(5, len(SEEN), list(SEEN), num_leaves=8).model_to_string()
    return model.with_response(ResponseHead("trees", trees=parse_trees(text), tree_text=text), model.channels)


def _with_stages() -> NextOfferModel:
    model = _with_trees()
    random = np.random.default_rng(9)
    weights = {offer.offer_id: random.normal(size=len(STAGE)) for offer in OFFERS[1:]}
    stages = OfferStages(random.normal(size=len(STAGE)), weights)
    return model.with_response(replace(model.response, stages=stages), model.channels)


@pytest.mark.parametrize("made", [_with_trees, _with_stages, lambda: next_offer_case().model])
def test_a_customers_numbers_do_not_hang_on_their_neighbours(made: object) -> None:
    model = made()  # type: ignore[operator]
    rows = [_customer(1), None, _customer(2), _customer(3)]
    together = model.weigh(rows, OFFERS, CHANNELS)
    for place, row in enumerate(rows):
        alone = model.score(row, OFFERS, CHANNELS, NOW)
        assert (together.probabilities[place] == alone).all()
        assert (model.score(row, OFFERS[2:3], CHANNELS[1:], NOW) == alone[2:3, 1:]).all()
        assert together.reasons(place, 1, 1) == model.reasons(row, OFFERS[1], "sms", NOW)


def test_masks_give_what_walking_gives() -> None:
    quick = _with_trees()
    trees = quick.response.trees
    assert trees is not None
    walked = quick.with_response(replace(quick.response, trees=_walked(trees)), quick.channels)
    object.__setattr__(walked, "trees", _walked(walked.trees))
    for row in (_customer(1), None):
        assert (quick.score(row, OFFERS, CHANNELS, NOW) == walked.score(row, OFFERS, CHANNELS, NOW)).all()
        assert quick.reasons(row, OFFERS[0], "sms", NOW) == walked.reasons(row, OFFERS[0], "sms", NOW)


def test_scores_of_any_number_of_rows_are_those_of_each_row_alone() -> None:
    model = parse_trees(_fit(5, num_leaves=15).model_to_string()).quick
    assert model is not None
    rows = _rows(6, 2 * ADDED_AT_ONCE + 1)
    alone = np.concatenate([model.raw_score(rows[at : at + 1]) for at in range(len(rows))])
    for count in (0, 1, FEW_ROWS - 1, FEW_ROWS, ADDED_AT_ONCE, ADDED_AT_ONCE + 1, len(rows)):
        assert model.raw_score(rows[:count]).tobytes() == alone[:count].tobytes()

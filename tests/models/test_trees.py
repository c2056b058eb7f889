"""Our tree scorer against LightGBM itself."""

from __future__ import annotations

import lightgbm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.trees import TreeFormatError, TreeModel, parse_trees


def _table(seed: int, rows: int = 400) -> tuple[np.ndarray, np.ndarray]:
    """Columns: plain, with NaN, mostly zero, category (with NaN), constant."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(rows, 5))
    x[random.random(rows) < 0.3, 1] = np.nan
    x[random.random(rows) < 0.7, 2] = 0.0
    x[:, 3] = random.integers(0, 40, rows)
    x[random.random(rows) < 0.1, 3] = np.nan
    x[:, 4] = 1.0
    signal = x[:, 0] + np.nan_to_num(x[:, 1]) + (np.nan_to_num(x[:, 3]) % 3 == 0)
    return x, (signal + random.normal(size=rows) > 0.3).astype(float)


def _fit(seed: int, **options: object) -> lightgbm.Booster:
    x, y = _table(seed)
    parameters = {
        "objective": "binary",
        "num_leaves": 8,
        "min_data_in_leaf": 5,
        "verbose": -1,
        "num_threads": 1,
        "seed": seed,
        "max_cat_to_onehot": 4,
        "min_data_per_group": 5,
        "cat_smooth": 1.0,
    } | options
    data = lightgbm.Dataset(x, y, categorical_feature=[3], params={"verbose": -1})
    return lightgbm.train(parameters, data, num_boost_round=30)


def _odd_rows(seed: int) -> np.ndarray:
    """Rows that training never saw: NaN everywhere, infinities, tiny values, unknown and negative categories."""
    random = np.random.default_rng(seed)
    rows = _table(seed + 1, 300)[0]
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-36, -1e-36, 1e-30, 1e300, -5, 3.7, -0.5, 31, 32, 999])
    mask = random.random(rows.shape) < 0.4
    rows[mask] = random.choice(odd, mask.sum())
    return rows


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    options=st.sampled_from(
        [
            {},
            {"zero_as_missing": True},
            {"use_missing": False},
            {"max_cat_to_onehot": 100},
            {"linear_tree": False},
            {"objective": "regression"},
            {"boosting": "dart"},
            {"bagging_fraction": 0.5, "bagging_freq": 1},
        ]
    ),
)
def test_scores_equal_lightgbm_bit_for_bit(seed: int, options: dict[str, object]) -> None:
    booster = _fit(seed, **options)
    trees = parse_trees(booster.model_to_string())
    rows = _odd_rows(seed)
    expected = booster.predict(rows, raw_score=True, num_threads=1)
    np.testing.assert_array_equal(trees.raw_score(rows), expected)
    np.testing.assert_array_equal(np.concatenate([trees.raw_score(row[None]) for row in rows[:20]]), expected[:20])


@settings(max_examples=6, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_contributions_sum_to_the_score(seed: int) -> None:
    trees = parse_trees(_fit(seed).model_to_string())
    rows = _odd_rows(seed)[:50]
    np.testing.assert_allclose(trees.contributions(rows).sum(axis=1), trees.raw_score(rows), atol=1e-9)


@pytest.fixture(scope="module")
def trees() -> TreeModel:
    return parse_trees(_fit(1).model_to_string())


def test_a_feature_that_no_tree_uses_contributes_nothing(trees: TreeModel) -> None:
    assert np.all(trees.contributions(_odd_rows(3)[:10])[:, 4] == 0)


def test_a_model_without_a_split_scores_its_constant() -> None:
    booster = lightgbm.train(
        {"objective": "binary", "verbose": -1, "min_data_in_leaf": 1000},
        lightgbm.Dataset(np.zeros((50, 2)), np.r_[np.ones(20), np.zeros(30)]),
        num_boost_round=3,
    )
    rows = np.ones((4, 2))
    trees = parse_trees(booster.model_to_string())
    np.testing.assert_array_equal(trees.raw_score(rows), booster.predict(rows, raw_score=True))
    assert trees.contributions(rows).shape == (4, 3)


def test_no_rows_give_no_scores(trees: TreeModel) -> None:
    assert trees.raw_score(np.zeros((0, 5))).shape == (0,)
    assert trees.contributions(np.zeros((0, 5))).shape == (0, 6)


def test_a_wrong_width_is_refused(trees: TreeModel) -> None:
    with pytest.raises(ValueError, match="5 features are needed"):
        trees.raw_score(np.zeros((1, 4)))


@pytest.mark.parametrize("text", ["", "something", "tree\nfeature_names=a b\nTree=0\nnum_leaves=1\nleaf_value=1\n"])
def test_what_is_no_model_is_refused(text: str) -> None:
    with pytest.raises(TreeFormatError):
        parse_trees(text)


def test_classes_are_refused() -> None:
    x, _ = _table(1)
    data = lightgbm.Dataset(x, np.arange(len(x)) % 3)
    booster = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1}, data, num_boost_round=2)
    with pytest.raises(TreeFormatError, match="classes"):
        parse_trees(booster.model_to_string())

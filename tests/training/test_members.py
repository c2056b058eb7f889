"""The parts and their mixture: repeatable, regularized, chosen on outcomes that came later."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from models.bgnbd import BgNbd, Buying
from models.calibration import Calibration, sigmoid
from training.members import (
    BUYING,
    MIXES,
    RIDGES,
    ROUNDS,
    FoldScores,
    Recipe,
    choose,
    fit_buying,
    fit_linear,
    fit_members,
    recency,
    score_fold,
    tree_parameters,
)

DAY = timedelta(days=28)
AT = datetime(2026, 1, 1, tzinfo=UTC)
RANDOM = np.random.default_rng(1)
ROWS = RANDOM.gamma(1, 10, (1500, 4))
ROWS[RANDOM.random(ROWS.shape) < 0.1] = np.nan
LABELS = (RANDOM.random(1500) < sigmoid(np.nan_to_num(ROWS[:, 0]) / 5 - 2)).astype(float)
CODES = np.arange(1500)


def _scores(seed: int, rows: int = 800, trees: float = 1.0, linear: float = 1.0) -> FoldScores:
    """Scores whose quality is set: 1 is the truth, 0 is noise."""
    random = np.random.default_rng(seed)
    truth, noise = random.normal(-1, 1.5, rows), random.normal(-1, 1.5, (2, rows))
    labels = (random.random(rows) < sigmoid(truth)).astype(float)
    tree_scores = np.tile(trees * truth + (1 - trees) * noise[0], (len(ROUNDS), 1))
    linear_scores = np.tile(linear * truth + (1 - linear) * noise[1], (len(RIDGES), 1))
    members = fit_members(ROWS[:200], LABELS[:200], np.ones(200), 0)
    test = AT + timedelta(days=28 * seed)
    return FoldScores(test, np.arange(rows), labels, tree_scores, linear_scores, noise[0], members)


def test_fitting_again_gives_the_same() -> None:
    first, again = (fit_members(ROWS, LABELS, np.ones(1500), 0) for _ in range(2))
    assert first.booster.model_to_string() == again.booster.model_to_string()
    np.testing.assert_array_equal(first.linear[0].weight, again.linear[0].weight)
    one, two = (score_fold(part, AT, CODES, ROWS, LABELS, 0) for part in (first, again))
    np.testing.assert_array_equal(one.trees, two.trees)
    assert one.trees.shape == (len(ROUNDS), 1500)
    assert one.linear.shape == (len(RIDGES), 1500)


def test_a_stronger_ridge_gives_smaller_weights() -> None:
    weak, strong = fit_linear(ROWS, LABELS, np.ones(1500), (1.0, 1000.0))
    assert np.abs(strong.weight).sum() < np.abs(weak.weight).sum()
    assert np.argmax(np.abs(weak.weight)) == 0


def test_constant_and_missing_columns_are_no_crash() -> None:
    rows = np.column_stack([ROWS[:, 0], np.full(1500, 3.0), np.full(1500, np.nan)])
    (linear,) = fit_linear(rows, LABELS, np.ones(1500), (1.0,))
    assert np.isfinite(linear.raw_score(rows)).all()
    assert np.isfinite(linear.raw_score(np.array([[1.0, 99.0, 5.0]]))).all()


def test_rows_that_weigh_more_teach_more() -> None:
    doubled = np.concatenate([LABELS, 1 - LABELS])
    rows = np.vstack([ROWS, ROWS])
    (linear,) = fit_linear(rows, doubled, np.r_[np.ones(1500), np.full(1500, 1e-6)], (1.0,))
    assert linear.weight[0] > 0


@pytest.mark.parametrize(("trees", "linear", "side"), [(1.0, 0.0, 1), (0.0, 1.0, -1)])
def test_the_better_part_gets_the_larger_share(trees: float, linear: float, side: int) -> None:
    recipe = choose([_scores(seed, trees=trees, linear=linear) for seed in range(3)], CODES, DAY)
    assert (recipe.mix - 0.5) * side > 0


def test_equal_parts_are_mixed_evenly() -> None:
    recipe = choose([_scores(seed, trees=0.9, linear=0.9) for seed in range(3)], CODES, DAY)
    assert recipe.mix == 0.5
    assert recipe.mix in MIXES


def test_without_earlier_folds_the_recipe_is_plain() -> None:
    assert choose([], CODES, DAY) == Recipe()
    assert Recipe().calibration == Calibration()


def test_older_cuts_weigh_less() -> None:
    assert recency(AT, AT) == 1.0
    assert recency(AT, AT + timedelta(days=180)) == pytest.approx(0.5)


def test_few_rows_get_smaller_trees() -> None:
    few, many = tree_parameters(500), tree_parameters(100_000)
    assert few["num_leaves"] < many["num_leaves"]  # type: ignore[operator]


def _with_buying(fold: FoldScores, quality: float) -> FoldScores:
    random = np.random.default_rng(99)
    truth = 4 * (fold.labels - fold.labels.mean())
    return replace(fold, buying=quality * truth + (1 - quality) * random.normal(-1, 3, len(fold.labels)))


@pytest.mark.parametrize(("quality", "share"), [(0.0, 0.0), (1.0, 0.5)])
def test_bg_nbd_has_a_quarter_unless_outcomes_say_otherwise(quality: float, share: float) -> None:
    usual = _scores(1, rows=1400)
    few = replace(_with_buying(usual, quality), labels=usual.labels)
    assert BUYING[choose([few], CODES, DAY).buying] == share
    assert BUYING[choose([usual], CODES, DAY).buying] == 0.0  # there is none
    handful = _scores(2, rows=12)
    assert BUYING[choose([_with_buying(handful, 0.3)], CODES, DAY).buying] == 0.25


def test_bg_nbds_level_and_slope_are_fitted_to_outcomes() -> None:
    random = np.random.default_rng(5)
    first = random.uniform(50, 300, 4000)
    last = random.uniform(0, 1, 4000) * first
    orders = np.round(random.gamma(2, 3, 4000)) + 1
    told = np.column_stack([orders, orders, orders, first, last])
    plain = Buying(BgNbd(0.24, 4.4, 0.79, 2.43), 56.0, happens=True)
    labels = (random.random(4000) < sigmoid(0.5 * plain.raw_score(told) - 0.7)).astype(float)
    found = fit_buying(plain.model, told, labels, np.ones(4000), 56.0, True)
    assert found.slope == pytest.approx(0.5, abs=0.1)
    assert found.level == pytest.approx(-0.7, abs=0.2)
    assert found.center == pytest.approx(found.raw_score(told).mean(), abs=1e-9)


def test_a_direction_that_the_rows_speak_against_leaves_no_effect() -> None:
    free = fit_members(ROWS, LABELS, np.ones(1500), 0)
    assert free.linear[0].weight[0] > 0  # the truth: it rises with the first
    held = fit_members(ROWS, LABELS, np.ones(1500), 0, directions={0: -1})
    assert all(one.weight[0] == 0 for one in held.linear)
    steps = np.repeat(ROWS[:50], 9, axis=0)
    steps[:, 0] = np.tile(np.linspace(0, 60, 9), 50)
    told = held.booster.predict(steps, raw_score=True).reshape(50, 9)
    assert (np.diff(told, axis=1) <= 1e-12).all()
    same = fit_members(ROWS, LABELS, np.ones(1500), 0, directions={0: 1})
    np.testing.assert_array_equal(same.linear[0].weight, free.linear[0].weight)

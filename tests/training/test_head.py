"""What the response head learns from: labels softened by clicks, and scores as far apart as later rows say."""

from __future__ import annotations

from typing import Any

import lightgbm
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.calibration import sigmoid
from models.offer_features import PAIR
from models.response import SEEN, ResponseHead
from models.trees import parse_trees
from training.clicks import Floats, Ints, softened
from training.head_lessons import Lessons, certainty, slope, stretched
from training.members import fit_linear
from training.offer_fit import HEAD_PARAMETERS, HEAD_ROUNDS, RISING, Block, _fit_kind, fit_purchase

N = 6000


def answers(seed: int = 3, share: float = 0.4) -> tuple[Floats, Floats, Floats, Ints, Ints]:
    """(converted, clicked, chance of clicking, offers, channels): of those who click, `share` convert."""
    random = np.random.default_rng(seed)
    offers, channels = random.integers(6, size=N), random.integers(2, size=N)
    chance = sigmoid(random.normal(-2.0, 1.0, N))
    clicked = (random.random(N) < chance).astype(float)
    return clicked * (random.random(N) < share), clicked, chance, offers, channels


def test_softened_labels_keep_the_mean_and_lie_nearer_to_the_truth() -> None:
    labels, clicked, chance, offers, channels = answers()
    soft = softened(labels, clicked, offers, channels)
    assert soft.mean() == pytest.approx(labels.mean(), rel=1e-6)
    assert ((soft - 0.4 * chance) ** 2).mean() < 0.8 * ((labels - 0.4 * chance) ** 2).mean()
    assert (soft[clicked == 0] == 0).all()


def test_an_offer_that_is_clicked_but_not_bought_does_not_profit() -> None:
    labels, clicked, _, offers, channels = answers()
    labels[offers == 2] = 0.0
    soft = softened(labels, clicked, offers, channels)
    assert soft[offers == 2].mean() < 0.15 * soft[offers != 2].mean()


def test_where_clicks_are_not_counted_labels_stay() -> None:
    labels, clicked, _, offers, channels = answers()
    clicked[channels == 1] = 0.0
    soft = softened(labels, clicked, offers, channels)
    assert (soft[channels == 1] == labels[channels == 1]).all()
    assert (soft[channels == 0] != labels[channels == 0]).any()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(*[st.integers(0, 1)] * 2, st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=40))
def test_softened_labels_are_shares(rows: list[tuple[int, int, int, int]]) -> None:
    table = np.array(rows)
    told = table[:, :2].astype(float)
    soft = softened(told[:, 0], told[:, 1], table[:, 2], table[:, 3])
    assert ((soft >= 0) & (soft <= 1)).all()


def lessons(seed: int = 1) -> Lessons:
    """Rows whose log-odds are -2 plus the purchase score."""
    random = np.random.default_rng(seed)
    inputs = np.zeros((N, len(SEEN)))
    inputs[:, 0], inputs[:, 1] = random.normal(size=N), random.normal(size=N)
    labels = (random.random(N) < sigmoid(inputs[:, 0] - 2)).astype(float)
    return Lessons(inputs, labels, labels, np.ones(N))


def flat_heads(told: Lessons) -> list[ResponseHead]:
    """A linear head and one of trees whose scores lie too close together."""
    linear = fit_linear(told.inputs, told.labels, told.weights, (3000.0,))[0]
    data = lightgbm.Dataset(told.inputs, told.labels, feature_name=list(SEEN))
    text = lightgbm.train(dict(HEAD_PARAMETERS), data, 20).model_to_string()
    return [ResponseHead("linear", linear=linear), ResponseHead("trees", trees=parse_trees(text), tree_text=text)]


def test_scores_that_lie_too_close_together_are_stretched() -> None:
    told, later = lessons(), lessons(2)
    for head in flat_heads(told):
        raw = head.raw_score(later.inputs)
        times = slope(raw, later)
        assert 1.1 < times <= 2.0
        wide = stretched(head, times, told)
        scores = wide.raw_score(told.inputs)
        assert np.ptp(scores) == pytest.approx(times * np.ptp(head.raw_score(told.inputs)), rel=1e-6)
        assert sigmoid(scores).mean() == pytest.approx(told.labels.mean(), rel=1e-6)
        again = ResponseHead.from_dict(wide.to_dict(), wide.tree_text)
        assert (again.raw_score(later.inputs) == wide.raw_score(later.inputs)).all()


def test_few_later_conversions_say_little_of_the_slope() -> None:
    told, later = lessons(), lessons(2)
    raw = 0.5 * (told.inputs[:, 0] - 2)
    few = np.flatnonzero(later.labels)[:10]
    some = np.r_[few, np.flatnonzero(later.labels == 0)[:60]]
    small = Lessons(later.inputs[some], later.labels[some], later.labels[some], np.ones(len(some)))
    assert 1.6 < slope(raw, Lessons(told.inputs, told.labels, told.labels, np.ones(N))) <= 2.0
    assert 1.0 <= slope(0.5 * (small.inputs[:, 0] - 2), small) <= 1.0 + 10 / 60
    none = Lessons(later.inputs[some[10:]], np.zeros(60), np.zeros(60), np.ones(60))
    assert slope(raw[:60], none) == 1.0


def test_lessons_of_the_log() -> None:
    labels, clicked, _, offers, channels = answers()
    rows = pl.DataFrame(
        {"label": labels, "clicked": clicked, "weight": np.where(offers == 1, 10.0, 1.0),
         "offer_id": [f"o{n}" for n in offers], "channel": [("email", "sms")[n] for n in channels]}
    )  # fmt: skip
    told = Lessons.of(rows, np.zeros((N, len(SEEN))))
    assert told.weights.mean() == pytest.approx(1.0)
    assert (told.soft == softened(labels, clicked, offers, channels)).all()


def test_the_head_rises_with_every_estimate_of_the_response() -> None:
    told = lessons()
    text = flat_heads(told)[1].tree_text
    trees = parse_trees(text)
    rows = np.repeat(told.inputs[:50], 2, axis=0)
    for name in RISING:
        rows[1::2, SEEN.index(name)] = rows[::2, SEEN.index(name)] + 1.0
        scores = trees.raw_score(rows)
        assert (scores[1::2] >= scores[::2]).all()


def test_trees_that_half_learn_from_a_regression_are_nearer_to_the_truth() -> None:
    """Where many things count a little, of which trees see each only in steps."""
    random = np.random.default_rng(5)
    inputs = np.zeros((2 * N, len(SEEN)))
    inputs[:, :12] = random.normal(size=(2 * N, 12))
    truth = 0.2 * inputs[:, :12].sum(axis=1) - 2.5
    labels = (random.random(N) < sigmoid(truth[:N])).astype(float)
    told = Lessons(inputs[:N], labels, labels, np.ones(N))
    data = lightgbm.Dataset(told.inputs, labels, feature_name=list(SEEN))
    alone = parse_trees(lightgbm.train(dict(HEAD_PARAMETERS), data, HEAD_ROUNDS).model_to_string())
    near, plain = (
        np.corrcoef(head.raw_score(inputs[N:]), truth[N:])[0, 1] for head in (_fit_kind("trees", told), alone)
    )
    assert 1 - near < 0.9 * (1 - plain)


def test_labels_with_less_luck_in_them_count_more() -> None:
    labels, clicked, chance, offers, channels = answers()
    told, ones = 0.4 * chance, np.ones(N)
    rows = np.zeros((N, len(SEEN)))
    assert certainty(told, Lessons(rows, labels, labels, ones)) == pytest.approx(1.0, abs=0.1)
    soft = softened(labels, clicked, offers, channels)
    assert 1.5 < certainty(told, Lessons(rows, labels, soft, ones)) < 3.5
    assert certainty(np.full(N, 0.01), Lessons(rows, labels, labels, ones)) == 1.0


def test_no_pair_both_stops_the_trees_and_calibrates_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the trees were chosen to promise best, promises look better than they are."""
    random = np.random.default_rng(2)
    features = random.normal(size=(60, 40, len(PAIR)))
    block = Block(features, random.random((60, 40)) < sigmoid(features[:, :, 0] - 2), np.arange(40))
    stopped: list[Floats] = []
    calibrated: list[Floats] = []
    train, predict = lightgbm.train, lightgbm.Booster.predict

    def trained(*given: Any, **more: Any) -> Any:
        stopped.append(more["valid_sets"][0].data[:, 0])
        return train(*given, **more)

    def predicted(booster: lightgbm.Booster, rows: Floats, **more: Any) -> Any:
        calibrated.append(rows[:, 0])
        return predict(booster, rows, **more)

    monkeypatch.setattr(lightgbm, "train", trained)
    monkeypatch.setattr(lightgbm.Booster, "predict", predicted)
    fit_purchase([block], block)
    assert len(stopped[0]) == len(calibrated[0]) == 1200
    assert not np.isin(stopped[0], calibrated[0]).any()

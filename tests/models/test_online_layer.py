"""The online layer's posterior: right where it can be checked, the same however outcomes are cut, and pooled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.online_layer import TIGHTEST, Floats, Lessons, OnlineLayer, Priors, Weights

D, K = 3, 2


def outcomes(random: np.random.Generator, n: int, offers: int = 4) -> Lessons:
    names = [f"o{number}" for number in random.integers(0, offers, n)]
    return Lessons(
        random.normal(size=(n, D)),
        np.column_stack([np.ones(n), random.normal(size=n)]),
        names,
        random.normal(-1.0, 0.5, n),
        (random.random(n) < 0.3).astype(np.float64),
        random.uniform(0.2, 1.0, n),
    )


def layer() -> OnlineLayer:
    return OnlineLayer.new(np.array([1.0, 2.0, 4.0]), np.array([1.0, 8.0]))


def dense(lessons: Lessons, offers: tuple[str, ...]) -> tuple[Floats, Floats]:
    """Inputs (n, D + K * offers) and prior precisions of the same regression written out in full."""
    wide = np.zeros((len(lessons.label), D + K * len(offers)))
    wide[:, :D] = lessons.shared
    for row, name in enumerate(lessons.offers):
        start = D + K * offers.index(name)
        wide[row, start : start + K] = lessons.own[row]
    return wide, np.concatenate([[1.0, 2.0, 4.0], np.tile([1.0, 8.0], len(offers))])


def written_out(learnt: OnlineLayer) -> tuple[Floats, Floats]:
    """Its weights, shared and then offer by offer, and their precision, as one vector and one matrix."""
    count = len(learnt.weights.offers)
    precision = np.zeros((D + K * count, D + K * count))
    precision[:D, :D] = learnt.a
    for number in range(count):
        place = slice(D + K * number, D + K * (number + 1))
        precision[place, place] = learnt.b[number]
        precision[:D, place], precision[place, :D] = learnt.c[number], learnt.c[number].T
    return np.concatenate([learnt.weights.shared, learnt.weights.own.ravel()]), precision


def test_the_mode_and_precision_are_those_of_the_whole_regression() -> None:
    lessons = outcomes(np.random.default_rng(1), 300)
    learnt = layer().learn(lessons)
    wide, prior = dense(lessons, learnt.weights.offers)
    weights = np.concatenate([learnt.weights.shared, learnt.weights.own.ravel()])
    chance = 1 / (1 + np.exp(-(lessons.score + wide @ weights)))
    gradient = wide.T @ (lessons.weight * (lessons.label - chance)) - prior * weights
    assert np.abs(gradient).max() < 1e-6
    precision = np.diag(prior) + (wide * (lessons.weight * chance * (1 - chance))[:, None]).T @ wide
    assert np.allclose(learnt.a, precision[:D, :D])
    for number in range(len(learnt.weights.offers)):
        place = slice(D + K * number, D + K * (number + 1))
        assert np.allclose(learnt.b[number], precision[place, place])
        assert np.allclose(learnt.c[number], precision[:D, place])


def test_what_comes_next_is_weighed_against_all_that_is_known_of_shared_and_own_together() -> None:
    random = np.random.default_rng(8)
    before = layer().learn(outcomes(random, 300))
    news = outcomes(random, 80)
    after = before.learn(news)
    (known, sure), (weights, precision) = written_out(before), written_out(after)
    wide, _ = dense(news, after.weights.offers)
    chance = 1 / (1 + np.exp(-(news.score + wide @ weights)))
    gradient = wide.T @ (news.weight * (news.label - chance)) - sure @ (weights - known)
    assert np.abs(gradient).max() < 1e-6
    assert np.abs(weights - known).max() > 0.05
    assert np.allclose(precision, sure + (wide * (news.weight * chance * (1 - chance))[:, None]).T @ wide)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), cut=st.integers(1, 199))
def test_two_portions_teach_nearly_what_one_does(seed: int, cut: int) -> None:
    whole = outcomes(np.random.default_rng(seed), 200)
    first, second = (
        Lessons(whole.shared[p], whole.own[p], whole.offers[p], whole.score[p], whole.label[p], whole.weight[p])
        for p in (slice(None, cut), slice(cut, None))
    )
    together, apart = layer().learn(whole), layer().learn(first).learn(second)
    assert np.abs(together.weights.shared - apart.weights.shared).max() < 0.35
    assert together.seen == pytest.approx(apart.seen)
    assert sorted(together.weights.offers) == sorted(apart.weights.offers)


def test_an_offer_without_outcomes_goes_by_what_all_offers_taught() -> None:
    random = np.random.default_rng(2)
    lessons = outcomes(random, 400)
    good = lessons.shared[:, 0] > 0
    taught = layer().learn(Lessons(lessons.shared, lessons.own, lessons.offers, lessons.score,
                                   good.astype(np.float64), lessons.weight))  # fmt: skip
    assert taught.weights.shared[0] > 0.5
    assert not taught.weights.own_of(["never seen"]).any()


def test_few_outcomes_move_an_offer_less_than_many() -> None:
    def shown(times: int) -> float:
        n = 2 * times
        others = outcomes(np.random.default_rng(3), 400)
        lessons = Lessons(
            np.vstack([others.shared, np.zeros((n, D))]),
            np.vstack([others.own, np.tile([1.0, 0.0], (n, 1))]),
            [*others.offers, *["new"] * n],
            np.concatenate([others.score, np.full(n, -1.0)]),
            np.concatenate([others.label, np.ones(n)]),
            np.concatenate([others.weight, np.ones(n)]),
        )
        weights = layer().learn(lessons).weights
        return float(weights.own_of(["new"])[0, 0])

    assert 0 < shown(1) < shown(5) < shown(50)


def test_what_is_forgotten_counts_as_if_it_had_been_learnt_so_much_less() -> None:
    random = np.random.default_rng(4)
    lessons = outcomes(random, 300)
    learnt = layer().learn(lessons)
    faded, less = learnt.forget(0.1), layer().learn(replace(lessons, weight=0.1 * lessons.weight))
    (weights, precision), (known, sure), (scarcely, _) = map(written_out, (faded, learnt, less))
    assert np.allclose(precision @ weights, 0.1 * sure @ known)
    assert np.abs(weights - scarcely).max() < 0.2 * np.abs(known - scarcely).max()
    assert faded.seen == pytest.approx(0.1 * learnt.seen)
    assert learnt.forget(1.0) is learnt
    none = layer().learn(replace(lessons, weight=np.zeros(300)))
    for name in ("a", "b", "c"):  # of everything learnt, of offers too, a tenth is left over the priors
        of_priors, known, left = (getattr(one, name) for one in (none, learnt, faded))
        assert np.allclose(left - of_priors, 0.1 * (known - of_priors))
        assert np.abs(known - of_priors).max() > 1.0
    news = outcomes(random, 20)
    moved, stiff = (one.learn(news).weights.shared - one.weights.shared for one in (faded, learnt))
    assert np.abs(moved).max() > np.abs(stiff).max()


def test_what_is_all_but_forgotten_is_no_more_believed_however_often_priors_are_learnt() -> None:
    told = priors(4.0)
    layer = OnlineLayer.new(told.shared, told.own).learn(outcomes(np.random.default_rng(11), 800)).forget(1e-6)
    for _ in range(5):
        layer = layer.tuned(told)
    assert max(np.abs(layer.weights.shared).max(), np.abs(layer.weights.own).max()) < 1e-3


def test_who_is_sure_of_outcomes_learnt_elsewhere_has_no_weights_but_their_precision() -> None:
    random = np.random.default_rng(9)
    known, fresh = outcomes(random, 3000), outcomes(random, 40)
    sure = layer().sure_of(known)
    assert sure.seen == 0.0
    assert np.abs(sure.weights.shared).max() < 1e-12
    assert np.abs(sure.weights.own).max() < 1e-12
    promised = replace(known, label=1 / (1 + np.exp(-known.score)))
    assert np.allclose(sure.a, layer().learn(promised).a)
    moved, freely = (np.abs(one.learn(fresh).weights.shared).max() for one in (sure, layer()))
    assert moved < 0.3 * freely
    assert sure.alike(layer())
    assert not sure.alike(OnlineLayer.new(np.ones(D + 1), np.ones(K)))


def test_states_come_back_to_the_bit_and_nothing_is_changed_in_place() -> None:
    random = np.random.default_rng(5)
    learnt = layer().learn(outcomes(random, 100))
    packed = learnt.to_bytes()
    again = OnlineLayer.from_bytes(packed)
    news = outcomes(random, 50, offers=6)
    assert again.learn(news).to_bytes() == learnt.learn(news).to_bytes()
    assert learnt.to_bytes() == packed
    weights = Weights.from_bytes(learnt.weights.to_bytes())
    assert weights.offers == learnt.weights.offers
    assert np.array_equal(weights.own, learnt.weights.own)
    nothing = Lessons(np.zeros((0, D)), np.zeros((0, K)), [], np.zeros(0), np.zeros(0), np.zeros(0))
    assert learnt.learn(nothing) is learnt
    empty = OnlineLayer.from_bytes(layer().to_bytes())
    assert empty.weights.own_of(["a", "b"]).tolist() == [[0.0, 0.0], [0.0, 0.0]]


def priors(strength: float) -> Priors:
    return Priors(np.array([1.0, 2.0, 4.0]), np.array([1.0, 8.0]), np.array([-1, 0, 0]), np.array([0, 1]), strength)


def test_other_priors_are_as_if_they_had_been_there_from_the_start() -> None:
    lessons = outcomes(np.random.default_rng(5), 400)
    told = priors(40.0)
    learnt = OnlineLayer.new(told.shared, told.own).learn(lessons)
    tuned = learnt.tuned(told)
    again = tuned.tuned(replace(told, shared=tuned.shared_prior, own=tuned.own_prior, strength=1e9))
    assert tuned.shared_prior[0] == 1.0
    assert tuned.shared_prior[1] == tuned.shared_prior[2] != 2.0
    assert np.allclose(again.weights.shared, tuned.weights.shared, atol=1e-6)
    assert np.allclose(again.weights.own, tuned.weights.own, atol=1e-6)
    assert tuned.seen == learnt.seen
    assert np.allclose(tuned.c, learnt.c)
    assert np.allclose(tuned.a - np.diag(tuned.shared_prior), learnt.a - np.diag(learnt.shared_prior))


def test_a_prior_is_as_wide_as_its_weights_and_what_is_not_known_of_them() -> None:
    told = priors(4.0)
    learnt = OnlineLayer.new(told.shared, told.own).learn(outcomes(np.random.default_rng(6), 60))
    count = len(learnt.weights.offers)
    weights, precision = written_out(learnt)
    squares = weights**2 + np.diag(np.linalg.inv(precision))
    tuned, own = learnt.tuned(told), squares[D:].reshape(count, K).sum(axis=0)
    for place, first in enumerate(told.own):  # a group each
        assert 1 / tuned.own_prior[place] == pytest.approx((own[place] + 4.0 / first) / (count + 4.0))
    both = (squares[1] + squares[2] + 4.0 * np.mean(1 / told.shared[1:])) / (2 + 4.0)
    assert 1 / tuned.shared_prior[1] == 1 / tuned.shared_prior[2] == pytest.approx(both)


def test_what_matters_gets_a_wide_prior_and_what_does_not_is_shut() -> None:
    random = np.random.default_rng(7)
    n, told = 6_000, priors(0.1)
    names = np.array([f"o{number}" for number in random.integers(0, 12, n)])
    own = np.column_stack([np.ones(n), random.normal(size=n)])
    taste = dict(zip(np.unique(names), random.normal(0, 1.5, 12), strict=True))
    score = np.full(n, -1.0)
    chance = 1 / (1 + np.exp(-(score + own[:, 1] * np.array([taste[name] for name in names]))))
    lessons = Lessons(
        random.normal(size=(n, D)), own, names.tolist(), score, (random.random(n) < chance) * 1.0, np.ones(n)
    )
    layer = OnlineLayer.new(told.shared, told.own).learn(lessons)
    for _ in range(3):
        layer = layer.tuned(told)
    assert layer.own_prior[1] < 2.0  # it was 8; truly 1 / 1.5 squared
    assert layer.own_prior[0] > 5.0  # it was 1; levels of offers do not differ
    assert layer.shared_prior[1] > 20.0
    assert layer.shared_prior.max() <= TIGHTEST


def test_nothing_learnt_keeps_its_priors() -> None:
    told = priors(4.0)
    fresh = OnlineLayer.new(told.shared, told.own)
    assert fresh.tuned(told) is fresh

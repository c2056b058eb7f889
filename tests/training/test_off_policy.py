from __future__ import annotations

import numpy as np
import pytest

from training.off_policy import (
    Estimate,
    clustered_error,
    counts_of,
    estimates,
    mean_of,
    skewness,
    unskewed,
    weights_of,
)

# Four decisions between two actions, logged with probability 1/2 each; the policy in question always takes action 1.
TARGET = np.array([1.0, 0.0, 1.0, 1.0])
PROPENSITY = np.array([0.5, 0.5, 0.5, 0.25])
REWARD = np.array([1.0, 1.0, 0.0, 1.0])
EACH = np.arange(4)


def by_name(found: tuple[Estimate, ...]) -> dict[str, float]:
    return {estimate.name: estimate.value for estimate in found}


def test_by_hand() -> None:
    w, weights = weights_of(TARGET, PROPENSITY, EACH)
    assert w.tolist() == [2.0, 0.0, 2.0, 4.0]
    assert weights.effective == pytest.approx(64 / 24)
    assert (weights.largest, weights.mean) == (4.0, 2.0)
    guess = np.full(4, 0.5)
    found = by_name(estimates(w, REWARD, guess, guess, EACH))
    assert found["IPS"] == pytest.approx((2 + 0 + 0 + 4) / 4)
    assert found["SNIPS"] == pytest.approx(6 / 8)
    # w (r - q) = 1, 0, -1, 2: mean 1/2
    assert found["DR"] == pytest.approx(0.5 + 0.5)
    assert found["SNDR"] == pytest.approx(0.5 + 2 / 8)


def test_the_error_by_hand() -> None:
    # influence -1, 1, -1, 1: as four customers sqrt(4 x 4/3)/4; as two whose decisions go together it is larger
    influence = np.array([-1.0, 1.0, -1.0, 1.0])
    assert clustered_error(influence, EACH) == pytest.approx(np.sqrt(4 * 4 / 3) / 4)
    assert clustered_error(influence, np.array([0, 1, 0, 1])) == pytest.approx(np.sqrt(8 * 2) / 4)
    assert clustered_error(influence, np.zeros(4, int)) == float("inf")


def test_skewness_is_taken_out_by_hand() -> None:
    # sums -1, -1, 2: mean of squares 2, of cubes 2; two decisions of one customer count as one
    assert skewness(np.array([-1.0, -1.0, 2.0]), EACH[:3]) == pytest.approx(2 / 2**1.5)
    assert skewness(np.array([-1.0, -1.0, 1.5, 0.5]), np.array([0, 1, 2, 2])) == pytest.approx(2 / 2**1.5)
    assert skewness(np.zeros(3), EACH[:3]) == 0.0
    a = 0.6 / (3 * np.sqrt(25))
    for quantile in (-1.96, 0.0, 1.96):
        t = unskewed(quantile, 0.6, 25)
        assert t + a * t**2 + a**2 * t**3 / 3 + a / 2 == pytest.approx(quantile)
        assert unskewed(quantile, 0.0, 25) == quantile
        assert unskewed(quantile, 1e-7, 25) == pytest.approx(quantile, abs=1e-6)


def test_the_policy_of_the_log_gets_what_the_log_earned() -> None:
    found = estimates(np.ones(4), REWARD, np.full(4, 0.3), np.full(4, 0.3), EACH)
    logged = mean_of(REWARD, EACH)
    assert [one.name for one in found] == ["IPS", "SNIPS", "DR", "SNDR"]
    for estimate in found:
        assert estimate.value == pytest.approx(logged.value)
        assert estimate.high - estimate.low == pytest.approx(logged.high - logged.low)


def test_estimates_find_the_truth_and_their_intervals_hold_it() -> None:
    """400 logs of 500 decisions over three actions with known means; the policy is uniform."""
    means, behaviour = np.array([0.2, 0.5, 0.8]), np.array([0.7, 0.2, 0.1])
    truth = means.mean()
    inside = dict.fromkeys(("IPS", "SNIPS", "DR", "SNDR"), 0)
    total = dict.fromkeys(inside, 0.0)
    random = np.random.default_rng(4)
    for _ in range(400):
        actions = random.choice(3, 500, p=behaviour)
        rewards = (random.random(500) < means[actions]).astype(float)
        guess = np.array([0.3, 0.4, 0.6])
        w, _ = weights_of(np.full(500, 1 / 3), behaviour[actions], np.arange(500))
        for e in estimates(w, rewards, guess[actions], np.full(500, guess.mean()), np.arange(500)):
            inside[e.name] += e.low <= truth <= e.high
            total[e.name] += e.value
    for name, hits in inside.items():
        assert hits / 400 > 0.92, name
        assert total[name] / 400 == pytest.approx(truth, abs=0.01), name


def test_intervals_of_few_responses_and_uneven_weights_hold_the_truth() -> None:
    """400 logs of 1,000 decisions, nine in ten drawn nearly always alike, with responses of 1 to 4%; of uniform."""
    means, sure = np.array([0.04, 0.02, 0.02, 0.01]), np.array([0.88, 0.04, 0.04, 0.04])
    random, each = np.random.default_rng(8), np.arange(1_000)
    outside = {name: [0, 0] for name in ("IPS", "SNIPS", "DR", "SNDR")}
    for _ in range(400):
        drawn = np.where(each < 100, random.choice(4, 1_000), random.choice(4, 1_000, p=sure))
        squares = np.where(each < 100, 1.0, float((0.0625 / sure).sum()))
        counts = counts_of(np.zeros(1_000, int), (each < 100).astype(int), squares)
        w, _ = weights_of(counts / 4, np.where(each < 100, 0.25, sure[drawn]), each)
        rewards = (random.random(1_000) < means[drawn]).astype(float)
        for e in estimates(w, rewards, np.full(1_000, 0.02), np.full(1_000, 0.02), each):
            outside[e.name][0] += means.mean() < e.low
            outside[e.name][1] += means.mean() > e.high
    for name, (below, above) in outside.items():
        assert below + above <= 0.05 * 400, name
        assert above <= 0.03 * 400, name


def test_intervals_hold_the_truth_where_nothing_came_yet_of_what_weighs_most() -> None:
    """The policy mostly wants what the log tries once in 140 times, and one in fifty responds to anything."""
    random, low, high = np.random.default_rng(11), 0, 0
    usual = np.arange(1_500) < 300
    for _ in range(200):
        chosen = usual | (random.random(1_500) < 1 / 140)
        w = np.where(usual, 1 / 0.9, 140.0) * chosen
        responded = (random.random(1_500) < 0.02).astype(float)
        if not (w * responded).any():
            continue  # refused
        guess = np.full(1_500, 0.02)
        snips = estimates(w, responded, guess, guess, np.arange(1_500), guess * (1 - guess))[1]
        low, high = low + (snips.low > 0.02), high + (snips.high < 0.02)
    assert low + high <= 10  # 167 of 200 without `noise`


def test_a_logger_counts_as_far_as_it_tried_what_the_policy_wants() -> None:
    # stratum 0: E[w^2] of 1 and of 3 (the mean of 2 and 4), so one counts three times the other; stratum 1: one alone
    strata, loggers = np.array([0, 0, 0, 0, 1]), np.array([0, 0, 1, 1, 1])
    counts = counts_of(strata, loggers, np.array([1.0, 1.0, 2.0, 4.0, 9.0]))
    assert counts.tolist() == pytest.approx([1.5, 1.5, 0.5, 0.5, 1.0])
    # who never tried anything of it says nothing; where nobody did, all count alike
    assert counts_of(np.zeros(2, int), np.arange(2), np.array([0.0, 5.0])).tolist() == [0.0, 2.0]
    assert counts_of(np.zeros(2, int), np.arange(2), np.zeros(2)).tolist() == [1.0, 1.0]


def test_a_few_by_chance_beside_a_sure_logger_tell_of_uniform() -> None:
    """300 logs of a fifth by chance and the rest nearly always alike: the truth is found, with a smaller error."""
    random = np.random.default_rng(6)
    means, sure, even = np.array([0.2, 0.5, 0.8]), np.array([0.98, 0.01, 0.01]), np.full(3, 1 / 3)
    told: dict[str, list[float]] = {"weighed": [], "alike": []}
    for _ in range(300):
        by_chance = np.arange(500) < 100
        drawn = np.where(by_chance, random.choice(3, 500, p=even), random.choice(3, 500, p=sure))
        rewards = (random.random(500) < means[drawn]).astype(float)
        propensity = np.where(by_chance, even[drawn], sure[drawn])
        squares = np.where(by_chance, 1.0, float((even**2 / sure).sum()))
        weighed = counts_of(np.zeros(500, int), by_chance.astype(int), squares)
        for name, counts in (("weighed", weighed), ("alike", np.ones(500))):
            customers = np.arange(500)
            w, _ = weights_of(counts / 3, propensity, customers)
            told[name].append(by_name(estimates(w, rewards, 0 * w, 0 * w, customers))["IPS"])
    assert np.mean(told["weighed"]) == pytest.approx(means.mean(), abs=0.02)
    assert np.std(told["weighed"]) < 0.5 * np.std(told["alike"])

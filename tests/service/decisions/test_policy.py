from __future__ import annotations

from collections import Counter
from math import fsum

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta

from service.decisions.arms import arm_of
from service.decisions.policy import (
    MOST_BY_FLOOR,
    best_of_draws,
    calmed,
    certain,
    draw,
    epsilon_greedy,
    inverse_gap,
    sample,
    seed_of,
    shuffled,
    thompson,
    uniform,
)

values = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60)


def test_inverse_gap_by_hand() -> None:
    # 3 candidates, exploration 20: gaps 0, .5, 1 of the range -> 1/(3 x 11), 1/(3 x 21), the rest to the best
    weights = inverse_gap([1.0, 0.5, 0.0], 20.0, 0.0)
    assert weights[1] == pytest.approx(1 / 33)
    assert weights[2] == pytest.approx(1 / 63)
    assert weights[0] == pytest.approx(1 - 1 / 33 - 1 / 63)


@given(values, st.floats(0.01, 1e4), st.floats(0, 0.49))
@settings(max_examples=200)
def test_propensities_sum_to_one_keep_the_floor_and_favour_the_better(
    worth: list[float], exploration: float, floor: float
) -> None:
    weights = inverse_gap(worth, exploration, floor)
    assert fsum(weights) == pytest.approx(1.0, abs=1e-12)
    least = min(floor, MOST_BY_FLOOR / len(worth))
    assert all(weight >= least - 1e-12 for weight in weights)
    best = max(range(len(worth)), key=worth.__getitem__)
    assert weights[best] >= max(weights) - 1e-12
    for a, b in zip(range(len(worth)), range(1, len(worth)), strict=False):
        if worth[a] < worth[b] and best not in {a, b}:
            assert weights[a] <= weights[b] + 1e-15


@given(values, st.floats(0, 1), st.floats(0, 0.49))
def test_epsilon_greedy_keeps_the_floor_and_gives_the_rest_to_the_best(
    worth: list[float], epsilon: float, floor: float
) -> None:
    weights = epsilon_greedy(worth, epsilon, floor)
    least = max(epsilon / len(worth), min(floor, MOST_BY_FLOOR / len(worth)))
    best = worth.index(max(worth))
    assert all(weight == least for place, weight in enumerate(weights) if place != best)
    assert weights[best] == pytest.approx(1 - least * (len(worth) - 1), abs=1e-12)


def test_a_draw_beyond_the_rounded_sum_is_the_last_that_has_weight() -> None:
    weights = [0.1] * 9 + [0.0, 0.1 - 2**-40, 0.0]
    assert sample(weights, 1 - 2**-53) == 10
    assert sample([0.0, 0.0], 0.5) == 0


def test_sending_nothing_wins_ties_and_only_those() -> None:
    for worth in ([0.0, -5.0, 0.0], [0.0, 0.0], [0.0]):
        assert inverse_gap(worth, 1e12, 0.0, last_wins=True)[-1] == pytest.approx(1.0)
        assert epsilon_greedy(worth, 0.0, 0.0, last_wins=True)[-1] == 1.0
    assert inverse_gap([0.0, -5.0, 0.0], 8.0, 0.0, last_wins=True) == pytest.approx([1 / 27, 1 / 27, 25 / 27])
    assert inverse_gap([0.0, 0.0], 8.0, 0.0) == [0.5, 0.5]
    assert inverse_gap([2.0, 2.0, 0.0], 1e12, 0.0, last_wins=True) == pytest.approx([2 / 3, 1 / 3, 0.0])
    assert epsilon_greedy([2.0, 2.0, 0.0], 0.0, 0.0, last_wins=True) == [1.0, 0.0, 0.0]
    level = [(0.0, 0.0), (0.0, -1.0)]  # worth nothing, and less, whatever their chances
    assert best_of_draws([0.3, 0.3], level, 30.0, 7, last_wins=True) == [0.0, 0.0, 1.0]
    assert best_of_draws([0.3, 0.3], level, 30.0, 7) == [1.0, 0.0, 0.0]


@given(values, st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=50)
def test_the_currency_changes_nothing(worth: list[float], scale: float, shift: float) -> None:
    if max(worth) - min(worth) < 1e-3:
        return
    moved = inverse_gap([value * scale + shift for value in worth], 20.0, 0.01)
    assert sorted(moved) == pytest.approx(sorted(inverse_gap(worth, 20.0, 0.01)), abs=1e-6)


def test_draws_have_the_propensities_as_their_frequencies() -> None:
    weights = inverse_gap([3.0, 2.0, 1.0, 0.0], 2.0, 0.05)
    count = 20_000
    drawn = Counter(sample(weights, draw(seed_of("secret", f"d{n}"), 0)) for n in range(count))
    for position, weight in enumerate(weights):
        assert drawn[position] / count == pytest.approx(weight, abs=4 * (weight * (1 - weight) / count) ** 0.5)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.floats(0, 1, exclude_max=True))
def test_nothing_without_weight_is_drawn(parts: list[float], at: float) -> None:
    total = fsum(parts)
    if total == 0:
        return
    weights = [part / total for part in parts]
    assert weights[sample(weights, at)] > 0


def test_uniform_and_certain() -> None:
    assert fsum(uniform(7)) == pytest.approx(1.0, abs=1e-15)
    assert certain(3, 1) == [0.0, 1.0, 0.0]


def test_shuffles_are_fair_and_repeatable() -> None:
    first = Counter(tuple(shuffled([0, 1, 2], seed_of("s", str(n)), 1)) for n in range(6_000))
    assert len(first) == 6
    assert min(first.values()) > 850
    assert shuffled(list(range(50)), 42, 1) == shuffled(list(range(50)), 42, 1)


@pytest.mark.parametrize("evidence", [20.0, 200.0])
@pytest.mark.parametrize("chance", [0.1, 0.5, 0.8])
def test_draws_of_the_posterior_have_its_mean_and_its_spread(chance: float, evidence: float) -> None:
    """How often a candidate beats sending nothing is the tail of Beta(chance x evidence, (1 - chance) x evidence)."""
    tail = beta(chance * evidence, (1 - chance) * evidence).sf
    for more in (-0.05, 0.0, 0.05):
        drawn = best_of_draws([chance], [(10.0, -2.0)], evidence, seed=5, nothing=10.0 * (chance + more) - 2.0)
        assert drawn[0] == pytest.approx(tail(chance + more), abs=0.07)


def test_arms_are_steady_and_have_their_shares() -> None:
    shares = [("model", 0.7), ("random", 0.1), ("business_as_usual", 0.0), ("holdout", 0.2)]
    arms = [arm_of(f"c{n}", "email.weekly", shares, "s") for n in range(20_000)]
    count = Counter(arms)
    assert count["model"] / 20_000 == pytest.approx(0.7, abs=0.015)
    assert count["holdout"] / 20_000 == pytest.approx(0.2, abs=0.015)
    assert "business_as_usual" not in count
    assert arms[:50] == [arm_of(f"c{n}", "email.weekly", shares, "s") for n in range(50)]
    other = [arm_of(f"c{n}", "web.home", shares, "s") for n in range(20_000)]
    same = sum(a == b for a, b in zip(arms, other, strict=True)) / 20_000
    assert same == pytest.approx(0.49 + 0.01 + 0.04, abs=0.02)  # another placement: independent


@given(values, st.floats(0, 1), st.floats(0, 0.49))
@settings(max_examples=100)
def test_epsilon_greedy_shares_epsilon_alike(worth: list[float], epsilon: float, floor: float) -> None:
    weights = epsilon_greedy(worth, epsilon, floor)
    assert fsum(weights) == pytest.approx(1.0, abs=1e-12)
    least = max(epsilon / len(worth), min(floor, MOST_BY_FLOOR / len(worth)))
    best = max(range(len(worth)), key=worth.__getitem__)
    assert all(weight == pytest.approx(least) for place, weight in enumerate(weights) if place != best)
    assert weights[best] >= least - 1e-12


def test_thompson_draws_what_may_be_best_and_keeps_the_floor() -> None:
    lines = [(10.0, -0.1), (10.0, -0.1), (10.0, -20.0)]
    often = best_of_draws([0.3, 0.25, 0.3], lines, 30.0, 7)
    assert fsum(often) == pytest.approx(1.0)
    assert often[0] > often[1] > 0.1
    assert often[2] == 0.0
    weights = thompson(often, 0.01)
    assert fsum(weights) == pytest.approx(1.0, abs=1e-12)
    assert min(weights) >= 0.01 - 1e-12
    assert best_of_draws([0.3, 0.25, 0.3], lines, 30.0, 7) == often
    sure = best_of_draws([0.3, 0.25, 0.3], lines, 1e7, 7)
    assert sure[0] == 1.0


def test_thompson_draws_each_as_often_as_it_was_best_above_the_floor() -> None:
    assert thompson([0.5, 0.3, 0.2, 0.0], 0.0) == pytest.approx([0.5, 0.3, 0.2, 0.0])
    assert thompson([0.5, 0.3, 0.2, 0.0], 0.02) == pytest.approx([0.48, 0.296, 0.204, 0.02])
    assert thompson([0.0, 1.0], 0.4) == pytest.approx([0.05, 0.95])  # floors take a tenth at most


def test_thompson_sends_nothing_where_all_cost_more_than_they_earn() -> None:
    assert best_of_draws([0.01, 0.02], [(1.0, -5.0), (1.0, -5.0)], 100.0, 1) == [0.0, 0.0, 1.0]


def test_exploring_calms_down_with_what_was_learnt() -> None:
    assert calmed(20.0, 0.0, 10_000.0) == 20.0
    assert calmed(20.0, 10_000.0, 10_000.0) == 40.0
    assert calmed(20.0, 30_000.0, 10_000.0) == 80.0
    assert calmed(20.0, 30_000.0, 0.0) == 20.0


def test_a_hopeless_candidate_does_not_make_the_others_look_alike() -> None:
    good = [1.0, 0.9, 0.6, 0.3]
    usual = inverse_gap([*good, 0.0], 8.0, 0.0, last_wins=True, losers_alike=True)
    assert usual == inverse_gap([*good, 0.0], 8.0, 0.0, last_wins=True)  # where none loses, nothing is different
    for cost in (0.1, 20.0, 1e6):
        beside = inverse_gap([*good, -cost, 0.0], 8.0, 0.0, last_wins=True, losers_alike=True)
        assert beside[4] == beside[5] == pytest.approx(1 / 54)  # gaps of 1, as sending nothing: 1 / (6 x (1 + 8))
        assert beside[1:4] == pytest.approx([usual[place] * 5 / 6 for place in (1, 2, 3)])
    lost = inverse_gap([-0.1, -0.2, -20.0, 0.0], 8.0, 0.0, last_wins=True, losers_alike=True)
    assert lost == pytest.approx([1 / 36, 1 / 36, 1 / 36, 11 / 12])
    assert inverse_gap([1e-300, -1e10, 0.0], 8.0, 0.0, last_wins=True, losers_alike=True)[1] == pytest.approx(1 / 27)

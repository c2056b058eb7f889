"""The contextual world is what it says, and the product's policy learns in it what chance does not."""

from __future__ import annotations

import numpy as np
import pytest

from training.world.bandits import Layered, LinUcb, greedy, run, squarecb
from training.world.contextual import ContextualWorld


@pytest.fixture(scope="module")
def world() -> ContextualWorld:
    return ContextualWorld.draw(5, customers=6_000, offers=6, base_rate=0.1)


def test_a_world_is_its_seeds_and_has_its_rate(world: ContextualWorld) -> None:
    again = ContextualWorld.draw(5, customers=6_000, offers=6, base_rate=0.1)
    assert np.array_equal(world.truth, again.truth)
    assert world.uniform == pytest.approx(0.1, abs=1e-6)
    assert world.perfect > 1.5 * world.uniform
    people = np.concatenate(world.visits())
    assert sorted(people.tolist()) == list(range(6_000))
    shown = world.truth[people].argmax(axis=1)
    assert world.closed(people, shown) == pytest.approx(1.0)
    assert world.outcomes(people, shown).mean() == pytest.approx(world.perfect, abs=0.02)
    assert np.array_equal(world.outcomes(people[:50], shown[:50]), world.outcomes(people, shown)[:50])


def test_effects_bend_and_interact(world: ContextualWorld) -> None:
    """A straight line over customers, an offer at a time, misses a good part of the true log-odds."""
    score = np.log(world.truth / (1 - world.truth))
    x = np.column_stack([np.ones(len(world.customers)), world.customers])
    left = score - x @ np.linalg.lstsq(x, score, rcond=None)[0]
    assert left.var() > 0.15 * score.var()


def test_propensities_sum_to_one_and_none_is_nothing() -> None:
    values = np.random.default_rng(1).random((40, 6))
    for chances in (squarecb(values, 20.0, 0.05), greedy(values, 0.1)):
        assert chances.sum(axis=1) == pytest.approx(np.ones(40))
        assert (chances > 0).all()
        assert np.array_equal(chances.argmax(axis=1), values.argmax(axis=1))
    assert squarecb(values, 20.0, 0.05).min() >= 0.05 / 6


@pytest.mark.slow
def test_the_online_layer_learns_and_leaves_a_log_that_can_be_used(world: ContextualWorld) -> None:
    ours = run(world, Layered(world.offers), batch=500)
    assert ours.closed > 0.35
    assert ours.late > ours.closed
    assert ours.snips_uniform == pytest.approx(1.0, abs=0.2)
    assert ours.snips_greedy == pytest.approx(1.0, abs=0.15)
    assert run(world, LinUcb(world.offers), batch=500).snips_uniform is None

"""How a candidate is drawn: exact probabilities, and draws that anyone can repeat from the seed. Pure.

Inverse gap weighting is SquareCB (Foster and Rakhlin, "Beyond UCB: Optimal and Efficient Contextual Bandits with
Regression Oracles", ICML 2020, algorithm 1): p(a) = 1 / (K + gamma x gap(a)) for all but the best, which gets the rest.
Here gamma = exploration x K and gaps are shares of the range of the values, so that neither the currency nor the
number of candidates changes how bold the policy is.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from math import fsum

import numpy as np
import numpy.typing as npt
import xxhash

DRAWS = 512
"""Draws from the posterior that make Thompson sampling's table of frequencies."""
_hash, _BIT = xxhash.xxh3_64_intdigest, 2.0**-53
MOST_BY_FLOOR = 0.1
"""The floors of all candidates together take at most this share of the probability."""


def calmed(exploration: float, learnt: float, calms_after: float) -> float:
    """`exploration` once `learnt` outcomes are known: SquareCB's gamma grows with what its predictor has seen (as the
    paper's theorem 1 has it; there by the square root, here in proportion, since the floor keeps exploring).

    After `calms_after` outcomes gaps count twice as much as at first, after twice as many three times; 0: they stay.
    """
    return exploration * (1.0 + learnt / calms_after) if calms_after > 0 else exploration


def best_of(values: Sequence[float] | npt.NDArray[np.float64], last_wins: bool) -> int:
    """The place of the highest value: the first of equals, or the last of all where it is one and `last_wins`."""
    told = np.asarray(values, np.float64)
    best = int(told.argmax())
    return len(told) - 1 if last_wins and told[-1] == told[best] else best


def inverse_gap(
    values: Sequence[float] | npt.NDArray[np.float64],
    exploration: float,
    floor: float,
    last_wins: bool = False,
    losers_alike: bool = False,
) -> list[float]:
    """SquareCB's probabilities over `values` (at least one), each at least `floor` (or less: see `MOST_BY_FLOOR`).

    `last_wins`: the last value is sending nothing. Where none is higher, what is worth just as much is explored as
    seldom as the worst: a message that earns nothing is not worth sending. `losers_alike`: the range ends at the last
    value, and what is worth less is explored as seldom as that. Else one candidate that would cost far more than it
    earns makes all others look alike.

    Example: values 1.0, 0.5, 0.0 with exploration 20 and no floor give 0.954, 0.030, 0.016.
    """
    told = np.asarray(values, np.float64)
    count, best = len(told), best_of(told, last_wins)
    span = told[best] - (told[-1] if losers_alike else told.min())
    least = min(floor, MOST_BY_FLOOR / count)
    free = 1.0 - least * count
    gaps = np.minimum(told[best] - told, span) / span if span > 0 else np.full(count, float(losers_alike))
    if last_wins and best == count - 1:
        gaps[told == told[best]] = 1.0
    weights: list[float] = (least + free / (count * (1.0 + exploration * gaps))).tolist()
    weights[best] = 0.0
    weights[best] = 1.0 - fsum(weights)
    return weights


def epsilon_greedy(values: Sequence[float], epsilon: float, floor: float, last_wins: bool = False) -> list[float]:
    """The best with 1 - epsilon, and every candidate (the best too) with an equal share of epsilon (or the floor)."""
    count = len(values)
    least = max(epsilon / count, min(floor, MOST_BY_FLOOR / count))
    weights = [least] * count
    best = best_of(values, last_wins)
    weights[best] = 0.0
    weights[best] = 1.0 - fsum(weights)
    return weights


def thompson(frequencies: Sequence[float], floor: float) -> list[float]:
    """How often each was best among draws from the posterior, as probabilities, each at least the floor.

    The action is drawn from these, not from one more draw of the posterior: so the probability logged is exact.
    """
    count = len(frequencies)
    least = min(floor, MOST_BY_FLOOR / count)
    weights = [least + (1.0 - least * count) * frequency for frequency in frequencies]
    best = max(range(count), key=weights.__getitem__)
    weights[best] = 0.0
    weights[best] = 1.0 - fsum(weights)
    return weights


def best_of_draws(
    chances: Sequence[float],
    worth: Sequence[tuple[float, float]],
    evidence: float,
    seed: int,
    nothing: float = 0.0,
    last_wins: bool = False,
) -> list[float]:
    """How often each candidate, then (last) sending `nothing`, has the highest value among `DRAWS` draws.

    Of equals it is the first, or sending nothing where `last_wins`.

    A probability is uncertain as a Beta of mean `chances[i]` with `evidence` observations; its candidate's value is
    slope x probability + offset, `worth[i]` (Thompson 1933; Russo et al., "A Tutorial on Thompson Sampling", 2018).
    """
    random = np.random.Generator(np.random.Philox(key=seed))
    mean = np.clip(np.array(chances, np.float64), 1e-6, 1 - 1e-6)
    slopes = np.array(worth, np.float64).reshape(-1, 2)
    drawn = random.beta(mean * evidence, (1 - mean) * evidence, (DRAWS, len(mean)))
    values = np.column_stack([drawn * slopes[:, 0] + slopes[:, 1], np.full(DRAWS, nothing)])
    best = values.argmax(axis=1)
    if last_wins:
        best[values[:, -1] == values.max(axis=1)] = len(mean)
    counts = np.bincount(best, minlength=len(mean) + 1)
    return [float(count) for count in counts / DRAWS]


def uniform(count: int) -> list[float]:
    """The same probability for each."""
    return [1.0 / count] * count


def certain(count: int, position: int) -> list[float]:
    """All probability on one."""
    weights = [0.0] * count
    weights[position] = 1.0
    return weights


def draw(seed: int, step: int) -> float:
    """A number in [0, 1) with 53 random bits: a hash of the seed and the step."""
    return (_hash(step.to_bytes(8, "little"), seed) >> 11) * _BIT


def draws(seed: int, first: int, many: int) -> list[float]:
    """`draw` of the steps from `first` on."""
    return [(_hash(step.to_bytes(8, "little"), seed) >> 11) * _BIT for step in range(first, first + many)]


def sample(weights: Sequence[float], at: float) -> int:
    """The position at which the running sum of `weights` passes `at`. Never one without weight."""
    place = bisect_right(list(accumulate(weights)), at)
    if place < len(weights):
        return place
    return max((place for place, weight in enumerate(weights) if weight > 0.0), default=0)


def shuffled(positions: Sequence[int], seed: int, step: int) -> list[int]:
    """A uniformly random order (Fisher and Yates), from the seed; `step` is the first draw it uses."""
    order = list(positions)
    many = len(order) - 1
    for index, number in zip(range(many, 0, -1), draws(seed, step, many), strict=True):
        other = int(number * (index + 1))
        order[index], order[other] = order[other], order[index]
    return order


def seed_of(secret: str, decision_id: str) -> int:
    """The seed of one decision."""
    return xxhash.xxh3_64_intdigest(f"{secret}\0seed\0{decision_id}".encode())

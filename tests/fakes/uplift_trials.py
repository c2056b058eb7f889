"""Randomized tests with known effects."""

from __future__ import annotations

import numpy as np

from training.uplift_learners import Trial


def trial(rows: int, heterogeneous: bool, seed: int = 1) -> Trial:
    """Contact adds .3 for those with a positive first input and takes .1 from the others, or adds .1 for all."""
    random = np.random.default_rng(seed)
    inputs = random.normal(size=(rows, 3))
    inputs[random.random((rows, 3)) < 0.05] = np.nan
    treated = random.integers(0, 2, rows).astype(float)
    effect = np.where(inputs[:, 0] > 0, 0.3, -0.1) if heterogeneous else 0.1
    chance = 0.2 + 0.1 * (inputs[:, 1] > 0) + treated * effect
    return Trial(inputs, (random.random(rows) < chance).astype(float), treated, np.arange(rows))

"""The online layer on top of the ranker: nobody's numbers depend on who else is asked about."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from models.layered import OWN, SHARED_WIDTH, Floats, residuals
from models.offer_features import CUSTOMER, PAIR
from models.online_layer import Weights
from models.response import CHANNEL, RATES
from models.seen_words import Plain


@dataclass
class Below:
    """What the ranker weighed: random numbers."""

    pairs: Floats
    of_channels: Floats
    probabilities: Floats

    def told_of(self, asked: object, n: int = 3) -> list[list[Plain]]:
        return []


@pytest.mark.parametrize(("customers", "offers"), [(1, 1), (1, 5), (2, 1), (40, 5)])
def test_one_asked_about_alone_has_the_same_bits(customers: int, offers: int) -> None:
    random = np.random.default_rng(5)
    pairs = random.lognormal(1.0, 2.0, (40, 5, len(PAIR)))
    pairs[random.random(pairs.shape) < 0.1] = np.nan
    pairs[:, :, : len(CUSTOMER)] = pairs[:, :1, : len(CUSTOMER)]  # the same for all offers of a customer
    channels = random.normal(size=(40, 3, len(CHANNEL) + len(RATES)))
    weights = Weights(random.normal(size=SHARED_WIDTH), np.zeros((0, 1 + len(OWN))), ())
    own = random.normal(size=(5, 1 + len(OWN)))
    whole = residuals(Below(pairs, channels, np.zeros((40, 5, 3))), weights, own)
    for first in range(0, 40, customers):
        these = slice(first, first + customers)
        some = Below(pairs[these, :offers], channels[these], np.zeros((customers, offers, 3)))
        assert residuals(some, weights, own[:offers]).tobytes() == whole[these, :offers].tobytes()

"""Which offers move whom is found where it is so, and nothing is found where it is not."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration import sigmoid
from models.offer_features import CUSTOMER
from models.offer_stages import STAGE, Floats, OfferStages, stage
from models.response import SEEN
from training.head_lessons import Lessons
from training.stage_fit import fit_stages

N, LEAD = 12_000, STAGE.index("is_lead")
OFFERS = [f"o{number}" for number in range(6)]
EVERYBODY = np.ones(N, np.bool_)


def fitted(moves: float, seed: int = 4) -> tuple[OfferStages, Floats]:
    """Learnt of a log in which the first offer moves leads by so much more than others, and all customers' stages."""
    random = np.random.default_rng(seed)
    values = np.full((N, len(CUSTOMER)), np.nan)
    values[:, CUSTOMER.index("is_lead")] = random.random(N) < 0.2
    values[:, CUSTOMER.index("orders_90d")] = random.poisson(2.0, N)
    offers = random.integers(len(OFFERS), size=N)
    score = random.normal(-2.2, 0.5, N)
    lead = values[:, CUSTOMER.index("is_lead")]
    labels = (random.random(N) < sigmoid(score + moves * (offers == 0) * (lead - 0.2))).astype(float)
    lessons = Lessons(np.zeros((N, len(SEEN))), labels, labels, np.ones(N))
    return fit_stages(values, EVERYBODY, [OFFERS[place] for place in offers], score, lessons, 1.0), stage(values)


def test_an_offer_that_moves_leads_is_found() -> None:
    found, told = fitted(2.0)
    assert found.usual == pytest.approx(told.mean(axis=0))
    apart = (found.of(OFFERS).T * np.log(2))[:, LEAD]
    assert apart[0] - apart[1:] == pytest.approx(np.full(len(OFFERS) - 1, 2.0), abs=0.5)
    assert np.abs(np.delete(found.of(OFFERS).T * told.std(axis=0), LEAD, axis=1)).max() < 0.1


def test_where_all_move_alike_next_to_nothing_is_found() -> None:
    found, told = fitted(0.0)
    assert np.abs(found.of(OFFERS).T * told.std(axis=0)).max() < 0.1


def test_what_all_offers_share_is_the_heads() -> None:
    """People whom the head scores too low for any offer make no offer differ from the others."""
    random = np.random.default_rng(5)
    values = np.full((N, len(CUSTOMER)), np.nan)
    values[:, CUSTOMER.index("is_lead")] = lead = (random.random(N) < 0.3).astype(float)
    labels = (random.random(N) < sigmoid(lead - 2.0)).astype(float)
    names = [OFFERS[place] for place in random.integers(len(OFFERS), size=N)]
    lessons = Lessons(np.zeros((N, len(SEEN))), labels, labels, np.ones(N))
    found = fit_stages(values, EVERYBODY, names, np.full(N, -2.0), lessons, 1.0)
    assert np.abs(found.of(OFFERS).T[:, LEAD]).max() * lead.std() < 0.1

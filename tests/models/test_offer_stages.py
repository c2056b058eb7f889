"""Which offers move whom: people differ from the usual, unknown ones do not, and unknown offers move nobody."""

from __future__ import annotations

import json

import numpy as np
import pytest

from models.offer_features import CUSTOMER
from models.offer_stages import STAGE, Floats, OfferStages, moved

LEAD = STAGE.index("is_lead")
USUAL = np.full(len(STAGE), 0.25)
WELCOME = OfferStages(USUAL, {"welcome": np.eye(len(STAGE))[LEAD] * 2.0})
BOTH = np.ones(2, np.bool_)


def people() -> Floats:
    """A lead and somebody of whom nobody says it, both with nothing else."""
    values = np.full((2, len(CUSTOMER)), np.nan)
    values[0, CUSTOMER.index("is_lead")] = 1.0
    return values


def test_an_offer_for_leads_moves_them_more_than_others() -> None:
    found = moved(WELCOME.inputs(people(), BOTH), WELCOME.of(["welcome", "anything"]))
    assert found[:, 0] == pytest.approx([2 * (np.log(2) - 0.25), -2 * 0.25])
    assert (found[:, 1] == 0).all()


def test_strangers_are_moved_by_nothing() -> None:
    assert (WELCOME.inputs(people(), ~BOTH) == 0).all()
    assert moved(WELCOME.inputs(people(), BOTH), WELCOME.of([])).shape == (2, 0)


def test_they_come_back_from_a_manifest() -> None:
    again = OfferStages.from_dict(json.loads(json.dumps(WELCOME.to_dict())))
    assert (again.of(["welcome"]) == WELCOME.of(["welcome"])).all()
    assert (again.inputs(people(), BOTH) == WELCOME.inputs(people(), BOTH)).all()

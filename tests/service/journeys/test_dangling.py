"""A journey that names what is not there lets nobody in; nor does one that does already take such a version."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import update

from service.errors import Conflict, Invalid
from service.experiments.define_experiment import define_experiment
from service.experiments.schemas import ExperimentIn
from service.journeys.journey_store import journey_versions
from service.journeys.manage_journeys import change_status, must_find, put_journey
from service.offers.offers_store import put_offers
from service.offers.schemas import OfferIn
from tests.fakes.journeys import T0, Stage

STEPS = [
    {"id": "test", "kind": "split", "experiment": "tea", "arms": {"mild": "choose", "hto": "exit"}, "else": "exit"},
    {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email"], "offers": ["o1", "o2"]},
    {
        "id": "which",
        "kind": "branch",
        "cases": [
            {"when": "customer.scores.churn > 0.5 && customer.features.orders_90d >= 1", "next": "exit"},
            {"when": "has(customer.scores.chrn) || customer.features.ordres_90d >= 1", "next": "exit"},
        ],
        "else": "exit",
    },
]
WHOLE = {
    "steps[0].experiment": "step 'test': there is no experiment 'tea'; declare it first, or correct the name",
    "steps[1].offers[0]": "step 'choose': the catalogue has no offer 'o1'; put it first, or take it out",
    "steps[1].offers[1]": "step 'choose': the catalogue has no offer 'o2'; put it first, or take it out",
}


def put(stage: Stage, steps: list[dict[str, Any]]) -> None:
    with stage.database.write() as connection:
        put_journey(connection, "j", {"name": "Test", "steps": steps}, T0, "tester")


def refused(stage: Stage) -> dict[str, str]:
    """The faults for which the journey is not activated."""
    with pytest.raises(Conflict) as conflict, stage.database.write() as connection:
        change_status(connection, "j", "activate", T0)
    with stage.database.read() as connection:
        assert must_find(connection, "j").status == "draft"
    assert "journey 'j' cannot be activated: steps[" in conflict.value.detail
    return {error.field: error.detail for error in conflict.value.errors}


def test_what_is_not_there_is_named_before_anybody_comes_in(stage: Stage) -> None:
    """Everybody got stuck at the first step, each by themselves."""
    put(stage, STEPS)
    found = refused(stage)
    assert found.items() >= WHOLE.items()
    assert sorted(found.keys() - WHOLE.keys()) == ["steps[2].cases[1].when"]  # its last fault: one field, two names
    with stage.database.write() as connection:
        define_experiment(connection, "tea", ExperimentIn.model_validate({"variants": ["mild", "hot"]}), T0)
        channels = {"o1": ["sms", "email"], "o2": ["sms"]}
        offers = {
            name: OfferIn.model_validate({"name": name, "channels": by}).document() for name, by in channels.items()
        }
        put_offers(connection, offers, T0)
    told = refused(stage)
    assert told.pop("steps[2].cases[1].when") == "step 'which': there is no score 'chrn'; do you mean churn?"
    assert told == {
        "steps[0].arms.hto": "step 'test': the experiment 'tea' has no variant 'hto'; it has mild, hot",
        "steps[1].offers[1]": "step 'choose': the offer 'o2' goes by sms only, not by email; add a channel, or take it "
        "out",
    }


def test_a_journey_that_lets_in_takes_no_version_that_names_what_is_not_there(stage: Stage) -> None:
    put(stage, [{"id": "end", "kind": "exit"}])
    with stage.database.write() as connection:
        change_status(connection, "j", "activate", T0)
    with pytest.raises(Invalid) as invalid:
        put(stage, STEPS)
    assert "steps[0].experiment" in invalid.value.detail
    assert invalid.value.detail.endswith("(or pause the journey first)")
    with stage.database.write() as connection:
        assert must_find(connection, "j").version == 1
        change_status(connection, "j", "pause", T0)
    put(stage, STEPS)  # what it names may come before it is activated again


def test_a_version_that_cannot_be_read_any_more_is_not_activated(stage: Stage) -> None:
    put(stage, [{"id": "end", "kind": "exit"}])
    with stage.database.write() as connection:
        connection.execute(update(journey_versions).values(definition={"name": "J", "steps": [{"kind": "jump"}]}))
    with pytest.raises(Conflict, match="cannot be read any more; put it anew"), stage.database.write() as connection:
        change_status(connection, "j", "activate", T0)

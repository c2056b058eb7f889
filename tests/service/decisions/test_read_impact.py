"""What decisions bring, as it is told: by figures that are known here, and never where the arms are not as planned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from service.decisions.arm_tests import id_of_test, placement_and_number, stored_test
from service.decisions.impact_words import sentence_of
from service.decisions.read_impact import read_impact
from service.experiments.experiment_store import Exposure, add_exposures, add_values, save_experiment
from service.storage.database import Database
from tests.fakes.decisions import NOON
from tests.fakes.impact import arms_measured


def against(impact: dict[str, Any], arm: str) -> dict[str, Any]:
    return next(one for one in impact["comparisons"] if one["against"] == arm)


def test_what_the_model_brings_is_told_beside_each_other_arm(database: Database) -> None:
    impact = arms_measured(
        database, {"model": 500, "random": 200, "holdout": 300}, {"model": 1_000, "random": 990, "holdout": 600}
    )
    holdout, chance = against(impact, "holdout"), against(impact, "random")
    assert (holdout["verdict"], chance["verdict"]) == ("more", "open")
    brings = holdout["revenue_per_customer"]
    assert brings["low"] > 0
    assert brings["low"] < 4.0 < brings["high"]  # euros or dollars, not cents
    assert holdout["revenue_in_all"]["estimate"] == pytest.approx(500 * brings["estimate"])
    assert "more per customer within 28 days than sending nothing; with 95% confidence" in holdout["sentence"]
    assert "Not known yet whether deciding brings more than choosing at random" in chance["sentence"]
    assert impact["sentence"] == holdout["sentence"]
    assert [arm["arm"] for arm in impact["arms"]] == ["model", "random", "holdout"]  # nobody is in the other
    assert (impact["customers"], impact["split"]["passed"]) == (1_000, True)


def test_two_comparisons_share_what_may_go_wrong(database: Database) -> None:
    """Each interval is at alpha/2, so wider than one alone."""
    impact = arms_measured(
        database, {"model": 500, "random": 200, "holdout": 300}, {"model": 1_000, "random": 990, "holdout": 600}
    )
    wide = against(impact, "holdout")["revenue_per_customer"]
    with database.write() as connection:
        row = stored_test("email.weekly", 1, [("model", 0.625), ("holdout", 0.375)], 28, NOON)
        save_experiment(connection, row)
        copied = [("model", 500), ("holdout", 300)]
        draw = np.random.default_rng(7)
        for arm, many in copied:
            names = [f"{arm}-{number}" for number in range(many)]
            add_exposures(connection, [Exposure(row["id"], name, arm, NOON, None) for name in names])
            spent = draw.gamma(2.0, {"model": 500, "holdout": 300}[arm], many)
            add_values(connection, {(row["id"], name, "revenue"): (1, spent[n]) for n, name in enumerate(names)})
        narrow = against(read_impact(connection)[0], "holdout")["revenue_per_customer"]
    assert narrow["high"] - narrow["low"] < wide["high"] - wide["low"]


def test_arms_that_are_not_as_planned_tell_nothing(database: Database) -> None:
    impact = arms_measured(
        database, {"model": 500, "random": 200, "holdout": 60}, {"model": 1_000, "random": 990, "holdout": 600}
    )
    assert not impact["split"]["passed"]
    assert {one["verdict"] for one in impact["comparisons"]} == {"withheld"}
    assert "find out why" in impact["sentence"]


def test_few_customers_tell_nothing(database: Database) -> None:
    impact = arms_measured(
        database, {"model": 40, "random": 16, "holdout": 24}, {"model": 9_000, "random": 1, "holdout": 1}
    )
    assert {one["verdict"] for one in impact["comparisons"]} == {"too few"}
    assert impact["sentence"] == "Too few customers yet to compare deciding with sending nothing: each arm needs 30."


def test_those_who_leave_are_told_of_beside_what_is_brought(database: Database) -> None:
    impact = arms_measured(
        database,
        {"model": 500, "random": 200, "holdout": 300},
        {"model": 1_000, "random": 990, "holdout": 600},
        {"model": 0.2, "random": 0.01, "holdout": 0.01},
    )
    assert "More customers unsubscribe than with sending nothing: +19" in against(impact, "holdout")["sentence"]
    assert against(impact, "holdout")["unsubscribed"]["low"] > 0


def test_worse_is_said(database: Database) -> None:
    impact = arms_measured(
        database, {"model": 500, "random": 200, "holdout": 300}, {"model": 500, "random": 990, "holdout": 1_000}
    )
    assert against(impact, "holdout")["verdict"] == "less"
    assert "less per customer within 28 days than sending nothing" in impact["sentence"]


def test_without_any_order_nothing_is_claimed() -> None:
    told = dict.fromkeys(("revenue_per_customer", "unsubscribed", "complained"))
    sentence = sentence_of({"against": "holdout", "verdict": "open", **told}, 28, 0.95, 30)
    assert sentence == "Nobody has bought anything yet, in the model's arm or with sending nothing."


@pytest.mark.parametrize("placement", ["home", "app:home", "a:1:b"])
def test_a_test_is_of_its_placement_whatever_that_is_called(placement: str) -> None:
    assert placement_and_number(id_of_test(placement, 12)) == (placement, 12)

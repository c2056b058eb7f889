"""The door to training: names, results in words."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from training.train import MODELS, TRAINERS, TrainResult, expand, say, train


def test_names_are_each_trained_once() -> None:
    assert expand(["churn", "lead", "churn"]) == ["churn", "lead"]
    assert expand(["lead", "all"]) == list(MODELS)


@pytest.mark.parametrize("names", [["churm"], []])
def test_an_unknown_name_is_refused_naming_the_known(names: list[str]) -> None:
    with pytest.raises(ValueError, match="lead, churn, winback, send-time, next-offer or all"):
        expand(names)


@pytest.mark.parametrize("place", TRAINERS.values())
def test_every_trainer_exists(place: str) -> None:
    module, _, function = place.partition(":")
    assert callable(getattr(import_module(module), function))


def test_results_are_said_with_the_rivals_figures() -> None:
    made = TrainResult("churn", "3", True, "promoted: beats recency", {"auc": 0.87}, {"recency": {"auc": 0.78}})
    assert say(made) == "churn: version 3; promoted: beats recency\n  churn       auc 0.8700\n  recency     auc 0.7800"
    assert say(TrainResult("lead", None, False, "64 of 100 conversions")) == "lead: no model; 64 of 100 conversions"


def test_an_empty_home_gives_a_verdict_and_a_report(tmp_path: Path) -> None:
    (result,) = train(["churn"], tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert result.version is None
    assert result.verdict.endswith("meanwhile nobody has this score, and rules that ask for it do not hold")
    assert not (tmp_path / "mlflow.db").exists()
    assert (tmp_path / "reports" / "training" / "churn.json").exists()

"""Which bars the report draws of the simulated world."""

from __future__ import annotations

from typing import Any

from service.pages.report_page import arm_bars
from tests.fakes.demo_report import DEMO_REPORT


def labels(**changed: Any) -> list[str]:
    return [bar.label for bar in arm_bars({**DEMO_REPORT["world"], **changed})]


def test_before_and_after_training_are_told_apart() -> None:
    told = labels()
    assert (told[0], told[-1]) == ("random choice", "best there is")
    assert {"model", "model, before training", "model, trained"} < set(told)


def test_a_model_that_was_trained_from_the_first_day_is_drawn_once() -> None:
    nothing = {**DEMO_REPORT["world"]["model_untrained"], "decisions": 0}
    assert [label for label in labels(model_untrained=nothing) if "model" in label] == ["model"]
    assert [label for label in labels(model_untrained=None) if "model" in label] == ["model"]

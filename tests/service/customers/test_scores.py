"""The scores of many customers are those of each one."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from features.catalogue import FEATURE_NAMES
from features.rows import CustomerRow
from service.customers.scores import SCORES, probabilities, scores
from tests.fakes.decisions import Served
from tests.fakes.model_cases import propensity


def row_of(**values: float) -> CustomerRow:
    known = dict.fromkeys(FEATURE_NAMES, float("nan")) | values
    return CustomerRow("c", datetime(2026, 1, 1, tzinfo=UTC), known, {}, np.zeros(168), {})


def test_many_have_the_probabilities_and_tiers_of_each() -> None:
    model = propensity()
    models = Served({model.name: model})
    inside = [row_of(orders_total=4, days_since_last_order=days, orders_90d=days) for days in (3.0, 20.0, 50.0)]
    rows = [inside[0], None, row_of(orders_total=4, days_since_last_order=70), *inside[1:]]
    told = probabilities(models, rows)  # type: ignore[arg-type]
    each = [scores(models, row, profiling=True) for row in rows]  # type: ignore[arg-type]
    assert set(told) == set(SCORES)
    for name in SCORES:
        assert told[name] == [(one[name]["probability"], one[name]["tier"]) for one in each]
    assert [probability is None for probability, _ in told[model.name]] == [False, True, True, False, False]


def test_nobody_has_a_score_without_models() -> None:
    assert probabilities(None, [row_of(), None]) == {name: [(None, None)] * 2 for name in SCORES}
    assert probabilities(None, []) == {name: [] for name in SCORES}

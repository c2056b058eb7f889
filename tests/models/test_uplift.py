"""Serving uplift: segments, the share that contact causes, and customers of whom nothing is known."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from features.rows import CustomerRow
from models.uplift import DO_NOT_DISTURB, LOST_CAUSE, PERSUADABLE, SURE_THING, Input, Money, segment_of, uplift_name
from tests.fakes.model_cases import FEATURES, uplift


def row_of(values: Mapping[str, float]) -> CustomerRow:
    return CustomerRow("c", datetime(2026, 1, 1, tzinfo=UTC), values, {}, np.zeros(168, np.int64), {})


def test_segments_follow_from_uplift_and_money() -> None:
    found = segment_of([0.2, 0.01, 0.01, -0.01, 0.05], [0.1, 0.5, 0.05, 0.5, 0.05], Money(10, 0.5), 0.1)
    assert found.tolist() == [PERSUADABLE, SURE_THING, LOST_CAUSE, DO_NOT_DISTURB, LOST_CAUSE]


def test_without_cost_everyone_whom_contact_moves_is_persuadable() -> None:
    assert segment_of([1e-6, -1e-6], [0.5, 0.5], Money(1, 0), 0.1).tolist() == [PERSUADABLE, DO_NOT_DISTURB]


def test_unknown_customers_get_the_average() -> None:
    model, row = uplift(), row_of(dict.fromkeys(FEATURES, 5.0))
    found = model.uplifts([None, row, None])
    assert found[[0, 2]].tolist() == [model.average] * 2
    np.testing.assert_array_equal(found[1:2], model.uplifts([row]))
    assert model.caused([None])[0] == pytest.approx(model.average / (model.average + model.usual))


def test_what_contact_causes_is_a_share_of_what_follows_it() -> None:
    model = uplift()
    rows: list[CustomerRow | None] = [row_of(dict.fromkeys(FEATURES, value)) for value in (0.0, 3.0, 40.0)]
    change, share = model.uplifts(rows), model.caused(rows)
    before = model.untreated_rows(np.array([[v] * len(FEATURES) for v in (0.0, 3.0, 40.0)]))
    np.testing.assert_allclose(share * (before + change), change, atol=1e-12)
    assert np.all(np.abs(share) <= 1)


def test_only_a_model_of_the_catalogues_features_serves() -> None:
    model = uplift()
    assert model.serves
    assert not replace(model, inputs=(*model.inputs, Input("town", "A"))).serves
    assert not replace(model, inputs=(Input("no such feature"),)).serves


def test_a_row_without_a_feature_is_refused() -> None:
    row = row_of(dict.fromkeys(FEATURES[1:], 1.0))
    with pytest.raises(KeyError, match=FEATURES[0]):
        uplift().uplifts([row])


def test_placements_have_models_of_their_own() -> None:
    names = {uplift_name(placement) for placement in ("a/b", "a-b", "a:b", "a--b", "a-b-", "site:a/b", "site-a-b", "")}
    assert len(names) == 8
    assert all(re.fullmatch(r"uplift-[A-Za-z0-9][A-Za-z0-9._-]*", name) for name in names)
    assert uplift_name("email.weekly") == "uplift-email.weekly"

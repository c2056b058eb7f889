"""Declarations, populations, scores of one customer, tiers."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.catalogue import FEATURE_NAMES
from features.rows import CustomerRow
from models import churn, lead, winback
from models.bgnbd import INPUTS, RARE, BgNbd, Buying, purchases_told
from models.declaration import Declaration, Goal, Rule
from models.linear import Linear, squeeze
from models.load import MissingColumns, ModelError, load
from models.propensity import PropensityModel
from tests.fakes.model_cases import FEATURES, propensity, propensity_rows, winback_case

DECLARATIONS = (lead.DECLARATION, churn.DECLARATION, winback.DECLARATION)


def _row(**values: float) -> CustomerRow:
    known = dict.fromkeys(FEATURE_NAMES, float("nan")) | values
    return CustomerRow("c", datetime(2026, 1, 1, tzinfo=UTC), known, {}, np.zeros(168, np.int64), {})


@pytest.mark.parametrize("declaration", DECLARATIONS, ids=lambda d: d.name)
def test_declarations_survive_writing_and_name_known_features(declaration: Declaration) -> None:
    assert Declaration.from_dict(declaration.to_dict()) == declaration
    assert declaration.baseline in FEATURE_NAMES
    assert set(declaration.inputs) <= set(FEATURE_NAMES)


def test_a_declaration_may_come_from_a_table_of_text() -> None:
    made = Declaration.from_dict(
        {
            "name": "upgrade",
            "population": ["orders_total >= 3"],
            "goal": {"event": "Plan Upgraded"},
            "horizon_days": 30,
            "baseline": "orders_90d",
        }
    )
    assert made.goal == Goal("Plan Upgraded")
    assert made.applies(pl.DataFrame({"orders_total": [2.0, 3.0, None]})).tolist() == [False, True, False]


@pytest.mark.parametrize("wrong", ["orders_total", "orders_total is 3", "no_such_feature > 3", "orders_total > x"])
def test_a_wrong_rule_is_refused(wrong: str) -> None:
    with pytest.raises(ValueError, match="the rule"):
        Rule(wrong, "")


def test_everybody_who_ordered_is_active_or_lapsed_never_both() -> None:
    frame = pl.DataFrame({"orders_total": [0.0, 1.0, 5.0, 5.0], "days_since_last_order": [None, 3.0, 55.999, 56.0]})
    active, lapsed = churn.DECLARATION.applies(frame), winback.DECLARATION.applies(frame)
    assert active.tolist() == [False, True, True, False]
    assert lapsed.tolist() == [False, False, False, True]
    with pytest.raises(MissingColumns, match="orders_total"):
        churn.DECLARATION.applies(frame.drop("orders_total"))


def test_who_is_outside_is_told_why() -> None:
    assert lead.DECLARATION.why_not(_row().values) == "no campaign has reached this customer yet"
    redeemed = _row(deliveries_total=3, redeemed_total=2).values
    assert lead.DECLARATION.why_not(redeemed) == "is no lead any more: has redeemed 2 times"
    assert lead.DECLARATION.why_not(_row(deliveries_total=3, redeemed_total=0).values) is None
    score = propensity().score(_row(orders_total=4, days_since_last_order=70))
    assert score.probability is None
    assert score.why == "has lapsed already: last order 70 days ago"
    assert score.reasons == ()


def test_a_customers_score_is_the_frames_score_with_reasons() -> None:
    model = propensity()
    values = {"days_since_last_order": 41.0, "orders_90d": 3.0, "order_gap_mean_days": 20.0}
    row = _row(orders_total=9, **values)
    score = model.score(row)
    frame = pl.DataFrame({name: [row.values[name]] for name in FEATURES})
    assert score.probability == model.predict(frame)[0]
    assert score.why is None
    assert score.tier == model.tier(score.probability)
    assert 1 <= len(score.reasons) <= 3
    assert "last order 41 days ago, usually every 20" in [reason.text for reason in score.reasons]
    effects = [abs(reason.effect) for reason in score.reasons]
    assert effects == sorted(effects, reverse=True)


@pytest.mark.parametrize("excluded", ["", "redeemed_total > 5", "orders_90d >= 2 AND tenure_days > 3"])
def test_many_customers_score_as_each_alone(excluded: str) -> None:
    model = propensity()
    model = replace(model, declaration=replace(model.declaration, exclusions=(Rule(excluded),) if excluded else ()))
    random = np.random.default_rng(5)
    drawn = [dict(zip(FEATURES, random.integers(0, 90, len(FEATURES)).astype(float), strict=True)) for _ in range(9)]
    rows = [_row(**one, orders_total=9, redeemed_total=number) for number, one in enumerate(drawn)]
    told = model.probabilities([*rows, _row()])
    assert told == [model.score(row).probability for row in [*rows, _row()]]
    assert None in told
    assert set(told) != {None}
    assert [model.probabilities([row])[0] for row in rows] == told[:-1]
    inside = rows[next(place for place, one in enumerate(told) if one is not None)]
    lacking = {name: value for name, value in inside.values.items() if name != FEATURES[-1]}
    with pytest.raises(KeyError, match=FEATURES[-1]):
        model.probabilities([replace(inside, values=lacking)])


def test_effects_explain_the_difference_between_two_customers() -> None:
    """They sum to the score, up to what is the same for everybody."""
    model = propensity()
    rows = model.matrix(propensity_rows(9, 50))
    rest = model.raw_score(rows) - model.effects(rows).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)


def test_a_share_of_bg_nbd_is_told_of_orders_and_of_the_last() -> None:
    case = winback_case()
    assert isinstance(case.model, PropensityModel)
    model, rows = case.model, case.model.matrix(case.frame)
    rest = model.raw_score(rows) - model.effects(rows).sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-9)
    assert set(INPUTS) <= set(model.columns)
    assert not set(INPUTS) <= set(model.features)
    often = {"orders_total": 20.0, "orders_365d": 20.0, "order_days_365d": 20.0, "days_since_first_order": 300.0}
    row = _row(**often, days_since_last_order=60.0, orders_90d=1.0, revenue_cents_90d=0.0, order_gap_mean_days=12.0)
    lately = _row(**(dict(row.values) | {"days_since_last_order": 61.0}))
    assert model.score(row).probability == pytest.approx(model.probabilities([row, lately])[0])
    assert model.score(row).probability > model.score(lately).probability  # type: ignore[operator]


def test_purchases_are_told_from_features() -> None:
    nan = float("nan")
    rows = np.array([[6, 6, 3, 100, 20], [1, 1, 1, 30, 30], [nan, nan, nan, nan, nan], [4, 0, 0, 900, 500]], float)
    told = purchases_told(rows)
    assert told.x.tolist() == [2, 0, 0, 3]  # two orders a day count as one
    assert told.t_x.tolist() == [80, 0, 0, 400]
    assert told.t.tolist() == [100, 30, 0, 900]
    buying = Buying(BgNbd(0.24, 4.4, 0.79, 2.43), 56.0, happens=True)
    score = buying.raw_score(rows)
    assert score[2] == pytest.approx(np.log(RARE / (1 - RARE)))
    assert score[0] > score[1] > score[2]
    never = Buying(buying.model, 56.0, happens=False).raw_score(rows)
    np.testing.assert_allclose(never, -score)
    last, number = buying.effects(rows)
    np.testing.assert_allclose(last + number, score)
    assert (last <= 0).all()
    assert Buying.from_dict(buying.to_dict()) == buying


def test_tiers_are_by_probability() -> None:
    model = propensity()
    assert [model.tier(p) for p in (0.9, 0.2, 0.1999, 0.0)] == ["A", "A", "D", "D"]


def test_a_feature_that_is_gone_from_the_catalogue_is_named(tmp_path: Path) -> None:
    propensity().save(tmp_path)
    manifest = tmp_path / "model.json"
    manifest.write_text(manifest.read_text().replace('"orders_90d"', '"orders_91d"'))
    with pytest.raises(ModelError, match="orders_91d"):
        load(tmp_path)


def test_the_regression_takes_a_missing_value_for_average_and_adds_its_flag() -> None:
    linear = Linear(np.array([1.0]), np.array([2.0]), np.array([0.5]), np.array([-0.25]), 0.125)
    known, missing = linear.raw_score(np.array([[np.expm1(3.0)], [np.nan]]))
    assert known == pytest.approx(0.125 + 0.5 * (3.0 - 1.0) / 2.0)
    assert missing == pytest.approx(0.125 - 0.25)


def test_squeezing_is_odd_monotone_and_finite() -> None:
    values = np.array([-np.inf, -5.0, 0.0, 5.0, np.inf])
    out = squeeze(values)
    assert np.isfinite(out).all()
    np.testing.assert_allclose(out, -out[::-1])
    assert np.all(np.diff(out) > 0)
    assert np.isnan(squeeze(np.array([np.nan]))[0])

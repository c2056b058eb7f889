"""Learning from a training set: blend, codes, dates, rivals, tuning; and what is too little, named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.event_log import EventLog
from models import churn
from models.load import load, verify_golden, write_golden
from tests.fakes.shop_history import START, shop_history
from tests.fakes.training_sets import DECLARED, FEATURES, made_up
from training import splits
from training.assemble import Learnt, final_model, slices, twin_model
from training.datasets import STEP, TrainingSet, period, training_set
from training.learn import BG_NBD, TooLittle, _inputs, learn
from training.members import FoldScores
from training.metrics import auc, calibration_points, figures
from training.tune import Tuning, tune

AUC = "auc"


def _learnt(data: TrainingSet, tuning: Tuning | None = None) -> Learnt:
    return learn(DECLARED, data, lambda what, share: None, tuning)


@pytest.fixture(scope="module")
def drifting() -> tuple[TrainingSet, Learnt]:
    data = made_up()
    return data, _learnt(data)


def test_what_tells_the_date_is_left_out_where_dates_go_on(drifting: tuple[TrainingSet, Learnt]) -> None:
    data, learnt = drifting
    assert learnt.dated == ("price_index",)
    assert learnt.features == ("age", "visits", "plan") == final_model(DECLARED, data, learnt).columns
    steady = made_up(drift=0.0)
    assert _learnt(steady).dated == ()
    recurring = data.frame.with_columns(price_index=pl.col("price_index").round() % 2)
    assert "price_index" in _learnt(replace(data, frame=recurring)).features  # known values come again


def test_a_blend_serves_with_effects_that_sum_to_its_score(drifting: tuple[TrainingSet, Learnt]) -> None:
    data, learnt = drifting
    learnt = replace(learnt, recipe=replace(learnt.recipe, share=1, stage=3))
    model = final_model(DECLARED, data, learnt)
    rows = model.matrix(data.frame.tail(200))
    bias = model.mix * model.trees.contributions(rows)[:, -1] + (1 - model.mix) * model.linear.intercept
    np.testing.assert_allclose(model.effects(rows).sum(axis=1) + bias, model.raw_score(rows), atol=1e-9)
    alone = np.concatenate([model.predict(data.frame[place]) for place in range(20)])
    np.testing.assert_array_equal(alone, model.predict(data.frame.head(20)))
    booster = learnt.members.booster
    expected = booster.predict(rows, raw_score=True, num_iteration=learnt.recipe.rounds)
    np.testing.assert_allclose(model.trees.raw_score(rows), expected, atol=1e-12)


def test_a_model_says_until_when_it_knows_outcomes_and_its_twin_until_it_was_judged(
    drifting: tuple[TrainingSet, Learnt],
) -> None:
    """By that a later candidate is compared with it on outcomes that are new to it."""
    data, learnt = drifting
    last = data.cuts[-1] + DECLARED.horizon
    assert final_model(DECLARED, data, learnt).trained["labels_until"] == last.isoformat()
    assert twin_model(DECLARED, data, learnt).trained["labels_until"] == learnt.judged[-1].test.isoformat()


def test_codes_are_learnt_one_by_one_and_unseen_ones_are_average(drifting: tuple[TrainingSet, Learnt]) -> None:
    _, learnt = drifting
    linear = learnt.members.linear[0]
    place = learnt.features.index("plan")
    effects = linear.effects(np.array([[0.0, 0.0, code] for code in (0, 1, 2, 3, 9, np.nan)]))[:, place]
    assert effects[1] > effects[3] > effects[0] > effects[2]  # as the truth: 1.2, .4, 0, -1.2
    assert effects[4] == 0
    assert linear.from_dict(linear.to_dict()).effects(np.array([[0.0, 0.0, 1.0]]))[0, place] == effects[1]


def test_it_is_judged_on_folds_that_no_recipe_has_seen(drifting: tuple[TrainingSet, Learnt]) -> None:
    data, learnt = drifting
    labels = data.labels[learnt.rows]
    assert figures(labels, learnt.predictions)[AUC] > 0.7
    assert len(learnt.judged) == len(learnt.recipes) >= 1
    assert all(fold.test > data.cuts[0] + DECLARED.horizon for fold in learnt.judged)


def test_a_trait_set_after_the_outcome_is_found_and_told_with_the_model() -> None:
    """As a list of customers tells it that was made after all outcomes and brought in as of their registration."""
    data = made_up(cuts=5, customers=120, drift=0.0)
    bought = data.frame.filter(pl.col("as_of") == data.cuts[-1]).select("customer_id", lead_score="label")
    frame = data.frame.join(bought, on="customer_id").with_columns(pl.col("lead_score").cast(pl.Float64))
    leaking = replace(data, frame=frame.sort("as_of", "customer_id"), features=(*FEATURES, "lead_score"))
    learnt = _learnt(leaking)
    assert dict(learnt.alone) == {"lead_score": 1.0}
    assert final_model(DECLARED, leaking, learnt).trained["tells_alone"] == ["lead_score"]
    honest = _learnt(data)
    assert dict(honest.alone) == {}
    assert "tells_alone" not in final_model(DECLARED, data, honest).trained


def test_tuning_by_trials_gives_the_same_twice_and_never_what_is_worse_there() -> None:
    data = made_up(cuts=5, customers=120)
    first, again = (_learnt(data, Tuning(trials=2)) for _ in range(2))
    assert first.tuned == again.tuned
    assert set(first.tuned) == {"num_leaves", "min_data_in_leaf", "feature_fraction", "lambda_l2", "learning_rate"}
    np.testing.assert_array_equal(first.predictions, again.predictions)


def test_the_usual_parameters_are_tried_first() -> None:
    defaults = {"num_leaves": 4, "min_data_in_leaf": 100, "feature_fraction": 0.4, "lambda_l2": 10.0,
                "learning_rate": 0.03}  # fmt: skip
    tried: list[Mapping[str, object]] = []

    def loss(parameters: Mapping[str, object]) -> float:
        tried.append(dict(parameters))
        return float(len(tried))

    assert tune(loss, defaults, Tuning(trials=4)) == defaults == tried[0]
    assert len(tried) == 4


@pytest.mark.parametrize(("text", "budget"), [("60s", Tuning(60.0)), ("2m", Tuning(120.0)), ("1h", Tuning(3600.0)),
                                              ("20", Tuning(trials=20))])  # fmt: skip
def test_a_budget_is_a_time_or_a_number(text: str, budget: Tuning) -> None:
    assert Tuning.parse(text) == budget


@pytest.mark.parametrize("text", ["", "0", "0s", "soon", "-5", "1.5m"])
def test_another_budget_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a time such as 60s"):
        Tuning.parse(text)


def test_columns_without_values_or_with_one_are_no_crash() -> None:
    data = made_up(cuts=6)
    odd = data.frame.with_columns(age=pl.lit(float("nan")), price_index=pl.lit(3.0), plan=pl.lit(None, pl.Float64))
    learnt = _learnt(replace(data, frame=odd))
    assert learnt.features == ("visits",)
    assert np.isfinite(learnt.predictions).all()


def test_a_constant_baseline_and_one_class_are_named() -> None:
    data = made_up(cuts=6)
    with pytest.raises(TooLittle, match="visits, the plain baseline, is the same for everybody"):
        _learnt(replace(data, frame=data.frame.with_columns(visits=pl.lit(1.0))))
    late = data.cuts[-1]
    once = data.frame.with_columns(label=pl.when(pl.col("as_of") == late).then("label").otherwise(0).cast(pl.Int8))
    with pytest.raises(TooLittle, match="both outcomes occur in 0 of 2 time folds"):
        _learnt(replace(data, frame=once))


def test_a_codes_model_survives_saving(drifting: tuple[TrainingSet, Learnt], tmp_path: Path) -> None:
    data, learnt = drifting
    names = ("tenure_days", "orders_90d", "orders_30d", "role_level")  # of the catalogue, as a manifest must name
    renamed = replace(data, frame=data.frame.rename(dict(zip(FEATURES, names, strict=True))), features=names)
    declared = replace(DECLARED, features=names, baseline="orders_90d", categories=("role_level",))
    kept = tuple(dict(zip(FEATURES, names, strict=True))[name] for name in learnt.features)
    model = final_model(declared, renamed, replace(learnt, features=kept))
    model.save(tmp_path)
    write_golden(model, tmp_path, renamed.frame.head(30))
    verify_golden(load(tmp_path), tmp_path)


def test_calibration_points_are_promised_and_observed_by_group() -> None:
    p = np.linspace(0.05, 0.95, 1000)
    points = calibration_points((np.random.default_rng(1).random(1000) < p).astype(float), p)
    assert len(points) == 10
    assert all(abs(promised - observed) < 0.15 and n == 100 for promised, observed, n in points)
    assert [promised for promised, _, _ in points] == sorted(promised for promised, _, _ in points)
    assert len(calibration_points([1.0, 0.0], [0.5, 0.1])) == 2


def test_slices_name_the_largest_segments() -> None:
    frame = pl.DataFrame({"customer_id": ["a", "b", "c"], "label": [1, 0, 1], "tenure_days": [10.0, 100.0, 200.0]})
    segments = pl.DataFrame({"customer_id": ["a", "b", "b", "z"], "segment": ["vip", "vip", "new", "gone"]})
    found = {name: rest for name, *rest in slices(frame, np.array([0.8, 0.2, 0.6]), segments)}
    assert found["known for under 90 days"] == [1, 0.8, 1.0]
    assert found["segment vip"] == [2, 0.5, 0.5]
    assert found["segment new"] == [1, pytest.approx(0.2), 0.0]
    assert "segment gone" not in found
    assert "up to 5 orders a year" not in found


def test_the_base_rate_is_that_of_the_population_before_the_cut() -> None:
    data = made_up()
    fold = _learnt(data).judged[-1]
    before = data.frame.filter(pl.col("as_of") < fold.test)["label"].mean()
    assert np.unique(fold.rivals["base_rate"]) == pytest.approx(before, abs=0.03)
    later = data.frame.with_columns(label=pl.when(pl.col("as_of") >= fold.test).then(0).otherwise("label"))
    again = _inputs(DECLARED, replace(data, frame=later))
    same = again.base_rate(splits.Fold(tuple(cut for cut in data.cuts if cut < fold.test), fold.test))
    assert np.unique(same) == np.unique(fold.rivals["base_rate"]), "nothing of later outcomes"


def _same_scores(one: FoldScores, other: FoldScores) -> bool:
    """Whether every part, and every rival, says the same of the fold's rows."""
    told = [(one.trees, other.trees), (one.linear, other.linear), (one.baseline, other.baseline)]
    told += [(one.rivals[name], other.rivals[name]) for name in one.rivals]
    if one.buying is not None and other.buying is not None:
        told.append((one.buying, other.buying))
    return one.rivals.keys() == other.rivals.keys() and all(np.array_equal(a, b) for a, b in told)


def test_a_fold_is_scored_without_any_outcome_of_after_its_cut() -> None:
    data = made_up()
    fold = splits.folds(data.cuts, DECLARED.horizon)[3]

    def otherwise(since: pl.Expr) -> FoldScores:
        told = pl.when(since).then(1 - pl.col("label")).otherwise("label").cast(pl.Int8)
        return _inputs(DECLARED, replace(data, frame=data.frame.with_columns(label=told))).score(fold)

    usual = _inputs(DECLARED, data).score(fold)
    assert _same_scores(usual, otherwise(pl.col("as_of") > fold.train[-1])), "its own outcomes and later ones"
    assert not _same_scores(usual, otherwise(pl.col("as_of") == fold.train[-1]))


def test_who_only_teaches_is_not_judged_nor_counted_in_the_usual_share() -> None:
    data = made_up()
    others = pl.col("customer_id").str.ends_with("7")
    frame = data.frame.with_columns(member=~others, label=pl.when(others).then(1).otherwise("label").cast(pl.Int8))
    fold = splits.folds(data.cuts, DECLARED.horizon)[-1]
    found = _inputs(DECLARED, replace(data, frame=frame)).score(fold)
    assert len(found.labels) == frame.filter(pl.col("member") & (pl.col("as_of") == fold.test)).height == 225
    before = frame.filter(pl.col("member") & (pl.col("as_of") < fold.test))["label"].mean()
    assert np.unique(found.rivals["base_rate"]) == pytest.approx(before, abs=0.005)


def test_bg_nbd_knows_what_was_bought_by_the_cut_alone(tmp_path: Path) -> None:
    """As a part and as a rival; of churn it says who will not buy."""
    log = EventLog(tmp_path)
    log.append(shop_history(120, 260), "history")
    covered = period(log, START + 300 * STEP)
    assert covered is not None
    cuts = [START + STEP * step for step in (7, 11, 12)]
    data = training_set(log, churn.DECLARATION, cuts, covered)
    fold = splits.folds(cuts, churn.DECLARATION.horizon)[0]
    usual = _inputs(churn.DECLARATION, data).score(fold)
    assert usual.buying is not None
    assert auc(usual.labels, usual.rivals[BG_NBD]) > 0.6
    assert auc(usual.labels, usual.buying) > 0.6

    narrow = replace(churn.DECLARATION, features=("days_since_last_order", "orders_total", "tenure_days"))
    told = _inputs(narrow, data).score(fold)
    assert told.buying is None, "it reads more than the declaration lets the model learn from"
    assert BG_NBD in told.rivals

    def bought_more(when: pl.Expr) -> FoldScores:
        assert data.purchases is not None
        more = pl.when(when).then(pl.col("repeat_order_days") + 5).otherwise("repeat_order_days")
        changed = replace(data, purchases=data.purchases.with_columns(repeat_order_days=more))
        return _inputs(churn.DECLARATION, changed).score(fold)

    assert _same_scores(usual, bought_more(pl.col("as_of") != fold.test))
    assert not _same_scores(usual, bought_more(pl.col("as_of") == fold.test))

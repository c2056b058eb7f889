"""One small fitted model of every kind, with inputs as it may meet them: what the conformance suite runs over.

A new model: add a function here and its name to CASES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

import lightgbm
import numpy as np
import polars as pl

from models import churn, lead, winback
from models.bgnbd import BgNbd, Buying
from models.calibration import Calibration
from models.channel_curves import ChannelCurve
from models.load import Model
from models.next_offer import NextOfferModel
from models.offer_features import PAIR, OfferKnowledge
from models.propensity import PropensityModel, Tier
from models.response import INPUTS, SEEN, ChannelKnowledge, ResponseHead
from models.send_time import SendTimeModel
from models.trees import parse_trees
from models.uplift import Input, Money, UpliftModel
from models.week import HOURS
from tests.fakes.uplift_trials import trial
from training.members import fit_members
from training.uplift_learners import LEARNERS, Trial

FEATURES = ("days_since_last_order", "orders_90d", "revenue_cents_90d", "order_gap_mean_days", "delivered_30d")


@dataclass(frozen=True)
class Case:
    """`frame`: usual inputs; `odd`: nulls, NaN, infinities, and values that training never saw."""

    model: Model
    frame: pl.DataFrame
    odd: pl.DataFrame
    least: float = 0.0
    """The lowest that a prediction may be: uplift may be negative."""
    needed: tuple[str, ...] = ()
    """Columns without whose values there is no prediction."""


def propensity_rows(seed: int, rows: int = 600) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    values = random.gamma(1.0, 20.0, (rows, len(FEATURES)))
    values[random.random(values.shape) < 0.1] = np.nan
    return pl.DataFrame(values, schema=list(FEATURES))


def propensity(mix: float = 0.5, calibration: Calibration | None = None) -> PropensityModel:
    frame = propensity_rows(1, 2000)
    rows = frame.to_numpy()
    labels = (np.random.default_rng(2).random(2000) < 1 / (1 + np.exp(3 - np.nan_to_num(rows[:, 0]) / 20))).astype(
        float
    )
    members = fit_members(rows, labels, np.ones(2000), 0)
    text = members.booster.model_to_string(num_iteration=30)
    calibration = calibration or Calibration("beta", (0.9, 1.1, 0.1))
    trained = {"labels_until": "2026-01-01T00:00:00+00:00"}
    return PropensityModel(churn.DECLARATION, FEATURES, parse_trees(text), text, members.linear[1], mix, calibration,
                           (Tier("A", 0.2, 0.3), Tier("D", 0.0, 0.05)), trained)  # fmt: skip


def _odd(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    random = np.random.default_rng(3)
    odd = np.array([np.nan, np.inf, -np.inf, 0.0, -1e9, 1e12])
    changed = [
        pl.Series(name, np.where(random.random(frame.height) < 0.3, random.choice(odd, frame.height), frame[name]))
        for name in columns
    ]
    nulls = pl.when(pl.int_range(pl.len()) % 7 != 3)
    return frame.with_columns(changed).with_columns(nulls.then(pl.col(name)) for name in columns)


def _propensity_case(model: PropensityModel) -> Case:
    frame = propensity_rows(5, 60)
    return Case(model, frame, _odd(frame, FEATURES))


def churn_case() -> Case:
    return _propensity_case(propensity())


def trees_alone_case() -> Case:
    knots = Calibration("isotonic", x=(-4.0, -1.0, 2.0), y=(0.01, 0.2, 0.7))
    return _propensity_case(propensity(mix=1.0, calibration=knots))


def lead_case() -> Case:
    return _propensity_case(replace(propensity(mix=0.0), declaration=lead.DECLARATION))


def one_way_case() -> Case:
    """Declared against what the rows say: customers are the likelier the longer their last order is ago."""
    declared = replace(churn.DECLARATION, falling=FEATURES[:1], rising=FEATURES[1:3])
    rows = propensity_rows(1, 2000).to_numpy()
    chance = 1 / (1 + np.exp(3 - np.nan_to_num(rows[:, 0]) / 20 + np.nan_to_num(rows[:, 1]) / 20))
    labels = (np.random.default_rng(2).random(2000) < chance).astype(float)
    directions = {place: declared.directions[name] for place, name in enumerate(FEATURES[:3])}
    members = fit_members(rows, labels, np.ones(2000), 0, directions=directions)
    text = members.booster.model_to_string(num_iteration=30)
    trees, linear = parse_trees(text), members.linear[1]
    model = replace(propensity(), declaration=declared, trees=trees, tree_text=text, linear=linear)
    return _propensity_case(model)


def winback_case() -> Case:
    """With a share of BG/NBD, whose inputs are no features of the trees."""
    part = Buying(BgNbd(0.24, 4.4, 0.79, 2.43), 56.0, happens=True, level=-0.2, slope=0.8, center=-1.0)
    model = replace(propensity(), declaration=winback.DECLARATION, buying=part, buying_share=0.25)
    first, last = np.random.default_rng(8).uniform(0, 400, (2, 60))
    more = {
        "orders_total": np.round(first / 30),
        "orders_365d": np.round(first / 40),
        "order_days_365d": np.round(first / 50),
        "days_since_first_order": np.maximum(first, last),
    }
    frame = propensity_rows(5, 60).with_columns(pl.Series(name, values) for name, values in more.items())
    return Case(model, frame, _odd(frame, model.columns))


def send_time_case() -> Case:
    random = np.random.default_rng(4)
    rate = random.uniform(0.01, 0.2, HOURS)
    base = SendTimeModel.untrained()
    model = SendTimeModel({"email": ChannelCurve(rate, 0.1, 0.2, 19)}, base.presence, 1.0, 20.0)
    hours = pl.Series("hour_of_week", random.integers(0, HOURS, 40))
    frame = pl.DataFrame({"channel": random.choice(["email", "sms"], 40), "hour_of_week": hours})
    odd = pl.DataFrame({"channel": ["email", "carrier pigeon", "", None] * 10, "hour_of_week": hours})
    return Case(model, frame, odd, needed=("hour_of_week",))


def next_offer_case() -> Case:
    random = np.random.default_rng(6)
    rows = random.random((1500, len(PAIR)))
    labels = (rows[:, 0] > random.random(1500)).astype(float)
    data = lightgbm.Dataset(rows, labels, feature_name=list(PAIR), params={"verbose": -1})
    fitted = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 10)
    vectors = np.eye(2)
    knowledge = OfferKnowledge(("Tea",), {}, {}, {"Tea": -2.5}, -2.0, vectors[:1], {"o-tea": vectors[1]})
    text = fitted.model_to_string()
    channels = ChannelKnowledge({"email": 0.3}, {}, {})
    model = NextOfferModel(parse_trees(text), text, Calibration(), knowledge, channels, ResponseHead())
    frame = pl.DataFrame(random.random((40, len(INPUTS))), schema=list(INPUTS))
    return Case(model, frame, _odd(frame, INPUTS))


def _learnt_head_case(kind: str) -> Case:
    """Next offer under a head that the decision log has taught."""
    case = next_offer_case()
    assert isinstance(case.model, NextOfferModel)
    random = np.random.default_rng(7)
    rows = random.random((2000, len(SEEN)))
    rows[random.random(rows.shape) < 0.1] = np.nan
    labels = (np.nan_to_num(rows[:, -3]) > random.random(2000)).astype(float)
    members = fit_members(rows, labels, np.ones(2000), 0)
    text = members.booster.model_to_string(num_iteration=20)
    trees, text = (parse_trees(text), text) if kind == "trees" else (None, "")
    head = ResponseHead(kind, Calibration("beta", (0.9, 1.1, 0.1)), members.linear[1], trees, text)
    return replace(case, model=replace(case.model, response=head))


def uplift() -> UpliftModel:
    """Two logistic models, an arm each, and trees beside them."""
    asked = trial(800, True)
    told = Trial(np.column_stack([asked.rows, asked.rows[:, :2]]) * 30, asked.outcome, asked.treated, asked.customers)
    parts = tuple(
        replace(part, weight=part.weight / 2)
        for name in ("two logistic models", "LightGBM X-learner")
        for part in LEARNERS[name](told)
    )
    return UpliftModel("weekly", tuple(map(Input, FEATURES)), parts, told.before, 0.1, 0.2, Money(10.0, 0.5))


def uplift_case() -> Case:
    frame = propensity_rows(5, 60)
    return Case(uplift(), frame, _odd(frame, FEATURES), least=-1.0)


def own_test_case() -> Case:
    """A user's own columns: one of them texts."""
    inputs = (Input(FEATURES[0]), Input("town", "A"), Input("town", "B"), *map(Input, FEATURES[1:3]))
    towns = pl.Series("town", ["A", "B", "C"] * 20)
    frame = propensity_rows(5, 60).select(FEATURES[:3]).with_columns(towns)
    odd = _odd(frame, FEATURES[:3]).with_columns(town=pl.Series(["A", None, "", "unseen"] * 15))
    return Case(replace(uplift(), inputs=inputs), frame, odd, least=-1.0)


CASES: Mapping[str, Callable[[], Case]] = {
    "churn": cache(churn_case),
    "trees-alone": cache(trees_alone_case),
    "lead": cache(lead_case),
    "winback": cache(winback_case),
    "one-way": cache(one_way_case),
    "send-time": cache(send_time_case),
    "next-offer": cache(next_offer_case),
    "next-offer-linear": cache(lambda: _learnt_head_case("linear")),
    "next-offer-trees": cache(lambda: _learnt_head_case("trees")),
    "uplift": cache(uplift_case),
    "uplift-own-test": cache(own_test_case),
}

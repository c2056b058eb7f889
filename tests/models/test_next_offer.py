"""The ranker on a small fitted model: strangers, new offers, channels, reasons, reloading."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import lightgbm
import numpy as np
import polars as pl
import pytest

from features.catalogue import FEATURE_NAMES
from features.channel_hours import ChannelHours
from features.channels import CHANNELS
from features.offers import OfferInfo
from features.products import NO_PRODUCTS, Bought, counted, product_key
from features.rows import CustomerRow
from models.calibration import Calibration
from models.load import MissingColumns, ModelError, load, verify_golden, write_golden
from models.next_offer import NextOfferModel
from models.offer_features import (
    CATEGORIES_AN_OFFER,
    PAIR,
    Customers,
    OfferKnowledge,
    pair_features,
    product_orders,
    products_signature,
)
from models.offer_stages import STAGE, OfferStages
from models.offer_words import SAYINGS
from models.response import INPUTS, ChannelKnowledge, ResponseHead, relative_log_odds
from models.trees import parse_trees
from training.members import fit_linear

NOW = datetime(2026, 5, 4, tzinfo=UTC)
COFFEE = OfferInfo("o-coffee", "Coffee", frozenset({"c1", "c2"}), ("email", "sms"), 20.0, 890, 2.0, 0.1)
TEA = OfferInfo("o-tea", "Tea", frozenset({"t1"}), ("email",), 10.0, 540, 1.0, 0.1)
NEW_TEA = OfferInfo("o-new", "Tea", frozenset({"t9"}), ("email",), 15.0, 500)
ODD = OfferInfo("o-odd", "Submarines", frozenset(), ("email",))
BARE = OfferInfo("o-bare")
OFFERS = [COFFEE, TEA, NEW_TEA, ODD, BARE]


def knowledge() -> OfferKnowledge:
    vectors = np.eye(2)
    return OfferKnowledge(
        ("Coffee", "Tea"),
        {"o-coffee": (products_signature(COFFEE), (("Coffee", 0.5),)), "o-tea": ("changed since", (("Tea", 0.1),))},
        {"o-coffee": -1.0, "o-tea": -2.5},
        {"Coffee": -1.0, "Tea": -2.5},
        -2.0,
        vectors,
        {"o-coffee": vectors[0], "o-tea": vectors[1]},
    )


def booster_text() -> str:
    """Trees that like what the customer bought often."""
    random = np.random.default_rng(1)
    rows = random.random((4000, len(PAIR))) * 5
    rows[random.random(rows.shape) < 0.1] = np.nan
    liked = np.nan_to_num(rows[:, PAIR.index("category_orders_365d")])
    labels = (random.random(4000) < 1 / (1 + np.exp(3 - liked))).astype(float)
    data = lightgbm.Dataset(rows, labels, feature_name=list(PAIR), params={"verbose": -1})
    return str(lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 1}, data, 30).model_to_string())


@pytest.fixture(scope="module")
def model() -> NextOfferModel:
    text = booster_text()
    channels = ChannelKnowledge({"email": 0.3, "sms": 0.1}, {}, {})
    return NextOfferModel(parse_trees(text), text, Calibration(), knowledge(), channels, ResponseHead())


def customer(liked: Mapping[str, tuple[float, float, float]], answers: int = 0) -> CustomerRow:
    values = dict.fromkeys(FEATURE_NAMES, 2.0) | {"orders_365d": 10.0}
    hours = ChannelHours(np.full(168, 1.0), np.eye(168)[5] * answers)
    return CustomerRow("c", NOW, values, liked, np.zeros(168, np.int64), {"email": hours})


LOVES_COFFEE = customer({"Coffee": (5.0, 9.0, 3.0)})


def test_what_a_customer_buys_comes_first(model: NextOfferModel) -> None:
    found = model.score(LOVES_COFFEE, OFFERS, ["email"], NOW)
    assert found.shape == (5, 1)
    assert ((found > 0) & (found < 1)).all()
    assert np.argmax(found[:, 0]) == 0


def test_one_offer_alone_scores_as_among_others(model: NextOfferModel) -> None:
    together = model.score(LOVES_COFFEE, OFFERS, ["email", "sms"], NOW)
    for place, offer in enumerate(OFFERS):
        alone = model.score(LOVES_COFFEE, [offer], ["sms"], NOW)
        assert alone[0, 0] == together[place, 1]
    backwards = model.score(LOVES_COFFEE, OFFERS[::-1], ["sms", "email"], NOW)
    assert (backwards[::-1, ::-1] == together).all()


def test_a_stranger_and_new_offers_get_probabilities(model: NextOfferModel) -> None:
    for row in (None, customer({}), LOVES_COFFEE):
        found = model.score(row, OFFERS, ["email", "web"], NOW)
        assert np.isfinite(found).all()
    assert model.score(None, [], ["email"], NOW).shape == (0, 1)
    assert model.score(None, OFFERS, [], NOW).shape == (5, 0)


def test_a_strangers_features_are_unknown_not_zero(model: NextOfferModel) -> None:
    known = model.knowledge
    pairs = pair_features(known.customers(None, {}), known.table(OFFERS), known)[0]
    assert np.isnan(pairs[:, PAIR.index("category_orders_365d")]).all()
    assert np.isfinite(pairs[:, PAIR.index("offer_popularity")]).all()


def test_orders_of_an_offers_own_products_are_counted(model: NextOfferModel) -> None:
    known = model.knowledge
    offers = [
        OfferInfo("both", "Coffee", frozenset({"beans", "pods"})),
        OfferInfo("beans", "Coffee", frozenset({"beans"})),
        OfferInfo("none", "Coffee"),
    ]
    bought = counted(NO_PRODUCTS, Bought().and_(sorted(map(product_key, ("beans", "bread"))), 0, 0))
    bought = counted(bought, Bought().and_(sorted(map(product_key, ("beans", "pods"))), 1, 1))
    row = customer({"Coffee": (2.0, 2.0, 3.0)})
    table = known.table(offers)
    alone = known.many_customers([(row.values, row.affinity, bought, row.views)])
    own = product_orders(alone.products, table)
    assert own[0, :2].tolist() == [3.0, 2.0]
    assert np.isnan(own[0, 2])
    others = known.many_customers([(row.values, row.affinity, one, row.views) for one in (NO_PRODUCTS, bought)])
    pairs = pair_features(others, table, known)
    assert pairs[0, :2, PAIR.index("product_orders")].tolist() == [0.0, 0.0]
    assert np.array_equal(pairs[1], pair_features(alone, table, known)[0], equal_nan=True)
    again = pair_features(
        Customers(
            others.values[[1]],
            others.affinity[[1]],
            others.known[[1]],
            others.products.take(np.array([1])),
            others.views[[1]],
        ),
        table,
        known,
    )
    assert np.array_equal(again[0], pairs[1], equal_nan=True)
    assert SAYINGS["product_share"].text(3.0, "Coffee") == "bought products of this offer 3 times"


def test_looks_at_products_tell_interest_where_nothing_was_bought(model: NextOfferModel) -> None:
    known = model.knowledge
    row = customer({"Coffee": (1.0, 2.0, 3.0)})
    looked = {"Tea": 7, "Boats": 90}  # nobody who trained the model knew of boats
    table = known.table(OFFERS)
    pairs = pair_features(known.customers(row.values, row.affinity, views=looked), table, known)[0]
    views, interest = (pairs[:, PAIR.index(name)] for name in ("category_views_365d", "category_interest"))
    assert views[:4].tolist() == [0.0, 7.0, 7.0, 0.0]
    even = (5.0 * 2.0 + 7.0 + 2.0) / 2
    assert interest[:3] == pytest.approx(np.log([(10.0 + 1) / even, (7.0 + 1) / even, (7.0 + 1) / even]))
    assert np.isnan(interest[4])  # an offer without a category
    before = pair_features(known.customers({}, {}), table, known)[0]
    assert before[:3, PAIR.index("category_interest")].tolist() == [0.0, 0.0, 0.0]
    table = known.table([*OFFERS, OfferInfo("o-boats", "Boats")])
    again = pair_features(known.customers(row.values, row.affinity, views=looked), table, known)[0]
    assert np.array_equal(again[:5, PAIR.index("category_interest")], interest, equal_nan=True)
    said = SAYINGS["category_interest"]
    assert said.text(7.0, "Tea") == "looked at tea 7 times in a year"
    assert said.text(0.0, "Tea") == "has not looked at tea in a year"


def test_features_follow_the_offers_part_of_its_category(model: NextOfferModel) -> None:
    known = model.knowledge
    row = customer({"Coffee": (4.0, 10.0, 3.0), "Tea": (1.0, 2.0, 8.0)})
    pairs = pair_features(known.customers(row.values, row.affinity), known.table(OFFERS), known)[0]

    def column(name: str) -> list[float]:
        return [float(value) for value in pairs[:, PAIR.index(name)]]

    assert column("category_orders_365d") == [5.0, 2.0, 2.0, 0.0, 0.0]
    assert column("category_days_since_last")[:3] == [3.0, 8.0, 8.0]
    assert np.isnan(column("category_days_since_last")[3])
    assert column("category_share_365d")[0] == 0.5
    assert column("offer_popularity") == [-1.0, -2.5, -2.5, -2.0, -2.0]
    assert column("text_similarity")[0] > column("text_similarity")[1] > 0
    assert known.table([COFFEE]).index.shape == (1, CATEGORIES_AN_OFFER)


def test_engagement_with_a_channel_counts_where_nothing_else_is_known(model: NextOfferModel) -> None:
    keen, cold = customer({}, answers=150), customer({}, answers=0)
    high, low = (model.score(row, [COFFEE], ["email", "sms"], NOW)[0] for row in (keen, cold))
    assert high[0] > low[0]
    assert high[1] == low[1]


def test_a_head_learnt_from_the_log(model: NextOfferModel) -> None:
    random = np.random.default_rng(2)
    rows = random.normal(size=(3000, 1 + len(INPUTS)))
    email = 1 + INPUTS.index("channel_email")
    rows[:, email] = random.random(3000) < 0.5
    labels = (random.random(3000) < 1 / (1 + np.exp(1 - 2 * rows[:, email] - rows[:, 0]))).astype(float)
    head = ResponseHead("linear", linear=fit_linear(rows, labels, np.ones(3000), (1.0,))[0])
    learnt = model.with_response(head, ChannelKnowledge({}, {"email": 0.1}, {"o-tea": 0.2}))
    found = learnt.score(LOVES_COFFEE, [COFFEE], ["email", "sms"], NOW)[0]
    assert found[0] > found[1]
    told = learnt.reasons(LOVES_COFFEE, COFFEE, "email", NOW, 10)
    assert any("email" in reason.text for reason in told)


def test_an_offer_for_leads_is_likelier_for_them_and_says_why(model: NextOfferModel, tmp_path: Path) -> None:
    stages = OfferStages(np.zeros(len(STAGE)), {"o-tea": np.eye(len(STAGE))[STAGE.index("is_lead")]})
    learnt = model.with_response(replace(model.response, stages=stages), model.channels)
    lead, other = customer({}), customer({})
    lead.values["is_lead"], other.values["is_lead"] = 1.0, 0.0
    for row, more in ((lead, True), (other, False), (None, False)):
        before, after = (each.score(row, OFFERS, ["email"], NOW)[:, 0] for each in (model, learnt))
        assert (after > before).tolist() == [False, more, False, False, False]
        assert (np.delete(after, 1) == np.delete(before, 1)).all()
    told = {reason.text: reason.effect for reason in learnt.reasons(lead, TEA, "email", NOW, 30)}
    assert told["listed as a lead: yes"] == pytest.approx(np.log(2), abs=0.2)
    learnt.save(tmp_path)
    assert isinstance(again := load(tmp_path), NextOfferModel)
    assert (again.score(lead, OFFERS, CHANNELS, NOW) == learnt.score(lead, OFFERS, CHANNELS, NOW)).all()


def test_reasons_speak_of_the_customer(model: NextOfferModel) -> None:
    told = model.reasons(LOVES_COFFEE, COFFEE, "email", NOW, 3)
    assert 1 <= len(told) <= 3
    assert told[0].feature == "category_orders_365d"
    assert told[0].text == "bought coffee 9 times in a year"
    assert told[0].effect > 0
    never = model.reasons(customer({}), TEA, "email", NOW, 30)
    assert "has not bought tea in a year" in [reason.text for reason in never]
    assert all("nan" not in reason.text for reason in model.reasons(None, ODD, "email", NOW, 30))


def test_reloading_gives_the_same(model: NextOfferModel, tmp_path: Path) -> None:
    model.with_response(model.response, model.channels, b"layer").save(tmp_path / "sure")
    assert isinstance(sure := load(tmp_path / "sure"), NextOfferModel)
    assert (model.layer, sure.layer) == (b"", b"layer")
    model.save(tmp_path)
    random = np.random.default_rng(4)
    rows = pl.DataFrame(random.random((20, len(INPUTS))) * 3, schema=list(INPUTS), orient="row")
    write_golden(model, tmp_path, rows)
    again = load(tmp_path, "3")
    verify_golden(again, tmp_path)
    assert (again.name, again.version, again.columns) == ("next-offer", "3", INPUTS)
    for row in (None, LOVES_COFFEE):
        assert (again.score(row, OFFERS, CHANNELS, NOW) == model.score(row, OFFERS, CHANNELS, NOW)).all()
    assert again.reasons(LOVES_COFFEE, TEA, "sms", NOW) == model.reasons(LOVES_COFFEE, TEA, "sms", NOW)
    shuffled = rows.select(sorted(rows.columns))
    assert (again.predict(shuffled) == model.predict(rows)).all()
    with pytest.raises(MissingColumns, match="offer_popularity"):
        model.predict(rows.drop("offer_popularity"))


def test_a_model_of_other_features_is_refused(model: NextOfferModel, tmp_path: Path) -> None:
    model.save(tmp_path)
    manifest = tmp_path / "model.json"
    manifest.write_text(manifest.read_text().replace("category_due", "category_old"))
    with pytest.raises(ModelError, match="train it again"):
        load(tmp_path)


def test_relative_rates_shrink_to_everything() -> None:
    found = relative_log_odds({"email": (1000.0, 100.0), "sms": (10.0, 9.0), "web": (0.0, 0.0)}, 50.0)
    assert found["sms"] > found["email"]
    assert abs(found["web"]) < 1e-9
    assert relative_log_odds({}, 50.0) == {}

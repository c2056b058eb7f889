from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.decisions.alike import Alike
from service.decisions.case import microseconds
from service.decisions.decision_store import Rate, count_response
from service.decisions.explain import explain
from service.decisions.rates import PooledRates
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.decisions.stages import ENOUGH, stage_of
from service.offers.offer import Offer, offer_from_document
from service.offers.schemas import OfferIn
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, NextOffer


def first(days_ago: float) -> int:
    return microseconds(NOON - timedelta(days=days_ago))


def test_an_offer_says_where_it_stands() -> None:
    assert stage_of(0, None, NOON, True).text == "0 of 1,000 impressions"
    assert stage_of(20, first(2), NOON, True).name == "rules"
    stage = stage_of(612, first(14), NOON, True)
    assert (stage.name, stage.days_left, stage.text) == ("pooled", 9, "612 of 1,000 impressions, about 9 days left")
    assert stage_of(999, first(30), NOON, True).text == "999 of 1,000 impressions, about 1 day left"
    slow = stage_of(45, first(250), NOON, True)
    assert (slow.days_left, slow.text) == (5306, "45 of 1,000 impressions, more than a year left")
    assert stage_of(1_500, first(30), NOON, True).name == "model"
    assert stage_of(ENOUGH, first(30), NOON, True).text == "1,000 of 1,000 impressions"
    alone = stage_of(1_500, first(30), NOON, False)
    assert (alone.name, alone.text) == ("pooled", "1,500 of 1,000 impressions, but no model serves")


@given(st.integers(0, 5_000), st.floats(0, 400), st.booleans())
def test_days_left_are_those_that_the_pace_needs(shown: int, days: float, serves: bool) -> None:
    stage = stage_of(shown, first(days) if shown else None, NOON, serves)
    if shown >= ENOUGH:
        assert stage.days_left == 0
    elif shown == 0:
        assert stage.days_left is None
    else:
        assert stage.days_left is not None
        pace = shown / max(days, 1.0)
        assert shown + pace * stage.days_left >= ENOUGH - 1e-3
        assert shown + pace * (stage.days_left - 1) < ENOUGH + 1e-3


def offers(**texts: str) -> dict[str, Offer]:
    return {
        name: offer_from_document(name, 1, OfferIn.model_validate({"name": name, "description": text}).document())
        for name, text in texts.items()
    }


TEXTS = offers(
    beans="Fresh coffee beans from Ethiopia",
    grinder="Coffee grinder for fresh beans",
    socks="Warm woollen socks",
    newcomer="Ethiopia coffee beans, roasted fresh",
    odd="Umbrella",
)


def test_likeness_goes_by_words_that_are_rare() -> None:
    likeness = Alike(TEXTS).to("newcomer", ["beans", "grinder", "socks", "odd"])
    assert sorted(likeness, key=lambda name: -likeness[name]) == ["beans", "grinder"]
    assert all(0 < one <= 1 + 1e-12 for one in likeness.values())
    assert Alike(TEXTS).to("nosuch", ["beans"]) == {}


def test_a_new_offer_starts_from_those_with_alike_texts() -> None:
    counts = {("beans", "web"): Rate(400, 80), ("socks", "web"): Rate(400, 4)}
    blind, seeing = PooledRates(counts), PooledRates(counts, alike=Alike(TEXTS))
    assert seeing.rate("newcomer", "web") > 1.3 * blind.rate("newcomer", "web")
    assert seeing.rate("odd", "web") == blind.rate("odd", "web")  # nothing like it
    assert seeing.rate("beans", "web") == blind.rate("beans", "web")  # speaks for itself
    assert "offers with alike texts led to an order" in seeing.sentence("newcomer")
    assert "assumed to do alike" in seeing.sentence("odd")
    assert PooledRates({}, alike=Alike(TEXTS)).rate("newcomer", "web") == pytest.approx(0.05)


def test_offers_with_alike_texts_speak_by_their_likeness() -> None:
    counts = {("beans", "web"): Rate(400, 80), ("grinder", "web"): Rate(300, 6)}
    alike = Alike(TEXTS)
    likeness = alike.to("newcomer", ["beans", "grinder"])
    common = (86 + 0.05 * 20) / (700 + 20)
    led = 80 * likeness["beans"] + 6 * likeness["grinder"]
    of = 400 * likeness["beans"] + 300 * likeness["grinder"]
    assert PooledRates(counts, alike=alike).rate("newcomer", "web") == pytest.approx((led + 50 * common) / (of + 50))


def test_each_action_tells_its_stage_in_answer_record_and_words(tmp_path: Any) -> None:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database)
    desk.put(a={"channels": ["web"]})
    desk.served.models["next-offer"] = NextOffer({"a": 0.3})
    with database.write() as connection:
        for _ in range(60):
            count_response(connection, "a", "web", ["shown"], first(6))
    decision = desk.decider.decide(DecisionIn(customer_id="c1"))
    stage = decision["actions"][0]["stage"]
    assert (stage["name"], stage["impressions"], stage["needed"], stage["days_left"]) == ("pooled", 60, 1_000, 94)
    record = DecisionReader(database, desk.served).read(decision["decision_id"])
    assert record["actions"][0]["stage"] == stage
    words = explain(record).why
    known = "the model, from its responses so far and those of other offers"
    assert f"Its chance is known by {known}: 60 of 1,000 impressions, about 94 days left." in words
    assert "stage" not in desk.decider.decide(DecisionIn(customer_id="c2", explain=False))["actions"][0]

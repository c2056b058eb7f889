"""Where no model is trained, the channels that a customer answers come first."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from features.channel_hours import ChannelHours
from features.customer_row import CustomerRow
from service.decisions.channel_answers import answers
from service.decisions.decision_store import Rate
from service.decisions.rates import PooledRates
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import Desk, row, settings


def got(**counts: tuple[float, float]) -> CustomerRow:
    """Somebody with (deliveries, clicks) on each channel, spread over the hours."""
    hours = {
        channel: ChannelHours(np.full(168, sends / 168), np.full(168, clicks / 168))
        for channel, (sends, clicks) in counts.items()
    }
    return replace(row("c1"), response_hours=hours)


def factors(customer: CustomerRow | None, **pooled: tuple[int, int]) -> dict[str, float]:
    found = answers(customer, lambda channel: pooled.get(channel, (0, 0)))
    return {channel: one.factor for channel, one in found.items()}


def test_the_channel_that_is_clicked_more_than_usual_counts_more_and_the_other_less() -> None:
    found = factors(got(email=(20.0, 0.0), sms=(10.0, 5.0)))
    assert found["sms"] > 1.0 > found["email"]


def test_a_channel_that_everybody_clicks_more_is_not_taken_for_a_liking() -> None:
    customer = got(email=(20.0, 2.0), sms=(20.0, 6.0))
    usual = factors(customer, email=(10_000, 1_000), sms=(10_000, 3_000))
    assert usual["sms"] == pytest.approx(1.0, abs=0.01)
    assert usual["email"] == pytest.approx(1.0, abs=0.01)
    assert factors(customer)["sms"] > 1.0


def test_who_clicks_more_than_once_clicks_no_more_than_every_message() -> None:
    found = answers(got(sms=(10.0, 25.0), email=(10.0, 1.0)), lambda _: (0, 0))
    assert found["sms"] == answers(got(sms=(10.0, 10.0), email=(10.0, 1.0)), lambda _: (0, 0))["sms"]
    told = found["sms"].reason("sms")
    assert told is not None
    assert told["text"] == "this customer clicked 100% of the messages by sms, more than is usual"


def test_what_cannot_be_clicked_and_who_is_not_known_stay_as_they_are() -> None:
    assert factors(got(call=(20.0, 0.0), webhook=(5.0, 0.0))) == {}
    assert factors(got(email=(0.0, 0.0))) == {}
    assert factors(None) == {}


@given(st.floats(0.0, 1e6), st.floats(0.0, 1.0), st.integers(0, 10**9), st.floats(0.0, 1.0))
def test_factors_are_positive_and_finite(sends: float, share: float, shown: int, clicked: float) -> None:
    found = factors(got(email=(sends, sends * share)), email=(shown, int(shown * clicked)))
    assert all(0.0 < factor < float("inf") for factor in found.values())


def test_clicks_of_all_offers_on_a_channel_are_what_is_usual_there() -> None:
    rates = PooledRates(
        {("a", "sms"): Rate(300, 0, 100), ("b", "sms"): Rate(700, 5, 200), ("b", "email"): Rate(9, 9, 9)}
    )
    customer = got(sms=(10.0, 6.0))
    assert rates.answers(customer)["sms"].factor == pytest.approx(factors(customer, sms=(1_000, 300))["sms"])


def test_a_decision_takes_the_channel_that_the_customer_clicks_and_says_why(tmp_path: Any) -> None:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database)
    desk.settings = settings(caps=[])
    desk.put(tea={"name": "Tea", "channels": ["email", "sms"]})
    desk.people.add("c1")
    desk.rows.rows["c1"] = got(email=(20.0, 0.0), sms=(20.0, 8.0))
    decision = desk.decider.decide(DecisionIn(customer_id="c1", top_k=2))
    first = decision["actions"][0]
    assert first["channel"] == "sms"
    assert first["reasons"][0]["feature"] == "channel"
    assert first["reasons"][0]["text"] == "this customer clicked 40% of the messages by sms, more than is usual"
    assert DecisionReader(desk.database, desk.served).replay(decision["decision_id"])["equal"]

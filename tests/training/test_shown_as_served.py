"""What the ranker learns of a showing is what it is served with: the same numbers of the same customer at that time."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from features.offers import OfferInfo
from features.rows import OnlineFeatures
from models.offer_features import OfferKnowledge, cross_features, joined
from models.response import CHANNEL, ChannelKnowledge
from models.weighing import customers_of
from tests.fakes.event_streams import START, frame, streams
from tests.fakes.row_store import MemoryRows
from training.exposures import SHOWN, Exposures, exposures_of
from training.offer_data import offered_products
from training.offer_fit import _channel_inputs, _log_pairs

OFFERS = (
    OfferInfo("tea", "bread", frozenset({"p", "q"}), discount_percent=30.0, price_cents=900),
    OfferInfo("wine", "wine", frozenset()),
)
CUSTOMERS, CHANNELS = ["ann", "bob", "stranger"], ["email", "sms", "web"]
ENGAGEMENT = ChannelKnowledge({"email": 0.3, "sms": 0.1}, {}, {})
BEYOND_HOLD = timedelta(hours=2)


def knowledge() -> OfferKnowledge:
    vectors = np.random.default_rng(4).normal(size=(2, 3))
    return OfferKnowledge(("bread", "wine"), {}, {"tea": -2.0}, {}, -3.0, vectors, {"tea": vectors[0] + vectors[1]})


def assert_shown_as_served(events: list[dict[str, Any]], days: int) -> None:
    """Everybody is shown every offer on every channel at a time by which some of the events are known."""
    told = [one | {"received_at": max(one["received_at"], one["timestamp"])} for one in events]
    at = START + timedelta(days=days)
    known = sorted((one for one in told if one["received_at"] < at), key=lambda one: one["received_at"])
    online = OnlineFeatures(MemoryRows())
    online.apply(known)
    rows = online.read(CUSTOMERS, at)
    places = [(c, o, k) for c in range(3) for o in range(2) for k in range(3)]
    shown = pl.DataFrame(
        [(CUSTOMERS[c], at, OFFERS[o].offer_id, CHANNELS[k], 1.0, 0.0, 0.0) for c, o, k in places],
        schema=SHOWN,
        orient="row",
    )
    everything = frame(told)
    found = exposures_of(everything, shown, START - timedelta(days=9000), BEYOND_HOLD, offered_products(OFFERS))
    exposures = Exposures.joined([found])
    served_by, learnt_by = knowledge(), knowledge()
    customers, responses = customers_of(served_by, rows, CHANNELS)
    table = served_by.table(OFFERS)
    cross = np.empty((3, 2, 12))
    cross_features(customers, table, served_by, cross)
    served = joined(customers.values, table.static, cross)
    own = ENGAGEMENT.own_engagements(CHANNELS, responses, customers.known)
    by_id = {offer.offer_id: offer for offer in OFFERS}
    pairs = _log_pairs(learnt_by, exposures, exposures.rows, by_id, {})
    channels = _channel_inputs(exposures.rows, exposures.answers, ENGAGEMENT.engagement, 0)[:, len(CHANNEL) + 1]
    for line, (customer, offer, channel) in enumerate(
        exposures.rows.select("customer_id", "offer_id", "channel").rows()
    ):
        c, o = CUSTOMERS.index(customer), list(by_id).index(offer)
        np.testing.assert_array_equal(pairs[line], served[c, o])
        np.testing.assert_allclose(channels[line], own[c, CHANNELS.index(channel)], rtol=1e-9)


@settings(max_examples=40, deadline=None)
@given(events=streams(), days=st.integers(-30, 800))
def test_a_showing_is_learnt_as_it_is_served(events: list[dict[str, Any]], days: int) -> None:
    assert_shown_as_served(events, days)


def test_of_a_stranger_nothing_is_learnt_but_the_offer() -> None:
    """Not that they had no orders: who is unknown when a decision is made is served with nothing known."""
    assert_shown_as_served([], 3)

"""Hypothesis strategies for event streams: late, repeated, on window edges, across DST, with gaps of years."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import strategies as st

from features.tables import EVENTS

START = datetime(2026, 3, 28, tzinfo=UTC)
NAMES = (
    "Order Completed",
    "Order Completed",
    "Order Refunded",
    "Product Viewed",
    "Product Viewed",
    "Product Added",
    "Email Delivered",
    "Email Opened",
    "Email Link Clicked",
    "Email Marked as Spam",
    "SMS Delivered",
    "Push Notification Tapped",
    "Offer Delivered",
    "Coupon Redeemed",
    "Unsubscribed",
    "Form Submitted",
    "Something Else",
)
ZONES = (None, None, "Europe/Berlin", "Asia/Kathmandu", "America/New_York", "No/Where")

jitters = st.sampled_from([0, -1, 1, 300_000_000, 1_800_000_000, 3_600_000_000, -3_600_000_000, 86_400_000_000])
apart = st.builds(  # one window from START, give or take a little
    lambda days, a, b: START + timedelta(days=days, microseconds=a + b),
    st.sampled_from([0, 1, 7, 30, 90, 365, 730]),
    jitters,
    jitters,
)
moments = st.one_of(
    apart,
    apart,
    st.integers(0, 400 * 24).map(lambda hours: START + timedelta(hours=hours)),  # on edges of every hop
    st.integers(0, 400 * 86_400_000_000).map(lambda us: START + timedelta(microseconds=us)),
    st.integers(-1, 1).map(lambda us: START + timedelta(days=30, microseconds=us)),
    st.integers(0, 48).map(lambda n: START + timedelta(minutes=30 * n)),  # Europe's DST change
    st.integers(0, 3).map(lambda years: START - timedelta(days=365 * years)),
)
lags = st.one_of(
    st.just(timedelta(0)),
    st.integers(0, 5_000_000).map(lambda us: timedelta(microseconds=us)),
    st.integers(0, 60 * 24).map(lambda hours: timedelta(hours=hours)),
    st.integers(-30, -1).map(lambda hours: timedelta(hours=hours)),  # a clock ahead
)
products = st.lists(
    st.fixed_dictionaries(
        {
            "product_id": st.sampled_from(["p", "q", "r", None]),
            "category": st.sampled_from(["bread", "wine", "toys", None]),
            "price_cents": st.just(100),
            "quantity": st.one_of(st.none(), st.integers(0, 5)),
            "discount_cents": st.one_of(st.none(), st.integers(0, 50)),
        }
    ),
    max_size=4,
)
money = st.one_of(st.none(), st.integers(-10_000, 10_000_000))
traits = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "household_size": st.sampled_from([1, "2", "5+", None, True]),
            "income_band": st.sampled_from(["Under 15K", "50-74K", "250K+", ""]),
            "role_level": st.sampled_from(["Manager", "intern", "7"]),
            "title": st.sampled_from(["Head of Marketing", "CEO", "barista"]),
            "address": st.sampled_from([{"country": "DE", "state": "Berlin", "zip": "10115"}, {"country": "France"}]),
            "postal_code": st.sampled_from([2134, "SW1A 1AA", ""]),
            "birthday": st.sampled_from(["1990-02-29", "12-31", "never"]),
            "company_size": st.floats(allow_nan=False, allow_infinity=False),
        },
    ).map(json.dumps),
)

contexts = st.one_of(
    st.none(),
    st.sampled_from(
        [
            '{"location":{"country":"Germany","region":"Berlin","latitude":52.5}}',
            '{"location":{"country":"FR","city":"Lyon"},"timezone":"Europe/Paris"}',
            '{"location":{"country":7,"region":""}}',
            '{"location":"here"}',
            '{"page":{"url":"https://shop.example/?q=\\"location\\""}}',
        ]
    ),
)


@st.composite
def event(draw: st.DrawFn, number: int) -> dict[str, Any]:
    timestamp = draw(moments)
    kind = draw(st.sampled_from(["track", "track", "track", "track", "page", "identify"]))
    return {
        "message_id": f"m{number}",
        "type": kind,
        "event": draw(st.sampled_from(NAMES)) if kind == "track" else None,
        "customer_id": draw(st.sampled_from(["ann", "bob"])),
        "timestamp": timestamp,
        "received_at": timestamp + draw(lags),
        "channel": draw(st.sampled_from([None, None, "email", "sms", "fax"])),
        "currency": draw(st.sampled_from([None, "USD", "USD", "EUR", "JPY"])),
        "revenue_cents": draw(money),
        "discount_cents": draw(money),
        "products": draw(st.one_of(st.none(), products)),
        "timezone": draw(st.sampled_from(ZONES)),
        "machine": draw(st.sampled_from([None, False, True])),
        "traits": draw(traits) if kind == "identify" else None,
        "context": draw(contexts),
        "properties": "{}",
    }


@st.composite
def streams(draw: st.DrawFn, most: int = 60) -> list[dict[str, Any]]:
    """Events in the order of their receipt, some of them twice."""
    found = [draw(event(i)) for i in range(draw(st.integers(0, most)))]
    again = draw(st.lists(st.sampled_from(found), max_size=5)) if found else []
    later = [{**e, "received_at": e["received_at"] + timedelta(hours=draw(st.integers(0, 50)))} for e in again]
    return sorted([*found, *later], key=lambda e: (e["received_at"], e["timestamp"], e["message_id"]))


def frame(events: list[dict[str, Any]]) -> pl.DataFrame:
    """These events as an EVENTS table, repeats and all."""
    columns = {name: kind for name, kind in EVENTS.schema.items() if not events or name in events[0]}
    return EVENTS.conform(pl.DataFrame(events, schema=columns))

"""Segment messages to rows: what is taken, what is corrected, what is refused and how it is named."""

from __future__ import annotations

import math
import unicodedata
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.tables import EVENTS
from service.events.frame import events_frame
from service.events.normalize import BadMessage, Rules, content_id, normalize

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = Rules(event_names={"Kauf": "Order Completed"}, currency="EUR")


def track(**fields: Any) -> dict[str, Any]:
    return {"type": "track", "event": "Order Completed", "userId": "c1", "messageId": "m1", **fields}


def faults(message: Any, **options: Any) -> list[str]:
    with pytest.raises(BadMessage) as bad:
        normalize(message, RULES, NOW, **options)
    return [error.field for error in bad.value.errors]


def test_an_order_becomes_a_row() -> None:
    row = normalize(
        track(
            timestamp="2026-02-28T10:00:00+02:00",
            properties={
                "order_id": 77,
                "revenue": "19.90",
                "discount": 1.005,
                "currency": "usd",
                "offer_id": "o7",
                "products": [
                    {"product_id": "p1", "category": "tea", "price": 9.95, "quantity": 2},
                    {"sku": "p2", "price": 0, "quantity": 0.75, "discount": 0.1},
                ],
            },
            context={"timezone": "Europe/Paris", "campaign": {"name": "spring"}, "decision_id": "d1"},
        ),
        RULES,
        NOW,
    )
    assert row["timestamp"] == datetime(2026, 2, 28, 8, tzinfo=UTC)
    assert row["received_at"] == NOW
    assert (row["revenue_cents"], row["discount_cents"], row["currency"]) == (1990, 101, "USD")
    assert (row["order_id"], row["offer_id"], row["decision_id"], row["campaign_id"]) == ("77", "o7", "d1", "spring")
    assert row["timezone"] == "Europe/Paris"
    assert row["products"] == [
        {"product_id": "p1", "category": "tea", "price_cents": 995, "quantity": 2, "discount_cents": None},
        {"product_id": "p2", "category": None, "price_cents": 0, "quantity": 1, "discount_cents": 10},
    ]
    assert orjson.loads(row["properties"])["revenue"] == "19.90"
    EVENTS.validate(events_frame([row]))


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ("text", ""),
        ({"userId": "c"}, "type"),
        ({"type": "buy", "userId": "c"}, "type"),
        ({"type": "page"}, "userId"),
        (track(userId=7), "userId"),
        (track(userId=""), "userId"),
        (track(userId=" "), "userId"),
        (track(userId="a\x00b"), "userId"),
        (track(userId="x" * 10_000), "userId"),
        (track(userId="ภ" * 400), "userId"),
        (track(anonymousId=["a"]), "anonymousId"),
        (track(event=None), "event"),
        (track(event=""), "event"),
        (track(event="x" * 256), "event"),
        (track(messageId=5), "messageId"),
        (track(customer="c"), "customer"),
        (track(properties=[]), "properties"),
        (track(context="x"), "context"),
        (track(timestamp="yesterday"), "timestamp"),
        (track(timestamp=1_700_000_000), "timestamp"),
        (track(timestamp="1900-01-01T00:00:00Z"), "timestamp"),
        (track(timestamp="2200-01-01T00:00:00Z"), "timestamp"),
        (track(timestamp="2026-03-03T00:00:00Z"), "timestamp"),
        (track(sentAt="soon"), "sentAt"),
        (track(properties={"revenue": -1}), "properties.revenue"),
        (track(properties={"revenue": "NaN"}), "properties.revenue"),
        (track(properties={"revenue": "Infinity"}), "properties.revenue"),
        (track(properties={"revenue": "1e300"}), "properties.revenue"),
        (track(properties={"revenue": True}), "properties.revenue"),
        (track(properties={"total": "abc"}), "properties.total"),
        (track(properties={"currency": "euros"}), "properties.currency"),
        (track(properties={"products": {}}), "properties.products"),
        (track(properties={"products": ["p"]}), "properties.products[0]"),
        (track(properties={"products": [{"product_id": "p"}, {"price": 1}]}), "properties.products[1].product_id"),
        (track(properties={"products": [{"product_id": "p", "price": -2}]}), "properties.products[0].price"),
        (track(properties={"products": [{"product_id": "p", "quantity": -1}]}), "properties.products[0].quantity"),
        (track(properties={"products": [{"product_id": "p", "category": 3}]}), "properties.products[0].category"),
        (track(properties={"offer_id": {}}), "properties.offer_id"),
        ({"type": "group", "userId": "c"}, "groupId"),
        ({"type": "alias", "userId": "c"}, "previousId"),
        ({"type": "alias", "previousId": "a"}, "userId"),
        (track(userId="."), "userId"),
        (track(userId=".."), "userId"),
        (track(userId="a/../b"), "userId"),
        (track(anonymousId="./a"), "anonymousId"),
        ({"type": "alias", "userId": "c", "previousId": "a/."}, "previousId"),
    ],
)  # fmt: skip
def test_a_fault_is_named_by_its_field(message: Any, field: str) -> None:
    assert faults(message) == [field]


def test_every_fault_of_a_message_is_named() -> None:
    assert faults(track(userId=1, colour="red", timestamp="x")) == ["colour", "timestamp", "userId"]


def test_deep_nesting_is_refused() -> None:
    deep: dict[str, Any] = {}
    for _ in range(300):
        deep = {"a": deep}
    assert faults(track(properties=deep)) == ["properties"]


@pytest.mark.parametrize(
    "identity", ["用户-7", "مستخدم", "ผู้ใช้", "👩‍👩‍👧", "a/b c", "É", ".a", "a.b", "...", "a/...", "a/.b"]
)
def test_ids_of_any_script_stay_whole(identity: str) -> None:
    decomposed = unicodedata.normalize("NFD", identity)
    assert normalize(track(userId=decomposed), RULES, NOW)["customer_id"] == unicodedata.normalize("NFC", identity)


def test_times_follow_segments_clock_correction() -> None:
    at, hour = "2026-03-01T09:59:00Z", timedelta(hours=1)
    skewed = track(timestamp=at, sentAt="2026-03-01T10:00:00Z")
    assert normalize(skewed, RULES, NOW)["timestamp"] == NOW - timedelta(minutes=1)
    original = track(originalTimestamp=at, timestamp="2026-03-01T11:11:00Z", sentAt="2026-03-01T10:00:00Z")
    assert normalize(original, RULES, NOW)["timestamp"] == NOW - timedelta(minutes=1)
    in_time = track(timestamp=at, sentAt="2026-03-01T11:59:59.500Z")
    assert normalize(in_time, RULES, NOW)["timestamp"] == datetime(2026, 3, 1, 9, 59, tzinfo=UTC)
    ahead = track(timestamp=(NOW + hour).isoformat())
    assert normalize(ahead, RULES, NOW)["timestamp"] == NOW
    assert normalize(track(), RULES, NOW)["timestamp"] == NOW
    by_batch = normalize(track(timestamp=at), RULES, NOW, sent_at="2026-03-01T10:00:00Z")
    assert by_batch["timestamp"] == NOW - timedelta(minutes=1)
    assert normalize(track(timestamp="2026-02-01T00:00:00"), RULES, NOW)["timestamp"].tzinfo is UTC


def test_no_offset_or_clock_leads_to_a_time_before_1970() -> None:
    assert faults(track(timestamp="1970-01-01T00:00:00+14:00")) == ["timestamp"]
    assert faults(track(timestamp="1971-01-01T00:00:00Z", sentAt="2090-01-01T00:00:00Z")) == ["sentAt"]
    first = datetime(1970, 1, 1, tzinfo=UTC)
    assert normalize(track(timestamp="1970-01-01T00:00:00Z"), RULES, NOW)["timestamp"] == first
    reset = track(timestamp="1970-01-01T00:00:10Z", sentAt="1970-01-01T00:00:20Z")
    assert normalize(reset, RULES, NOW)["timestamp"] == NOW - timedelta(seconds=10)


def test_an_imported_event_is_known_from_its_own_time() -> None:
    row = normalize(track(timestamp="2020-01-01T00:00:00Z", sentAt="2020-01-01T05:00:00Z"), RULES, NOW, imported=True)
    assert row["timestamp"] == row["received_at"] == datetime(2020, 1, 1, tzinfo=UTC)
    told = track(timestamp="2020-01-01T00:00:00Z", receivedAt="2020-01-02T00:00:00Z")
    assert normalize(told, RULES, NOW, imported=True)["received_at"] == datetime(2020, 1, 2, tzinfo=UTC)
    assert faults(track(), imported=True) == ["timestamp"]
    late = track(timestamp="2020-01-01T00:00:00Z", receivedAt="2090-01-01T00:00:00Z")
    assert faults(late, imported=True) == ["receivedAt"]


def test_a_customer_is_the_user_else_the_visitor() -> None:
    assert normalize({"type": "page", "anonymousId": "a"}, RULES, NOW)["customer_id"] == "a"
    both = normalize({"type": "identify", "userId": "u", "anonymousId": "a"}, RULES, NOW)
    assert (both["customer_id"], both["anonymous_id"]) == ("u", "a")
    joined = normalize({"type": "alias", "userId": "u", "previousId": "old"}, RULES, NOW)
    assert (joined["customer_id"], joined["anonymous_id"]) == ("u", "old")


def test_what_a_page_and_a_group_say_stays() -> None:
    page = normalize({"type": "page", "userId": "u", "name": "Home", "category": "Start"}, RULES, NOW)
    assert (page["event"], orjson.loads(page["properties"])) == ("Home", {"category": "Start"})
    message = {"type": "group", "userId": "u", "groupId": "acme", "traits": {"size": 5}}
    group = normalize(message, RULES, NOW)
    assert orjson.loads(group["properties"]) == {"groupId": "acme"}
    assert message == {"type": "group", "userId": "u", "groupId": "acme", "traits": {"size": 5}}


def test_event_names_are_mapped_and_others_kept() -> None:
    assert normalize(track(event="Kauf"), RULES, NOW)["event"] == "Order Completed"
    assert normalize(track(event="Danced"), RULES, NOW)["event"] == "Danced"


@pytest.mark.parametrize(
    ("event", "properties", "channel"),
    [
        ("Email Delivered", {}, "email"),
        ("SMS Delivered", {}, "sms"),
        ("Push Notification Opened", {}, "push"),
        ("Unsubscribed", {}, "email"),
        ("Unsubscribed", {"channel": "SMS"}, "sms"),
        ("Order Completed", {}, None),
        ("Order Completed", {"channel": "pigeon"}, None),
        ("Offer Delivered", {"channel": "call"}, "call"),
    ],
)
def test_the_channel(event: str, properties: dict[str, Any], channel: str | None) -> None:
    assert normalize(track(event=event, properties=properties), RULES, NOW)["channel"] == channel


@pytest.mark.parametrize(
    ("properties", "cents", "currency"),
    [
        ({"revenue": 1.1}, 110, "EUR"),
        ({"revenue": 0.285}, 29, "EUR"),
        ({"revenue": 1500, "currency": "JPY"}, 1500, "JPY"),
        ({"revenue": 1.2345, "currency": "KWD"}, 1235, "KWD"),
        ({"total": 5, "value": 4}, 500, "EUR"),
        ({"products": [{"product_id": "p", "price": 2.5, "quantity": 3}], "discount": 1}, 650, "EUR"),
        ({"products": [{"product_id": "p", "quantity": 3}]}, None, None),
        ({}, None, None),
    ],
)
def test_money(properties: dict[str, Any], cents: int | None, currency: str | None) -> None:
    row = normalize(track(properties=properties), RULES, NOW)
    assert (row["revenue_cents"], row["currency"]) == (cents, currency)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_is_given_back_counts_alike_with_a_minus_or_without(sign: int) -> None:
    line = {"product_id": "p", "price": sign * 9.9, "quantity": sign * 2, "discount": str(sign * 0.5)}
    given = {"order_id": "o", "total": f"{sign * 19.30:.2f}", "discount": sign * 0.5, "products": [line]}
    row = normalize(track(event="Order Refunded", properties=given), RULES, NOW)
    assert (row["revenue_cents"], row["discount_cents"]) == (1930, 50)
    [told] = row["products"]
    assert (told["price_cents"], told["quantity"], told["discount_cents"]) == (990, 2, 50)
    assert (
        normalize(track(event="Order Refunded", properties={"products": [line]}), RULES, NOW)["revenue_cents"] == 1930
    )


def test_a_negative_order_says_how_refunds_are_sent() -> None:
    with pytest.raises(BadMessage, match=r"is negative; .* Order Refunded"):
        normalize(track(properties={"total": -5}), RULES, NOW)
    for amount in (-(10**30), "-1e30"):
        with pytest.raises(BadMessage, match="too large an amount"):
            normalize(track(event="Order Refunded", properties={"total": amount}), RULES, NOW)


def test_a_viewed_product_is_a_product() -> None:
    row = normalize(
        track(event="Product Viewed", properties={"product_id": "p", "category": "tea", "price": 3}), RULES, NOW
    )
    assert [line["product_id"] for line in row["products"]] == ["p"]
    assert row["revenue_cents"] is None


def test_content_decides_the_id_of_a_message_without_one() -> None:
    assert content_id({"a": 1, "b": [2]}) == content_id({"b": [2], "a": 1}) != content_id({"a": 1, "b": [3]})


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8).filter(lambda text: not any(unicodedata.category(c) == "Cs" for c in text)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = ("type", "userId", "anonymousId", "event", "properties", "context", "traits", "timestamp", "sentAt", "messageId")


@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*KEYS, "other"), json_values)), st.booleans())
@settings(max_examples=200, deadline=None)
def test_anything_becomes_a_valid_row_or_named_faults(fields: dict[str, Any], imported: bool) -> None:
    message = {**track(timestamp="2026-02-28T00:00:00Z"), **fields}
    try:
        row = normalize(message, RULES, NOW, imported=imported)
    except BadMessage as refused:
        bad = refused
    else:
        bad = None
    if bad is not None:
        assert all(error.detail for error in bad.errors)
        return
    row["message_id"] = row["message_id"] or "made"
    EVENTS.validate(events_frame([row]))
    orjson.dumps(row)


@given(st.decimals(0, 10**9, places=3, allow_nan=False, allow_infinity=False))
@settings(max_examples=200, deadline=None)
def test_money_is_rounded_half_up_whether_number_or_text(amount: Any) -> None:
    exact = math.floor(amount * 100 + type(amount)("0.5"))
    for value in (str(amount), float(amount)):
        assert normalize(track(properties={"revenue": value}), RULES, NOW)["revenue_cents"] == exact

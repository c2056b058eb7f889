from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from features.currencies import minor_scale
from service.events.values import minor_units
from service.offers.offer import content_hash, offer_from_document, price_cents
from service.offers.schemas import OfferIn

FULL: dict[str, Any] = {
    "name": "Twenty percent",
    "description": "Off everything",
    "category": "shoes",
    "product_ids": ["p1", "p2", "p1"],
    "channels": ["email", "sms"],
    "facts": {
        "discount": {"percent": 20},
        "price": {"amount": "9.90", "currency": "USD"},
        "code": "SPRING",
        "url": "https://shop.example/spring",
        "ends_at": "2026-10-01T00:00:00+02:00",
    },
    "value": 12.5,
    "cost": 0.4,
    "starts_at": "2026-01-01T00:00:00Z",
    "ends_at": "2026-12-01T00:00:00Z",
    "eligibility": "customer.features.orders_90d >= 1 && !('vip' in customer.segments)",
    "caps": [{"max": 1, "per_days": 7}],
    "budget": {"amount": 1000, "per_days": 1},
    "priority": 1.0,
    "tags": [],
    "requires_approval": True,
}


def put(**changes: Any) -> OfferIn:
    return OfferIn.model_validate({**FULL, **changes})


def test_a_full_offer_comes_through() -> None:
    offer = offer_from_document("o1", 3, put().document())
    assert offer.info.discount_percent == 20
    assert offer.info.price_cents == 990  # of the home currency; models learn from no other
    abroad = {**FULL["facts"], "price": {"amount": "9.90", "currency": "EUR"}}
    assert offer_from_document("o1", 1, put(facts=abroad).document()).info.price_cents is None
    assert offer.info.product_ids == {"p1", "p2"}
    assert offer.ends_at is not None
    assert offer.ends_at.isoformat() == "2026-09-30T22:00:00+00:00"  # what copy says ends first
    assert offer.caps[0].per == "customer"
    assert offer.shared_limits


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("value", "3"),
        ("value", float("nan")),
        ("value", -1),
        ("cost", float("inf")),
        ("priority", True),
        ("name", ""),
        ("name", "a\x00b"),
        ("name", "\ud800"),
        ("channels", ["fax"]),
        ("channels", []),
        ("caps", [{"max": 1.5, "per_days": 7}]),
        ("caps", [{"max": 1, "per_days": 0}]),
        ("budget", {"amount": 1}),
        ("facts", {"discount": {"percent": 120}}),
        ("facts", {"price": {"amount": 9.9, "currency": "EUR"}}),
        ("facts", {"price": {"amount": "1e5", "currency": "EUR"}}),
        ("facts", {"price": {"amount": "٣", "currency": "EUR"}}),
        ("facts", {"url": "javascript:alert(1)"}),
        ("facts", {"discout": {"percent": 20}}),
        ("starts_at", 5),
        ("starts_at", "2026-01-01"),
        ("ends_at", "2200-01-01T00:00:00Z"),
        ("ends_at", "0001-01-01T00:00:00+23:00"),
        ("requires_approval", "yes"),
        ("eligibility", "customer.features.x >"),
        ("nosuch", 1),
    ],
)
def test_a_wrong_field_is_named(field: str, value: Any) -> None:
    with pytest.raises(ValidationError) as fault:
        put(**{field: value})
    assert fault.value.errors()[0]["loc"][0] == field


def test_an_offer_ends_after_it_starts() -> None:
    with pytest.raises(ValidationError, match="ends_at is not after"):
        put(ends_at="2025-12-31T00:00:00Z")


def test_the_hash_follows_what_copy_may_say_and_nothing_else() -> None:
    before = content_hash(put().document())
    assert content_hash(put(value=1.0, priority=2.0, eligibility=None, caps=[], tags=["x"]).document()) == before
    for change in ({"name": "Thirty"}, {"facts": {**FULL["facts"], "discount": {"percent": 21}}}, {"category": "hats"}):
        assert content_hash(put(**change).document()) != before


@given(st.text(max_size=30))
def test_any_text_is_accepted_or_refused_never_a_crash(text: str) -> None:
    for field in ("name", "category", "eligibility"):
        try:
            offer_from_document("o", 1, put(**{field: text}).document())
        except ValidationError:
            continue


@pytest.mark.parametrize(
    ("amount", "currency", "cents"),
    [
        ("9.90", "EUR", 990),
        ("1200", "JPY", 1200),
        ("1.2344", "KWD", 1234),
        ("1.2345", "KWD", 1235),
        ("0.045", "EUR", 5),
    ],
)
def test_prices_are_in_minor_units_rounded_as_money_of_events_is(amount: str, currency: str, cents: int) -> None:
    assert price_cents({"price": {"amount": amount, "currency": currency}}) == cents
    assert minor_units(amount, "price", minor_scale(currency), []) == cents


def test_names_are_told_as_events_tell_them() -> None:
    offer = put(offer_id="cafe\u0301", product_ids=["the\u0301"], requires=[{"offer_id": "ne\u0301"}])
    assert (offer.offer_id, offer.product_ids, offer.requires[0].offer_id) == ("café", ["thé"], "né")

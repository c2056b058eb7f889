from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.events.contacts import tidy_email, tidy_phone, tidy_traits


@pytest.mark.parametrize(
    ("given_text", "value", "note"),
    [
        ("ann@example.org", "ann@example.org", None),
        (" Ann.Lee@EXAMPLE.Org ", "Ann.Lee@example.org", "email_normalized"),
        ("jürgen@bücher.example", "jürgen@bücher.example", None),
        ("a@b", None, "bad_email"),
        ("a b@example.org", None, "bad_email"),
        ("a..b@example.org", None, "bad_email"),
        (".a@example.org", None, "bad_email"),
        ("a@-example.org", None, "bad_email"),
        ("a@example.123", None, "bad_email"),
        ("a@b@example.org", None, "bad_email"),
        ("@example.org", None, "bad_email"),
        ("", None, "bad_email"),
        ("a" * 65 + "@example.org", None, "bad_email"),
    ],
)
def test_addresses(given_text: str, value: str | None, note: str | None) -> None:
    assert tidy_email(given_text) == (value, note)


@pytest.mark.parametrize(
    ("given_text", "country", "value", "note"),
    [
        ("+49 30 901820", None, "+4930901820", "phone_normalized"),
        ("+4930901820", None, "+4930901820", None),
        ("(030) 901820", "DE", "+4930901820", "phone_normalized"),
        ("081 234 5678", "TH", "+66812345678", "phone_normalized"),
        ("030 901820", None, None, "phone_without_country"),
        ("+49 1", None, None, "bad_phone"),
        ("call me", "DE", None, "bad_phone"),
        ("", "DE", None, "bad_phone"),
    ],
)
def test_numbers(given_text: str, country: str | None, value: str | None, note: str | None) -> None:
    assert tidy_phone(given_text, country) == (value, note)


def test_what_was_sent_stays_beside_what_was_changed() -> None:
    sent = {"email": "Ann@EXAMPLE.org", "phone": "030 901820", "address": {"country": "DE"}, "plan": "pro"}
    traits, notes = tidy_traits(sent, None, "FR")
    assert traits == {
        "email": "Ann@example.org", "email_raw": "Ann@EXAMPLE.org", "phone": "+4930901820", "phone_raw": "030 901820",
        "address": {"country": "DE"}, "plan": "pro",
    }  # fmt: skip
    assert notes == ["email", "email_normalized", "phone", "phone_normalized"]


def test_a_bad_value_stays_as_it_is() -> None:
    sent = {"email": 7, "phone": "??"}
    assert tidy_traits(sent, "de-DE", None) == (sent, ["email", "bad_email", "phone", "bad_phone"])


def test_the_country_comes_from_the_locale_or_the_settings() -> None:
    assert tidy_traits({"phone": "030 901820"}, "de_DE", None)[0]["phone"] == "+4930901820"
    assert tidy_traits({"phone": 30901820}, "de", "DE")[0]["phone"] == "+4930901820"
    assert tidy_traits({"phone": "030 901820"}, None, None)[1] == ["phone", "phone_without_country"]


@settings(max_examples=100, deadline=None)
@given(email=st.text(max_size=40), phone=st.one_of(st.text(max_size=40), st.integers(), st.none(), st.booleans()))
def test_any_value_is_taken_and_twice_is_as_once(email: str, phone: object) -> None:
    once, _ = tidy_traits({"email": email, "phone": phone}, "en-GB", None)
    twice, notes = tidy_traits({name: once[name] for name in ("email", "phone")}, "en-GB", None)
    assert {name: once[name] for name in ("email", "phone")} == twice
    assert not {"email_normalized", "phone_normalized"} & set(notes)

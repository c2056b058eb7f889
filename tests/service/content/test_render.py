"""Approved copy becomes the customer's message: facts as the locale writes them, nothing unescaped, nothing missing."""

from __future__ import annotations

import html
import re
from zoneinfo import ZoneInfo

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.content.email_layout import email_html, email_text
from service.content.fill import Filled, RenderError, Values, clean_name
from service.content.render import compile_copy

LINK = "https://shop.example/u/abc?x=1&y=2"
NOBODY = Filled(Values({}), lambda: None)
OFFER = {
    "name": "Tea & <b>Cake</b>",
    "description": "",
    "facts": {
        "discount": {"percent": 12.5},
        "price": {"amount": "1234.5", "currency": "EUR"},
        "code": None,
        "url": "https://shop.example/x?a=1&b=2",
        "ends_at": "2026-12-31T23:30:00Z",
    },
}


def rendered(
    channel: str, locale: str, fields: dict[str, str], traits: dict | None = None, **more: object
) -> dict[str, str]:
    return compile_copy(channel, locale, fields, OFFER, **more).render(Filled(Values(traits or {}), lambda: LINK))


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en", "€1,234.50 12.5% December 31, 2026"),
        ("de", "1.234,50\u00a0€ 12,5\u00a0% 31. Dezember 2026"),
        ("fr", "1\u202f234,50\u00a0€ 12,5\u00a0% 31 décembre 2026"),
        ("th", "€1,234.50 12.5% 31 ธันวาคม 2569"),
        ("tr", "€1.234,50 %12,5 31 Aralık 2026"),
    ],
)
def test_facts_are_written_as_the_locale_writes_them(locale: str, text: str) -> None:
    body = "{{ offer.price }} {{ offer.discount }} {{ offer.ends_at }}"
    assert rendered("push", locale, {"title": "x", "body": body})["body"] == text


def test_a_reader_of_a_sister_locale_gets_its_formats() -> None:
    fields = {"title": "x", "body": "{{ offer.price.amount }}"}
    assert rendered("push", "de", fields, reader_locale="de-CH")["body"] == "1’234.50"
    assert rendered("push", "de", fields, reader_locale="fr")["body"] == "1.234,50"


def test_dates_are_those_of_the_customers_zone() -> None:
    fields = {"title": "x", "body": "{{ offer.ends_at }}"}
    assert rendered("push", "en", fields, zone=ZoneInfo("Asia/Kuala_Lumpur"))["body"] == "January 1, 2027"


def test_an_offer_that_ends_at_midnight_is_good_until_the_day_before() -> None:
    offer = {"name": "x", "facts": {"ends_at": "2027-01-01T00:00:00Z"}}
    body = compile_copy("push", "en", {"title": "x", "body": "{{ offer.ends_at }}"}, offer).render(NOBODY)["body"]
    assert body == "December 31, 2026"


def test_sms_has_no_spaces_that_halve_its_room() -> None:
    assert rendered("sms", "fr", {"body": "{{ offer.price }}"})["body"] == "1 234,50 €"


@pytest.mark.parametrize(
    ("traits", "name"),
    [
        ({"first_name": "Aisyah"}, "Aisyah"),
        ({"first_name": "علی\u200cرضا"}, "علی\u200cرضا"),
        ({"first_name": "An\u200cna"}, "there"),
        ({"first_name": "An\u202ena"}, "there"),
        ({"firstName": "Zoë"}, "Zoë"),
        ({"name": "Ada Lovelace"}, "Ada"),
        ({}, "there"),
        ({"first_name": "<script>alert(1)</script>"}, "there"),
        ({"first_name": "http://evil.com"}, "there"),
        ({"first_name": "WIN $500"}, "there"),
        ({"first_name": "x" * 200}, "there"),
        ({"first_name": "{{ offer.code }}"}, "there"),
        ({"first_name": ["a"]}, "there"),
        ({"first_name": "A\r\nBcc: x"}, "there"),
    ],
)
def test_a_name_is_used_only_if_it_is_one(traits: dict, name: str) -> None:
    for body in ('Hi {{ customer.first_name | default: "there" }}', "Hi {{ customer.first_name }}"):
        assert rendered("push", "en", {"title": "x", "body": body}, traits)["body"] == f"Hi {name}"


def test_html_is_escaped_cleaned_and_has_a_way_out() -> None:
    body = '<p onclick="x()">{{ offer.name }} {{ customer.first_name }}</p><script>x</script>'
    body += '<a href="{{ offer.url }}">Go</a>'
    made = rendered("email", "de", {"subject": "{{ offer.name }}", "body": body}, {"first_name": "O'Neil"})
    assert made["subject"] == "Tea & <b>Cake</b>"
    assert html.unescape(made["body"]).startswith("<p>Tea & <b>Cake</b> O'Neil</p>")
    assert "&lt;b&gt;" in made["body"]
    assert "script" not in made["body"]
    assert 'href="https://shop.example/x?a=1&amp;b=2"' in made["body"]
    assert f'href="{html.escape(LINK)}"' in made["body"]
    assert "Abmelden" in made["body"]


def test_plain_text_of_an_email_becomes_paragraphs_with_links() -> None:
    made = rendered("email", "en", {"subject": "x", "body": "Tea & you <3\nis here\n\n{{ offer.url }}"})
    assert made["body"].startswith("<p>Tea &amp; you &lt;3<br>is here</p>")
    assert '<a href="https://shop.example/x?a=1&amp;b=2"' in made["body"]


def test_a_webhooks_payload_stays_json_whatever_the_values_hold() -> None:
    payload = (
        '{"name": "{{ offer.name }} \\"x\\"", "who": "{{ customer.first_name }}", "n": [1, {"p": "{{ offer.price }}"}]}'
    )
    made = orjson.loads(rendered("webhook", "en", {"payload": payload}, {"first_name": 'Jo"'})["payload"])
    assert made == {"name": 'Tea & <b>Cake</b> "x"', "who": "there", "n": [1, {"p": "€1,234.50"}]}


@pytest.mark.parametrize(
    "body", ["{{ offer.code }}", "{{ offer.nothing }}", "{% if offer.name %}{{ offer.code }}{% endif %}"]
)
def test_a_fact_that_is_gone_is_an_error_not_a_gap(body: str) -> None:
    with pytest.raises(RenderError):
        rendered("push", "en", {"title": "x", "body": body})


def test_conditions_choose() -> None:
    body = (
        "{% if offer.code %}Code{% elsif offer.discount.percent >= 10 %}Big{% else %}None{% endif %} {{ offer.price }}"
    )
    assert rendered("push", "en", {"title": "x", "body": body})["body"] == "Big €1,234.50"


@pytest.mark.parametrize(
    "body",
    [
        "<p>Hi</p>{% if customer.city %}<a href='{{ unsubscribe_url }}'>Stop</a>{% endif %}",
        "<p>Hi</p><!-- <a href='{{ unsubscribe_url }}'>Stop</a> -->",
        "Hi{% comment %}{{ unsubscribe_url }}{% endcomment %}",
        "Hi {{ unsubscribe_url }}",
    ],
)
def test_every_reader_of_an_email_is_shown_a_way_out(body: str) -> None:
    for traits in ({}, {"city": "Rome"}):
        assert html.escape(LINK) in rendered("email", "en", {"subject": "x", "body": body}, traits)["body"]


def test_an_email_without_a_link_to_unsubscribe_is_not_sent() -> None:
    compiled = compile_copy("email", "en", {"subject": "x", "body": "y"}, OFFER)
    with pytest.raises(RenderError, match="unsubscribe"):
        compiled.render(NOBODY)


@settings(max_examples=80, deadline=None)
@given(
    name=st.sampled_from(["", "Ada", "Zoë", "กานต์", "x y", "o'Hara"]),
    parts=st.lists(
        st.sampled_from(
            ["Hi ", "{{ customer.first_name }}", '{{ customer.first_name | default: "you" | upcase }}',
             "{{ offer.price }}", "{{offer.name}}", "{{ customer.city | capitalize }}", "{{ offer.discount.percent }}",
             "\n\n", " & ", "<p>", "</p>", '{{ offer.code | default: "none" }}', "{{ offer.url }} "]
        ),
        min_size=1, max_size=8,
    ),
    channel=st.sampled_from(["email", "push"]),
)  # fmt: skip
def test_joining_and_liquid_give_the_same_text(name: str, parts: list[str], channel: str) -> None:
    source = "".join(parts)
    fields = {"subject": "x", "title": "x", "body": source}
    with_condition = fields | {"body": source + "{% if offer.never %}{% endif %}"}
    traits = {"first_name": name}

    def read(written: dict[str, str]) -> list[str]:
        made = rendered(channel, "en", written, traits)
        return [_as_shown(html.unescape(text)) for text in made.values()]

    assert read(fields) == read(with_condition)


def _as_shown(markup: str) -> str:
    """Browsers show neither empty paragraphs nor white space at a paragraph's edges."""
    return re.sub(r"\s+(?=</p>)|(?<=<p>)\s+", "", markup).replace("<p></p>\n", "")


@given(st.text(max_size=80))
def test_clean_names_hold_nothing_that_markup_or_headers_are_made_of(text: str) -> None:
    name = clean_name(text)
    assert name is None or not set(name) & set('<>{}"&\r\n\0:/@')


def test_the_document_and_its_plain_text_say_the_same() -> None:
    content = {"locale": "ar"} | rendered(
        "email", "ar", {"subject": "a <b>", "preheader": "p", "body": "مرحبا {{ offer.url }}"}
    )
    document, text = email_html(content), email_text(content)
    assert '<html lang="ar" dir="rtl">' in document
    assert "a &lt;b&gt;" in document
    assert "https://shop.example/x?a=1&b=2" in text
    assert LINK in text
    assert "<" not in text

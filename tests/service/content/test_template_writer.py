"""Templates write in every language and channel, always alike, and what they write passes every check."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.content.guardrails import Rules, check_copy
from service.content.phrases import ANGLES, languages
from service.content.sms_segments import sms_size
from service.content.template_writer import template_locale, usable_angles, write_templates

FULL = {
    "name": "Coffee Gold 3-pack",
    "description": "Fine coffee from 2 farms",
    "facts": {
        "discount": {"percent": 12.5},
        "price": {"amount": "1234.50", "currency": "EUR"},
        "code": "SAVE20",
        "url": "https://shop.example/x",
        "ends_at": "2026-12-31T23:59:00Z",
    },
}
CHANNELS = ["email", "sms", "push", "web", "call", "webhook"]


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("language", sorted(languages()))
def test_all_that_templates_write_passes_every_check(language: str, channel: str) -> None:
    strict = Rules(unsubscribe_in_body=True, sms_opt_out=True)
    priced = {"name": "Tea", "facts": {"price": {"amount": "9", "currency": "MYR"}}}
    for offer in (FULL, {"name": "Tea"}, {"name": "Tea 16"}, priced):
        for segment in (None, "lapsed 90 days"):
            drafts = write_templates(channel, language, offer, 20, segment=segment)
            assert drafts
            for draft in drafts:
                checks = check_copy(channel, draft.locale, draft.fields, offer, strict)
                assert [check for check in checks if not check.passed] == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_same_order_gives_the_same_different_texts(channel: str) -> None:
    first = write_templates(channel, "en", FULL, 4)
    assert first == write_templates(channel, "en", FULL, 4)
    assert len({repr(draft.fields) for draft in first}) == 4
    assert [draft.angle for draft in first] == list(ANGLES)


@pytest.mark.parametrize("code", ["ISOTDRIN40", "ISTRIA", "ESTATE10", "ES-2026", "CODE5OFF", "PROMOCIONAL2026"])
@pytest.mark.parametrize("language", sorted(languages()))
def test_a_code_that_begins_like_a_word_is_read_whole(language: str, code: str) -> None:
    offer = {**FULL, "facts": {**FULL["facts"], "code": code}}  # type: ignore[dict-item]
    drafts = write_templates("sms", language, offer, 20)
    assert drafts
    for draft in drafts:
        assert [check for check in check_copy("sms", draft.locale, draft.fields, offer) if not check.passed] == []


def test_figures_stand_only_in_merge_tags() -> None:
    for language in languages():
        for draft in write_templates("email", language, FULL, 20):
            assert not any(character.isdigit() for text in draft.fields.values() for character in text)


def test_urgency_is_written_only_where_the_offer_ends() -> None:
    assert "urgency" in usable_angles((), FULL)
    assert "urgency" not in usable_angles((), {"name": "Tea"})
    assert usable_angles(["urgency"], {"name": "Tea"}) == ["plain"]


@pytest.mark.parametrize(
    ("asked", "default", "written"),
    [
        ("ms-MY", "en", "ms-MY"),
        ("pt-BR", "en", "en"),
        ("pt-BR", "es-MX", "es"),
        ("xx", "en", "en"),
        ("de-CH", "en", "de-CH"),
    ],
)
def test_an_unknown_language_is_written_in_the_default(asked: str, default: str, written: str) -> None:
    assert write_templates("push", asked, FULL, 1, default_locale=default)[0].locale == written
    assert template_locale(asked, default) == written.split("-")[0]


@settings(max_examples=60, deadline=None)
@given(
    name=st.text(st.characters(codec="utf-8", exclude_categories=("C",)), min_size=1, max_size=120).filter(str.strip),
    channel=st.sampled_from(["email", "push", "web"]),
    language=st.sampled_from(sorted(languages())),
)
def test_any_name_fits_or_is_left_out(name: str, channel: str, language: str) -> None:
    for draft in write_templates(channel, language, {"name": name, "facts": {}}, 2):
        checks = check_copy(channel, draft.locale, draft.fields, {"name": name, "facts": {}})
        assert [check.name for check in checks if not check.passed and check.name in {"fields", "length"}] == []


def test_an_sms_stays_within_two_messages_when_it_can() -> None:
    for language in languages():
        for draft in write_templates("sms", language, {"name": "Tea", "facts": FULL["facts"]}, 6):
            assert sms_size(draft.fields["body"]).segments <= 4  # unresolved; resolved lengths are checked above

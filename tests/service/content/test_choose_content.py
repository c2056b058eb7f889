"""What a library keeps between choices changes no choice; links are signed only where they are shown."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from service.content.choose_content import ContentLibrary
from service.content.guardrails import Rules
from service.content.shelf import MAX_KINDS
from service.content.variant import Variant, said_hash
from service.content.variant_store import add_variants
from service.storage.database import Database

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)
OFFERS: dict[str, dict[str, Any]] = {
    "tea": {"name": "Tea & 50% off", "facts": {"price": {"amount": "1234.5", "currency": "EUR"}}},
    "late": {"name": "Late", "facts": {"until": "2026-03-31T22:30:00Z"}, "ends_at": "2026-04-01T00:00:00Z"},
}
BODIES = (
    '{{ customer.first_name | default: "you" | upcase }}: {{ offer.name }} 100% %s',
    "{% if customer.city %}In {{ customer.city }}{% else %}Anywhere{% endif %}: {{ offer.name }}",
    "{{ offer.ends_at | default: 'soon' }} {{ offer.until | default: 'now' }} {{ offer.price | default: 'free' }}",
    "Bye {{ unsubscribe_url }} {{ customer.last_name }}",
)
FIELDS = {"email": ("subject", "body"), "sms": ("body",), "push": ("title", "body")}
PEOPLE = {
    "locale": (None, "en", "en-GB", "de-CH", "fr"),
    "timezone": (None, "Europe/Berlin", "Asia/Tokyo", "no/where"),
    "segments": ((), ("vip",), ("lapsed", "vip"), ("other",)),
    "traits": ({}, {"first_name": "Zoë", "city": "Ulm"}, {"name": "<b>", "last_name": "x" * 40}, {"city": "y" * 39}),
}


def variant(number: int, offer_id: str, channel: str, locale: str, segment: str | None, body: str) -> Variant:
    fields = {name: body if name == "body" else f"{{{{ customer.city }}}} {offer_id}" for name in FIELDS[channel]}
    return Variant(
        f"v{number:03d}", offer_id, said_hash(OFFERS[offer_id]), channel, locale, segment, "plain", "approved",
        fields, (), {}, 1, NOW, NOW,
    )  # fmt: skip


def all_variants() -> list[Variant]:
    places = [
        (offer_id, channel, locale, segment, body)
        for offer_id in OFFERS
        for channel in FIELDS
        for locale in ("en", "de")
        for segment in (None, "vip")
        for body in BODIES
    ]
    return [variant(number, *place) for number, place in enumerate(places)]


def link(customer_id: str, channel: str) -> str:
    return f"https://h/u/{customer_id}&{channel}"


@pytest.fixture
def stocked(database: Database) -> Database:
    with database.write() as connection:
        add_variants(connection, all_variants())
    return database


def customers(seed: int, many: int) -> list[dict[str, Any]]:
    draw = random.Random(seed)
    return [{"customer_id": f"c{n}", **{key: draw.choice(of) for key, of in PEOPLE.items()}} for n in range(many)]


def test_what_is_kept_between_choices_changes_none(stocked: Database) -> None:
    kept = ContentLibrary(stocked, link, rules=Rules(max_sms_segments=1))
    seen: set[str] = set()
    for person in customers(7, 15):
        reader = kept.for_customer(**person)
        for offer_id, offer in OFFERS.items():
            for channel in FIELDS:
                alone = ContentLibrary(stocked, link, rules=Rules(max_sms_segments=1))
                chosen = reader.choose(offer_id, offer, channel)
                assert chosen == alone.choose(offer_id, offer, channel, person)
                seen.add(chosen["variant_id"] if chosen else "")
    assert len(seen) > 30  # of 96
    assert "" not in seen


def test_a_date_is_that_of_each_readers_zone(stocked: Database) -> None:
    library = ContentLibrary(stocked, link)

    def until(zone: str) -> set[str]:
        chosen = (
            library.choose("late", OFFERS["late"], "sms", {"customer_id": f"c{n}", "timezone": zone}) for n in range(20)
        )
        return {one["body"] for one in chosen if one and one["body"].startswith(("March", "April"))}

    assert until("America/New_York") == {"March 31, 2026 March 31, 2026 free"}
    assert until("Asia/Tokyo") == {"April 1, 2026 April 1, 2026 free"}


@pytest.fixture
def shop(database: Database) -> Callable[..., ContentLibrary]:
    """A shop of one segment a message, with these text messages approved."""

    def made(*bodies: str, url: Callable[[str, str], str] = link) -> ContentLibrary:
        with database.write() as connection:
            add_variants(connection, [variant(n, "late", "sms", "en", None, body) for n, body in enumerate(bodies)])
        return ContentLibrary(database, url, rules=Rules(max_sms_segments=1))

    return made


def texts(library: ContentLibrary, **person: Any) -> set[str | None]:
    chosen = (library.choose("late", OFFERS["late"], "sms", {"customer_id": f"c{n}", **person}) for n in range(20))
    return {one and one["body"] for one in chosen}


def test_what_does_not_fit_without_a_name_either_is_not_sent(shop: Callable[..., ContentLibrary]) -> None:
    long = "x" * 150 + " {{ customer.first_name | default: 'customer' }} {{ customer.city | default: 'all over' }}"
    library = shop(long, "Short")
    assert texts(library, traits={"first_name": "Al", "city": "Ulm"}) == {"x" * 150 + " Al Ulm", "Short"}
    for traits in ({}, {"first_name": "Maximiliana"}, {"first_name": "Al"}):
        assert texts(library, traits=traits) == {"Short"}


def test_a_message_too_long_with_its_link_is_not_sent(shop: Callable[..., ContentLibrary]) -> None:
    library = shop("x" * 140 + " {{ unsubscribe_url }}", url=lambda customer, _: f"h/{customer}")
    assert all(text and text.endswith("h/c1") for text in texts(library, customer_id="c1"))
    assert texts(library, customer_id="c" * 36) == {None}


def test_a_message_that_a_reader_reads_longer_is_not_sent_to_them(shop: Callable[..., ContentLibrary]) -> None:
    library = shop("x" * 146 + " {{ offer.until }}", "Short")
    assert texts(library, timezone="Asia/Tokyo") == {"x" * 146 + " April 1, 2026", "Short"}
    assert texts(library, timezone="Europe/London") == {"Short"}  # March 31, 2026


def test_where_no_copy_of_a_language_fits_the_next_one_is_tried(database: Database) -> None:
    long = "x" * 150 + " {{ customer.first_name | default: 'customer' }} {{ customer.city | default: 'all over' }}"
    told = [("de-AT", "vip", long), ("de-AT", None, long), ("de", None, "Kurz"), ("en", "vip", "Brief"),
            ("en", None, "Short"), ("fr", None, "Bref")]  # fmt: skip
    copies = [variant(n, "late", "sms", locale, segment, body) for n, (locale, segment, body) in enumerate(told)]
    with database.write() as connection:
        add_variants(connection, copies)
    library = ContentLibrary(database, link, rules=Rules(max_sms_segments=1))

    def said(locale: str, *segments: str, **traits: str) -> tuple[str, str] | None:
        person = {"customer_id": "c", "locale": locale, "segments": segments, "traits": traits}
        chosen = library.choose("late", OFFERS["late"], "sms", person)
        return chosen and (chosen["locale"], chosen["body"])

    assert said("de-AT", first_name="Al", city="Ulm") == ("de-AT", "x" * 150 + " Al Ulm")
    assert said("de-AT", "vip") == ("de", "Kurz")
    with database.write() as connection:
        add_variants(connection, [variant(9, "late", "sms", "th", "vip", long)])
    library.refresh()
    assert said("th", "vip") == ("en", "Brief")
    assert said("th") == ("en", "Short")


def test_an_offer_that_says_something_else_has_no_words_until_they_are_approved(stocked: Database) -> None:
    library = ContentLibrary(stocked, link)
    person = {"customer_id": "c1"}
    changed: Mapping[str, Any] = {**OFFERS["tea"], "name": "Coffee"}
    assert library.choose("tea", OFFERS["tea"], "sms", person) is not None
    assert library.choose("tea", changed, "sms", person) is None
    assert library.choose("tea", dict(OFFERS["tea"]), "sms", person) is not None
    assert library.is_approved("v000", "tea", OFFERS["tea"])
    assert not library.is_approved("v000", "tea", changed)


def test_a_link_is_signed_once_a_channel_and_only_where_it_is_shown(stocked: Database) -> None:
    signed: list[str] = []
    library = ContentLibrary(stocked, lambda customer, channel: signed.append(channel) or link(customer, channel))
    shown = 0
    for person in customers(3, 20):
        reader = library.for_customer(**person)
        signed.clear()
        bodies = [chosen["body"] for offer_id in OFFERS if (chosen := reader.choose(offer_id, OFFERS[offer_id], "sms"))]
        assert signed == (["sms"] if any("https://h/u/" in body for body in bodies) else [])
        shown += len(signed)
        for offer_id, offer in OFFERS.items():
            assert "https://h/u/" in reader.choose(offer_id, offer, "email")["body"]
        assert signed.count("email") == 1
    assert 0 < shown < 20


def test_what_is_made_ready_is_not_made_again_for_a_reader(stocked: Database) -> None:
    library = ContentLibrary(stocked, link)
    library.get_ready({"tea": OFFERS["tea"], "gone": {}})
    ready = dict(library._compiled)
    assert len(ready) == 2 * len(FIELDS) * len(BODIES)  # both languages, nobody's segment
    for number in range(20):
        for channel in FIELDS:
            for locale in ("en", "de"):
                library.choose("tea", OFFERS["tea"], channel, {"customer_id": f"c{number}", "locale": locale})
    assert library._compiled == ready


def test_strange_locales_do_not_fill_the_memory(stocked: Database) -> None:
    library = ContentLibrary(stocked, link)
    for number in range(MAX_KINDS + 50):
        person = {"customer_id": "c1", "locale": f"x{number}-en"}
        assert library.choose("tea", OFFERS["tea"], "sms", person)["locale"] == "en"
    place = library._shelf.place("tea", "sms", OFFERS["tea"])
    assert len(place._kinds) <= MAX_KINDS
    assert len(library._compiled) <= len(all_variants())

"""Profiles, consents and identities, as events tell them, in any order."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select
from sqlalchemy.event import listen

from service.customers.change_segments import change_segments
from service.customers.consent import allowed, explain, told_by
from service.customers.customer_store import (
    Customer,
    consents_told,
    customers,
    read_customer,
    read_customers,
    read_profiles,
    segment_members,
    with_trait,
)
from service.customers.identity_store import (
    Link,
    identities,
    owners_of,
    pending_merges,
    queue_merges,
    read_merges,
    set_owners,
)
from service.customers.link_identities import LinkedIdentities
from service.customers.profile import Profile, absorb, merge
from service.customers.set_consents import consents_of, set_consents
from service.customers.update_customers import update_customers
from service.events.inbox_store import add_events, mark_applied, of_customers, replace_rows, waiting
from service.events.record_events import record_events
from service.storage.database import Database
from tests.fakes.events import row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(day: int) -> str:
    return f"2026-02-{day:02d}T00:00:00Z"


def identify(customer: str, day: int, traits: dict[str, Any], **message: Any) -> dict[str, Any]:
    fields = {"type": "identify", "timestamp": at(day), "traits": traits, "event": None, **message}
    return row(f"i-{customer}-{day}-{sorted(traits)}", customer, **fields)


def apply(database: Database, *events: dict[str, Any]) -> None:
    with database.write() as connection:
        LinkedIdentities().give_owners(connection, events)
        update_customers(connection, events)


def read(database: Database, customer_id: str) -> Customer:
    with database.read() as connection:
        return read_customer(connection, customer_id)


def test_identify_makes_a_profile(database: Database) -> None:
    traits = {
        "email": "ann@shop.example",
        "address": {"country": "MY"},
        "locale": "ms_MY",
        "timezone": "Asia/Kuala_Lumpur",
        "segments": ["vip", 5],
    }
    apply(database, identify("c1", 1, traits))
    found = read(database, "c1")
    assert found.traits == traits
    assert (found.timezone, found.locale, found.country) == ("Asia/Kuala_Lumpur", "ms-MY", "MY")
    assert (found.segments, found.profiling, found.known) == (("vip",), True, True)


def test_an_unknown_customer_is_blank(database: Database) -> None:
    found = read(database, "nobody")
    assert found == Customer("nobody", {}, None, None, None, (), {}, True, False)


def test_the_newest_word_counts_in_any_order(database: Database) -> None:
    events = [
        identify("c", 1, {"plan": "free", "age": 30, "segments": ["a", "b"]}),
        identify("c", 2, {"plan": "paid", "age": None, "segments": ["b"]}),
        row("u", "c", "Unsubscribed", timestamp=at(3)),
        row("r", "c", "Resubscribed", timestamp=at(4)),
        row("s", "c", "Unsubscribed", timestamp=at(5), properties={"channel": "sms"}),
    ]
    for number, order in enumerate(itertools.islice(itertools.permutations(events), 0, None, 7)):
        renamed = [{**event, "customer_id": f"c{number}"} for event in order]
        apply(database, *renamed)
        found = read(database, f"c{number}")
        assert found.traits == {"plan": "paid", "segments": ["b"]}
        assert found.segments == ("b",)
        assert found.consents == {"email": {"marketing": True}, "sms": {"marketing": False}}


def test_a_word_said_again_is_as_new_as_it_was_said_last(database: Database) -> None:
    """What is told twice changes nothing by itself, but a word from between that comes late is an old one."""
    said, between = (
        {"plan": "paid", "country": "DE", "segments": ["a"]},
        {"plan": "free", "country": "FR", "segments": []},
    )
    for event in (
        identify("c", 1, said),
        row("u1", "c", "Unsubscribed", timestamp=at(1), context={"timezone": "Europe/Rome"}),
        identify("c", 5, said),
        row("u5", "c", "Unsubscribed", timestamp=at(5), context={"timezone": "Europe/Rome"}),
        identify("c", 3, between),
        row("r3", "c", "Resubscribed", timestamp=at(3), context={"timezone": "Asia/Tokyo"}),
    ):
        apply(database, event)
    found = read(database, "c")
    assert found.consents == {"email": {"marketing": False}}
    assert (found.traits["plan"], found.country, found.segments, found.timezone) == (
        "paid",
        "DE",
        ("a",),
        "Europe/Rome",
    )


def test_a_refusal_repeated_through_the_api_holds_against_what_comes_late(database: Database) -> None:
    refusal = {"email": {"marketing": False}}
    for now in (NOW, NOW + timedelta(days=2)):
        with database.write() as connection:
            set_consents(connection, "c", refusal, None, now, "api")
    apply(database, row("r", "c", "Resubscribed", timestamp=(NOW + timedelta(days=1)).isoformat()))
    assert read(database, "c").consents == refusal


def test_what_the_api_is_told_counts_though_an_events_clock_was_ahead(database: Database) -> None:
    apply(database, {**row("r", "c", "Resubscribed"), "timestamp": NOW + timedelta(hours=8)})
    with database.write() as connection:
        set_consents(connection, "c", {"email": {"marketing": False}}, None, NOW, "link")
    assert read(database, "c").consents == {"email": {"marketing": False}}


@pytest.mark.parametrize(
    ("noted", "ahead", "told", "then"),
    [
        (True, timedelta(days=1), "Unsubscribed", False),
        (False, timedelta(days=1), "Resubscribed", False),  # nobody knows which of them came first
        (True, timedelta(seconds=30), "Unsubscribed", True),  # an event that had to wait is older than what it finds
    ],
)
def test_a_refusal_goes_before_what_was_noted_by_a_clock_that_was_ahead(
    database: Database, noted: bool, ahead: timedelta, told: str, then: bool
) -> None:
    with database.write() as connection:
        set_consents(connection, "c", {"email": {"marketing": noted}}, None, NOW + ahead, "api")
        update_customers(connection, [row("u", "c", told, timestamp=NOW.isoformat())], NOW)
    assert read(database, "c").consents == {"email": {"marketing": then}}


def test_repeating_changes_nothing(database: Database) -> None:
    events = [identify("c", 1, {"a": 1}), row("u", "c", "Email Marked as Spam", timestamp=at(2))]
    apply(database, *events)
    before = read(database, "c")
    apply(database, *events)
    assert read(database, "c") == before
    with database.read() as connection:
        assert len(consents_told(connection, ["c"])) == 1


def test_a_group_is_a_segment_and_a_company(database: Database) -> None:
    apply(database, row("g", "c", type="group", event=None, groupId="acme", traits={"size": 50}))
    found = read(database, "c")
    assert found.segments == ("acme",)
    assert found.traits == {"company": {"size": 50, "id": "acme"}}


def test_segments_that_others_set_stay(database: Database) -> None:
    apply(database, identify("c", 1, {"segments": ["a"]}))
    with database.write() as connection:
        assert change_segments(connection, "c", NOW, add=("lapsed",), remove=("a",))
        assert not change_segments(connection, "c", NOW, add=("lapsed",))
    apply(database, identify("c", 2, {"segments": ["b"]}))
    assert set(read(database, "c").segments) == {"b", "lapsed"}


@pytest.mark.parametrize(
    ("consents", "channel", "purpose", "unknown", "verdict", "words"),
    [
        ({}, "email", "marketing", "allow", True, "said nothing on marketing by email, which is allowed here"),
        ({}, "email", "marketing", "deny", False, "said nothing on marketing by email, which is not allowed here"),
        ({}, "email", "transactional", "deny", True, "said nothing on transactional by email, which is allowed here"),
        ({"email": {"marketing": False}}, "email", "marketing", "allow", False, "refused marketing by email"),
        ({"email": {"marketing": False}}, "sms", "marketing", "allow", True,
         "said nothing on marketing by sms, which is allowed here"),
        ({"email": {"marketing": True}}, "email", "marketing", "deny", True, "agreed to marketing by email"),
        ({"email": {"transactional": False}}, "email", "transactional", "allow", False,
         "refused transactional by email"),
    ],
)  # fmt: skip
def test_consent(consents: Any, channel: str, purpose: str, unknown: str, verdict: bool, words: str) -> None:
    assert allowed(consents, channel, purpose, unknown) is verdict
    assert explain(consents, channel, purpose, unknown) == words


@pytest.mark.parametrize(
    ("event", "channel", "told"),
    [
        ("Unsubscribed", None, ("email", False)),
        ("Unsubscribed", "sms", ("sms", False)),
        ("SMS Unsubscribed", None, ("sms", False)),
        ("Email Marked as Spam", None, ("email", False)),
        ("Marked as Spam", None, ("email", False)),
        ("Push Notification Unsubscribed", None, ("push", False)),
        ("Resubscribed", None, ("email", True)),
        ("Newsletter Unsubscribed", None, None),
        ("Order Completed", "email", None),
        (None, None, None),
    ],
)
def test_events_that_tell_a_consent(event: str | None, channel: str | None, told: Any) -> None:
    assert told_by(event, channel) == told


def test_answers_through_the_api_are_kept_and_recorded(database: Database) -> None:
    with database.write() as connection:
        set_consents(connection, "new", {"email": {"marketing": True}, "sms": {"service": False}}, None, NOW, "api")
        profile, changed = set_consents(connection, "new", {"email": {"marketing": None}}, False, NOW, "api")
    assert changed
    assert consents_of(profile) == {"sms": {"service": False}, "profiling": False}
    with database.read() as connection:
        told = [(one["channel"], one["purpose"], one["answer"]) for one in consents_told(connection, ["new"])]
    assert told == [
        ("email", "marketing", True),
        ("sms", "service", False),
        ("email", "marketing", None),
        ("all", "profiling", False),
    ]


def owners(database: Database, events: Sequence[dict[str, Any]]) -> list[str]:
    with database.write() as connection:
        LinkedIdentities().give_owners(connection, events)
        update_customers(connection, events)
    return [event["customer_id"] for event in events]


def visit(message_id: str, visitor: str) -> dict[str, Any]:
    return row(message_id, type="page", userId=None, anonymousId=visitor, event=None)


def claim(user: str, visitor: str, day: int = 1) -> dict[str, Any]:
    return identify(user, day, {}, anonymousId=visitor)


def test_a_visitor_becomes_known_within_one_portion(database: Database) -> None:
    assert owners(database, [visit("v1", "a"), claim("u", "a"), visit("v2", "a")]) == ["u", "u", "u"]
    assert read(database, "a").customer_id == "u"
    with database.read() as connection:
        assert read_merges(connection, 10) == {}


def test_a_visitor_becomes_known_later(database: Database) -> None:
    assert owners(database, [visit("v1", "a")]) == ["a"]
    apply(database, row("x", None, "Unsubscribed", userId=None, anonymousId="a", timestamp=at(1)))
    assert owners(database, [claim("u", "a"), visit("v2", "a")]) == ["u", "u"]
    assert read(database, "a") == read(database, "u")
    assert read(database, "u").consents == {"email": {"marketing": False}}
    with database.read() as connection:
        assert read_merges(connection, 10) == {"a": "u"}


def test_a_refusal_goes_along_through_two_ids_in_one_portion(database: Database) -> None:
    apply(database, row("x", None, "Unsubscribed", userId=None, anonymousId="a", timestamp=at(1)))
    alias = row("w", "w", None, type="alias", previousId="u")
    assert owners(database, [claim("u", "a"), alias]) == ["w", "w"]
    assert read(database, "a") == read(database, "u") == read(database, "w")
    assert read(database, "w").consents == {"email": {"marketing": False}}
    with database.read() as connection:
        assert read_merges(connection, 10) == {"a": "w", "u": "w"}


def test_a_shared_device_moves_nobodys_history(database: Database) -> None:
    owners(database, [claim("u1", "a")])
    assert owners(database, [visit("v1", "a"), claim("u2", "a", 2), visit("v2", "a")]) == ["u1", "u2", "u2"]
    with database.read() as connection:
        assert read_merges(connection, 10) == {}


def test_a_shared_device_is_whose_it_was_last_in_whatever_order_that_is_told(database: Database) -> None:
    """A file of last month's events gave it back to who had it then."""
    owners(database, [claim("u1", "a", 1), claim("u2", "a", 3)])
    assert owners(database, [claim("u1", "a", 2), visit("v1", "a")]) == ["u1", "u2"]
    assert owners(database, [claim("u3", "a", 4), claim("u2", "a", 3), visit("v2", "a")]) == ["u3", "u2", "u3"]


def test_what_the_service_itself_records_of_a_visitor_makes_no_user_of_them(database: Database) -> None:
    apply(database, visit("v1", "visitor"))
    stopped = {"type": "track", "event": "Unsubscribed", "userId": "visitor", "messageId": "u"}
    with database.write() as connection:
        record_events(connection, [stopped], NOW)
        recorded = waiting(connection, 1)
    apply(database, *recorded)
    assert owners(database, [claim("user", "visitor"), visit("v2", "visitor")]) == ["user", "user"]
    assert read(database, "user").consents == {"email": {"marketing": False}}


def test_a_users_id_given_as_anonymous_takes_nothing_over(database: Database) -> None:
    apply(database, identify("victim", 1, {"name": "V"}))
    owners(database, [claim("other", "victim", 2)])
    assert read(database, "victim").traits == {"name": "V"}
    assert read(database, "other").traits == {}


TOLD = st.fixed_dictionaries(
    {},
    optional={
        "plan": st.sampled_from(["gold", "tin", None]),
        "locale": st.sampled_from(["ja", "it"]),
        "country": st.sampled_from(["JP", "IT"]),
    },
)


@given(st.lists(st.tuples(st.booleans(), TOLD), max_size=6))
def test_joined_profiles_know_what_one_would_that_had_heard_everything(told: list[tuple[bool, dict[str, Any]]]) -> None:
    one, known, visitor = (Profile(name, NOW, NOW) for name in ("u", "u", "a"))
    for day, (anonymous, traits) in enumerate(told, start=1):
        absorb(one, identify("u", day, traits))
        absorb(visitor if anonymous else known, identify("u", day, traits))
    merge(known, visitor)
    assert (known.traits, known.trait_times) == (one.traits, one.trait_times)
    assert (known.locale, known.country) == (one.locale, one.country)


@pytest.mark.parametrize(("visitor", "user", "joined"), [
    ([(1, True), (3, None)], [(2, True)], None),
    ([(2, True)], [(1, True), (3, None)], None),
    ([(1, None), (3, True)], [(2, None)], True),
    ([(1, True)], [], True),
    ([(1, False), (3, None)], [(2, False)], False),
    ([(1, False)], [(2, True)], False),
])  # fmt: skip
def test_an_answer_that_was_taken_back_is_not_given_again_by_a_join(
    database: Database, visitor: list[tuple[int, bool | None]], user: list[tuple[int, bool | None]], joined: bool | None
) -> None:
    """Where silence means no, messages went out again; a refusal of either stays one."""
    apply(database, visit("v", "a"))
    with database.write() as connection:
        for name, told in (("a", visitor), ("u", user)):
            for day, answer in told:
                answers = {"email": {"marketing": answer}}
                set_consents(connection, name, answers, None, NOW + timedelta(days=day), "api")
    apply(database, claim("u", "a", 9))
    assert read(database, "a").consents == ({} if joined is None else {"email": {"marketing": joined}})
    apply(database, row("late", "u", "Subscribed", timestamp=at(2)))
    assert read(database, "u").consents == ({} if joined is None else {"email": {"marketing": joined}})


@pytest.mark.parametrize(("mine", "theirs", "newer"), [(1, 2, "Asia/Tokyo"), (2, 1, "Europe/Rome")])
def test_the_newer_zone_of_two_profiles_counts(mine: int, theirs: int, newer: str) -> None:
    known, visitor = Profile("u", NOW, NOW), Profile("a", NOW, NOW)
    absorb(known, identify("u", mine, {"timezone": "Europe/Rome"}))
    absorb(visitor, identify("a", theirs, {"timezone": "Asia/Tokyo"}))
    merge(known, visitor)
    assert known.timezone == newer


NAMES = st.sampled_from("abcdef")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(st.lists(st.tuples(NAMES, NAMES).filter(lambda pair: pair[0] != pair[1]), max_size=8), st.integers(0, 8))
def test_links_at_once_lead_where_one_after_the_other_does(
    database: Database, pairs: list[tuple[str, str]], before: int
) -> None:
    """As many of them as stand there already: what leads to an id goes along with it."""
    links = [Link(alias, owner, NOW + timedelta(days=day)) for day, (alias, owner) in enumerate(pairs)]
    told: list[Any] = []
    for portions in ([[link] for link in links], [links[:before], links[before:]]):
        with database.write() as connection:
            for table in (identities, pending_merges):
                connection.execute(delete(table))
            for some in portions:
                set_owners(connection, some)
                queue_merges(connection, [(link.alias_id, link.customer_id) for link in some])
            rows = connection.execute(select(identities).order_by(identities.c.alias_id)).all()
            told.append(([tuple(row) for row in rows], read_merges(connection, 20)))
    assert told[0] == told[1]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["visit", "identify", "alias", "order"]), st.sampled_from("abc"), st.sampled_from("uvw")
        ),
        max_size=10,
    ),
    st.integers(0, 10),
)
def test_what_a_portion_makes_of_people_is_foreseen_and_hangs_on_no_cut(
    database: Database, told: list[tuple[str, str, str]], cut: int
) -> None:
    """Who somebody is, and what their profile knows, when all is told; visits and claims one by one or together."""

    def event(place: int, kind: str, visitor: str, user: str) -> dict[str, Any]:
        if kind == "visit":
            return row(f"m{place}", None, None, type="page", anonymousId=visitor)
        if kind == "order":
            return row(f"m{place}", visitor, "Order Completed", properties={"order_id": "o", "revenue": 1})
        fields = {"previousId": visitor} if kind == "alias" else {"anonymousId": visitor, "traits": {"t": place}}
        return row(f"m{place}", user, None, type=kind, timestamp=at(1 + place), **fields)

    ends: list[Any] = []
    for cuts in (range(1, len(told) + 1), sorted({cut, len(told)})):
        with database.write() as connection:
            for table in (identities, pending_merges, customers):
                connection.execute(delete(table))
        start = 0
        for stop in cuts:
            some = [event(place, *told[place]) for place in range(start, min(stop, len(told)))]
            copies = [{**one} for one in some]
            with database.read() as connection:
                LinkedIdentities().foresee_owners(connection, copies)
            apply(database, *some)
            assert [one["customer_id"] for one in copies] == [one["customer_id"] for one in some]
            start = max(start, min(stop, len(told)))
        with database.read() as connection:
            owners = owners_of(connection, list("abcuvw"))
            profiles = read_profiles(connection, "abcuvw")
        ends.append((owners, {name: profile.traits for name, profile in profiles.items()}))
    assert ends[0] == ends[1]


def test_aliases_join_chains_and_never_circles(database: Database) -> None:
    apply(database, identify("a", 1, {"x": 1}), identify("b", 2, {"y": 2}))

    def alias(number: int, former: str, user: str) -> dict[str, Any]:
        return row(f"al{number}", user, type="alias", event=None, previousId=former)

    owners(database, [alias(1, "a", "b")])
    owners(database, [alias(2, "b", "c"), alias(3, "c", "a")])
    with database.read() as connection:
        people = read_customers(connection, ["a", "b", "c"])
        merges = read_merges(connection, 10)
    assert {one.customer_id for one in people.values()} == {"c"}
    assert people["a"].traits == {"x": 1, "y": 2}
    assert merges == {"a": "c", "b": "c"}


def test_what_waits_is_given_to_nobody_before_its_turn(database: Database) -> None:
    """Of a backlog, all that a shared device told went to the first user who signed in there: a later one's refusal,
    too, so that they were still written to.
    """
    users = [claim("ann", "device", 2), claim("ben", "device", 3)]
    told = [visit("v1", "device"), *users, row("no", "x", "Unsubscribed", userId=None, anonymousId="device")]
    with database.write() as connection:
        add_events(connection, told, NOW)
        while portion := waiting(connection, 1):
            replace_rows(connection, LinkedIdentities().give_owners(connection, portion))
            update_customers(connection, portion)
            mark_applied(connection, [event["seq"] for event in portion], NOW)
        held = of_customers(connection, ["ann", "ben", "device"])
    assert [(event["message_id"], event["customer_id"]) for event in held] == [
        ("v1", "ann"), (users[0]["message_id"], "ann"), (users[1]["message_id"], "ben"), ("no", "ben")
    ]  # fmt: skip
    assert read(database, "ben").consents == {"email": {"marketing": False}}
    assert read(database, "ann").consents == {}


@pytest.mark.parametrize("says", ["api", "file"])
def test_a_refusal_told_while_its_visitor_is_being_joined_is_the_users(database: Database, says: str) -> None:
    """On Postgres it waited for the visitor's profile, which was gone then, and stayed with an id that is nobody's."""
    refusal = row("no", "x", "Unsubscribed", userId=None, anonymousId="a", timestamp=at(5))

    def refuse() -> None:
        with database.write() as connection:
            if says == "api":
                set_consents(connection, "a", {"email": {"marketing": False}}, None, NOW, "api")
            else:
                LinkedIdentities().follow(connection, [refusal])
                update_customers(connection, [refusal])

    apply(database, visit("v", "a"))
    teller = threading.Thread(target=refuse)
    with database.write() as connection:
        LinkedIdentities().give_owners(connection, [claim("u", "a")])
        teller.start()
        teller.join(0.5)  # by then it waits for us; did it not, it would tell after us, which is right anyway
    teller.join()
    assert read(database, "a") == read(database, "u")
    assert read(database, "u").consents == {"email": {"marketing": False}}


def test_two_processes_that_join_the_same_id_lead_to_one_customer(database: Database) -> None:
    """On Postgres a file led a visitor to an id that the service led on in the same moment: a refusal was lost."""
    apply(database, row("no", "x", "Unsubscribed", userId=None, anonymousId="a", timestamp=at(1)))
    file = threading.Thread(target=owners, args=(database, [claim("u", "a")]))
    with database.write() as connection:
        LinkedIdentities().give_owners(connection, [row("w", "w", None, type="alias", previousId="u")])
        file.start()
        file.join(0.5)  # by then it waits for us; did it not, it would join after us, which is right anyway
    file.join()
    assert read(database, "a") == read(database, "u") == read(database, "w")
    assert read(database, "w").consents == {"email": {"marketing": False}}


def test_an_alias_of_an_id_that_is_anothers_by_now_joins_nobody_and_loosens_nothing(database: Database) -> None:
    """A sign-up on a shared device: analytics.js gives the visitor's id as the former one. Who are one is said of the
    other user's own id, and a refusal of either holds for both."""

    def alias(name: str, former: str, user: str) -> dict[str, Any]:
        return row(name, user, type="alias", event=None, previousId=former)

    owners(database, [visit("v1", "device"), alias("a1", "device", "ann"), identify("ann", 1, {"x": 1})])
    apply(database, row("no", "device", "Unsubscribed", timestamp=at(1)), identify("ben", 1, {"y": 1}))
    assert owners(database, [alias("a2", "device", "ben"), visit("v2", "device")]) == ["ben", "ben"]
    ann, ben = read(database, "ann"), read(database, "ben")
    assert (ann.traits, ben.traits) == ({"x": 1}, {"y": 1})
    assert (ann.consents, ben.consents) == ({"email": {"marketing": False}}, {})
    assert read(database, "device") == ben
    owners(database, [alias("a3", "ann", "ben")])
    joined = read(database, "ben")
    assert joined.consents == {"email": {"marketing": False}}
    assert joined == read(database, "ann") == read(database, "device")


@given(st.permutations(range(6)), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_a_profile_does_not_depend_on_the_order(order: list[int], twice: int) -> None:
    events = [
        identify("c", day, traits)
        for day, traits in enumerate(
            [{"a": 1}, {"a": 2, "b": 1}, {"b": None}, {"segments": ["x"]}, {"segments": []}, {"locale": "pt_BR"}], 1
        )
    ]

    def result(sequence: list[dict[str, Any]]) -> Profile:
        profile = Profile("c", NOW, NOW)
        for event in sequence:
            absorb(profile, event)
        return profile

    assert result([events[place] for place in order] + events[:twice]) == result(events)


def test_customers_are_found_by_a_whole_trait(database: Database) -> None:
    apply(database, identify("b", 1, {"email": 'é"@x.org', "n": 5}), identify("a", 1, {"nick": "b@x.org", "n": "5"}))
    with database.read() as connection:
        assert [one.customer_id for one in with_trait(connection, ['é"@x.org', "b@x.org"], 9)] == ["a", "b"]
        assert [one.customer_id for one in with_trait(connection, ['é"@x.org', "b@x.org"], 1)] == ["a"]
        assert [one.customer_id for one in with_trait(connection, ["5"], 9)] == ["a"], "a text is no number"
        assert with_trait(connection, ["x.org"], 9) == with_trait(connection, ["email"], 9) == []


@pytest.mark.parametrize("name", ["vip", "v", 'say "vip"', "back\\slash", "Ümläut ✓", "100%_", '"'])
def test_members_of_a_segment_are_found_by_its_whole_name_page_by_page(database: Database, name: str) -> None:
    others = ["vip", "vips", "VIP", 'say "vip"', "back\\slash", "Ümläut ✓", "100%_", "100", "v", '"', "\\"]
    held = {"a": [name], "b": [one for one in others if one != name], "c": [*others, name], "d": [], "e": [name]}
    apply(database, *(identify(customer, 1, {"segments": segments}) for customer, segments in held.items()))
    with database.read() as connection:
        assert segment_members(connection, name, "", 2) == ["a", "c"]
        assert segment_members(connection, name, "c", 2) == ["e"]
        assert segment_members(connection, name, "e", 2) == []


def test_who_is_in_no_segment_is_not_looked_through(database: Database) -> None:
    asked: list[tuple[str, Any]] = []
    with database.read() as connection:
        listen(connection, "before_cursor_execute", lambda _1, _2, query, told, *_: asked.append((query, told)))
        if not database.is_sqlite:
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # of an empty table it thinks nothing else
        segment_members(connection, "vip", "c1", 2)
        query, told = asked[-1]
        how = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"
        plan = connection.exec_driver_sql(f"{how} {query}", told).all()
    assert "ix_customers_in_segments" in str(plan)


IDS, RUNS = "abcde", itertools.count()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.sampled_from(["identify", "alias", "page"]), st.sampled_from(IDS), st.sampled_from(IDS)),
        max_size=12,
    ),
    st.integers(1, 12),
)
def test_who_is_who_does_not_hang_on_how_events_were_cut_into_portions(
    database: Database, told: list[tuple[str, str, str]], portion: int
) -> None:
    ends = []
    for size in (1, portion, len(told) or 1):
        run = f"run{next(RUNS)}"
        events = [
            row(f"{run}-m{number}", f"{run}-{one}", type=kind, event=None,
                **({} if kind == "page" else {"anonymousId": f"{run}-{other}"}))
            for number, (kind, one, other) in enumerate(told)
        ]  # fmt: skip
        for start in range(0, len(events), size):
            apply(database, *events[start : start + size])
        with database.read() as connection:
            owners = owners_of(connection, [f"{run}-{one}" for one in IDS])
        ends.append({one.removeprefix(run): owner.removeprefix(run) for one, owner in owners.items()})
    assert ends[0] == ends[1] == ends[2]

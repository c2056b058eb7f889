"""What no rule counts is not read, and no verdict misses it."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.decisions.arbitration import FATIGUE_DAYS
from service.decisions.caps import recent_messages
from service.decisions.case import DAY_US, Case, Customer, MessageCap, Usage
from service.decisions.eligibility import judge
from service.decisions.ledger_store import entries_by, read_lines, reserve
from service.decisions.line import Line
from service.offers.offer import past_of
from service.storage.database import Database
from tests.fakes.decisions import NOON
from tests.service.decisions.test_eligibility import RULES, offer

NOW = int(NOON.timestamp() * 1_000_000)
OFFERS = (
    offer(0),
    offer(1, caps=[{"max": 2, "per_days": 7}]),
    offer(2, caps=[{"max": 1, "per": "calendar_day"}]),
    offer(3, exclusion_group="shoes", exclusion_days=3),
    offer(4, exclusion_group="shoes"),
    offer(5, caps=[{"max": 9, "per_days": 7, "per": "everyone"}]),
    offer(6, requires=[{"offer_id": "o0", "event": "delivered", "within_days": 9}]),
)
GONE = "gone"
"""An offer that the catalogue no longer has, of the same group."""
CAPS = (MessageCap("email", 2, 7.0), MessageCap("web", 3, 2.0), MessageCap(None, 3, 7.0))
names = count()

ages = st.integers(-2 * DAY_US, 8 * DAY_US)
shown = st.tuples(st.integers(0, 7), st.sampled_from(["email", "web"]), ages)
decided = st.lists(st.lists(shown, min_size=1, max_size=5), max_size=6)


def lines_of(customer: str, number: int, some: list[tuple[int, str, int]]) -> list[Line]:
    lines = []
    for rank, (place, channel, age) in enumerate(some, 1):
        name, group = (GONE, "shoes") if place == 7 else (f"o{place}", OFFERS[place].exclusion_group)
        at = NOW - age
        counts = (rank == 1, True, 0.0, at, None if age > 0 else at + DAY_US)
        lines.append(Line(f"{customer}-{number}", rank, customer, name, channel, *counts, "default", group, at))
    return lines


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(decided, st.sets(st.integers(0, 6), min_size=1))
def test_what_is_left_out_changes_no_verdict(
    database: Database, decisions: list[list[tuple[int, str, int]]], places: set[int]
) -> None:
    customer, offers = f"c{next(names)}", tuple(OFFERS[place] for place in sorted(places))
    past = past_of(offers)
    with database.write() as connection:
        for number, some in enumerate(decisions):
            reserve(connection, lines_of(customer, number, some))
        since = NOW - 32 * DAY_US
        whole = entries_by(read_lines(connection, [customer], since).get(customer, ()))
        some_of = entries_by(read_lines(connection, [customer], since, past).get(customer, ()))
    assert len(whole) == sum(map(len, decisions))
    assert set(some_of) <= set(whole)
    assert all(e.message or e.offer_id in past.counted or (e.group and past.grouped) for e in some_of)
    rules = replace(RULES, caps=CAPS, consent_when_unknown="allow")
    case = Case(
        Customer("c"), "default", ("email", "web"), offers, NOON, "model", 1, 5, rules, Usage(whole), {}
    )  # fmt: skip
    assert judge(replace(case, usage=Usage(some_of))) == judge(case)
    assert recent_messages(some_of, FATIGUE_DAYS, NOW) == recent_messages(whole, FATIGUE_DAYS, NOW)


def test_a_shop_without_rules_about_impressions_reads_messages_alone(database: Database) -> None:
    with database.write() as connection:
        reserve(connection, lines_of("c", 1, [(0, "email", 9), (1, "web", 9), (3, "web", 9)]))
        lines = read_lines(connection, ["c"], NOW - DAY_US, past_of(OFFERS[:1]))
    assert [entry.offer_id for entry in entries_by(lines["c"])] == ["o0"]

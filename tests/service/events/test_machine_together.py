"""Clicks that a machine made, told by what else happened to their message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from service.events import inbox_store
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.machine_together import judge_together
from service.events.normalize import Rules, normalize
from service.storage.database import Connection, Database
from tests.fakes.events import FakeFeatures, FixedClock

CLOCK = FixedClock()
BROWSER = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"


def event(name: str, after: float, link: str | None = None, customer: str = "c1", **facts: Any) -> dict[str, Any]:
    at = CLOCK.now() - timedelta(minutes=5) + timedelta(seconds=after)
    properties = {"decision_id": "d1", "offer_id": "a", **({"link_url": link} if link else {}), **facts}
    message = {"type": "track", "userId": customer, "event": name, "timestamp": at.isoformat(),
               "messageId": f"{customer}-{name}-{after}-{link}-{facts.get('decision_id')}", "properties": properties,
               "context": {"userAgent": BROWSER}}  # fmt: skip
    return normalize(message, Rules(), CLOCK.now())


def click(after: float, link: str, **facts: Any) -> dict[str, Any]:
    return event("Email Link Clicked", after, link, **facts)


def reasons(*events: Mapping[str, Any]) -> list[str | None]:
    found = judge_together(events)
    return [found.get(one["message_id"]) for one in events if "Click" in one["event"]]


def test_a_click_within_five_seconds_of_its_delivery() -> None:
    sent = event("Email Delivered", 0)
    assert reasons(sent, click(4.5, "/a")) == ["click_within_5s"]
    assert reasons(click(4.5, "/a"), sent) == ["click_within_5s"]
    assert reasons(sent, click(5.5, "/a")) == [None]
    assert reasons(click(-1.0, "/a"), sent) == [None]
    assert reasons(event("Email Delivered", 0, decision_id="d2"), click(2, "/a")) == [None]
    assert reasons(event("SMS Delivered", 0), click(2, "/a")) == [None]


@pytest.mark.parametrize(
    ("clicks", "scanned"),
    [
        ([(60, "/a"), (61, "/b"), (62.5, "/c")], True),
        ([(60, "/a"), (60, "/b"), (60, "/unsubscribe"), (61, "/c")], True),
        ([(60, "/a"), (61, "/a"), (62, "/a")], False),
        ([(60, "/a"), (63, "/b")], False),
        ([(60, "/a"), (90, "/b"), (120, "/c")], False),
    ],
)
def test_every_link_followed_within_seconds(clicks: list[tuple[float, str]], scanned: bool) -> None:
    found = reasons(event("Email Delivered", 0), *(click(after, link) for after, link in clicks))
    assert found == ["every_link_clicked" if scanned else None] * len(clicks)


def test_how_many_links_there_are_may_be_told() -> None:
    assert reasons(click(60, "/a", links=2), click(61, "/b", links=2)) == ["every_link_clicked"] * 2
    assert reasons(click(60, "/a", links=5), click(61, "/b", links=5), click(62, "/c", links=5)) == [None] * 3
    assert reasons(click(60, "/a", links=1)) == [None]


def test_people_and_messages_are_apart() -> None:
    two = [click(60, "/a"), click(61, "/b"), event("Email Link Clicked", 61, "/c", customer="c2")]
    assert reasons(*two) == [None] * 3
    assert reasons(click(60, "/a"), click(61, "/b"), click(62, "/c", decision_id="d2")) == [None] * 3


def test_a_burst_in_portions_withdraws_what_came_first(database: Database) -> None:
    handled: list[tuple[str, bool]] = []
    withdrawn: list[str] = []

    def handler(_: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        handled.extend((one["url"], one["machine"]) for one in events)

    def withdraw(_: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        withdrawn.extend(one["url"] for one in events)

    lease = EventsLease(database)
    applier = Applier(database, CLOCK, lease, [handler], FakeFeatures(), withdraw=withdraw)
    for links in (["/a"], ["/b", "/c"]):
        with database.write() as connection:
            rows = [click(60 + "abc".index(link[1]), link) for link in links]
            inbox_store.add_events(connection, rows, datetime.now(CLOCK.now().tzinfo))
        applier.drain()
    assert handled == [("/a", False), ("/b", True), ("/c", True)]
    assert withdrawn == ["/a"]
    with database.read() as connection:
        kept = inbox_store.of_customers(connection, ["c1"])
    assert [(one["machine"], one["machine_reason"]) for one in kept] == [(True, "every_link_clicked")] * 3

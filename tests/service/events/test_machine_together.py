"""Clicks that a machine made, told by what else happened to their message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from service.events import apply_events, inbox_store
from service.events.apply_events import FEWEST_AT_ONCE, Applier
from service.events.events_lease import EventsLease
from service.events.machine_together import judge_together
from service.events.normalize import Rules, normalize
from service.events.quality_store import read_counts
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


def test_what_the_sender_declares_wins_here_too() -> None:
    links = [click(2, "/a", machine=False), click(3, "/b", machine=False), click(4, "/c", machine=False)]
    assert reasons(event("Email Delivered", 0), *links) == [None] * 3
    assert reasons(event("Email Delivered", 0), click(2, "/machine", machine=None)) == ["click_within_5s"]


def test_who_follows_a_honeypot_made_the_clicks_beside_it() -> None:
    trap = click(60, "/unseen", honeypot=True)
    beside = "beside_honeypot"
    assert reasons(click(52, "/a"), trap, click(69, "/b"), click(75, "/a")) == [beside, None, beside, None]
    assert reasons(trap, click(61, "/a", machine=False)) == [None, None]
    assert reasons(trap, click(61, "/a", decision_id="d2")) == [None, None]


def test_people_and_messages_are_apart() -> None:
    two = [click(60, "/a"), click(61, "/b"), event("Email Link Clicked", 61, "/c", customer="c2")]
    assert reasons(*two) == [None] * 3
    assert reasons(click(60, "/a"), click(61, "/b"), click(62, "/c", decision_id="d2")) == [None] * 3


class Told:
    """An applier that is told events in portions; notes what it handled and withdrew."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.handled: list[tuple[str, str, bool]] = []
        self.withdrawn: list[str] = []
        lease = EventsLease(database)
        self.applier = Applier(database, CLOCK, lease, [self._handle], FakeFeatures(), withdraw=self._withdraw)

    def _handle(self, _: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        self.handled.extend((one["event"], one["url"], one["machine"]) for one in events)

    def _withdraw(self, _: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        self.withdrawn.extend(one["url"] for one in events)

    def tell(self, *events: Mapping[str, Any]) -> None:
        with self.database.write() as connection:
            inbox_store.add_events(connection, events, datetime.now(CLOCK.now().tzinfo))
        self.applier.drain()

    def counts(self) -> tuple[int, int]:
        """Clicks, and those of machines, as `/data` and the first page tell them."""
        with self.database.read() as connection:
            told = read_counts(connection, "2000-01-01").items()
        kinds = ("engagement", "machine")
        clicks, machines = (sum(n for key, n in told if key.kind == kind and "Click" in key.name) for kind in kinds)
        return clicks, machines

    def verdicts(self) -> list[tuple[bool, str | None]]:
        with self.database.read() as connection:
            kept = inbox_store.of_customers(connection, ["c1"])
        return [(one["machine"], one["machine_reason"]) for one in kept if "Click" in one["event"]]


def test_a_burst_in_portions_withdraws_what_came_first(database: Database) -> None:
    told = Told(database)
    told.tell(click(60, "/a"))
    told.tell(click(61, "/b"), click(62, "/c"))
    name = "Email Link Clicked"
    assert told.handled == [(name, "/a", False), (name, "/b", True), (name, "/c", True)]
    assert told.withdrawn == ["/a"]
    assert told.verdicts() == [(True, "every_link_clicked")] * 3
    assert told.counts() == (3, 3)


def test_what_waits_behind_a_portion_is_not_withdrawn(database: Database) -> None:
    """It has had no effects, and is counted with its own portion."""
    told = Told(database)
    others = [event("Email Opened", number, customer=f"x{number}") for number in range(FEWEST_AT_ONCE - 1)]
    told.tell(click(60, "/a"), *others, click(61, "/b"), click(62, "/c"))
    assert [machine for name, _, machine in told.handled if "Click" in name] == [True] * 3
    assert told.withdrawn == []
    assert told.counts() == (3, 3)


def test_a_click_told_before_the_honeypot_is_judged_again(database: Database) -> None:
    told = Told(database)
    told.tell(click(60, "/a"))
    told.tell(click(62, "/unseen", honeypot=True))
    assert told.withdrawn == ["/a"]
    assert told.verdicts() == [(True, "beside_honeypot"), (True, "honeypot")]


def test_a_click_told_before_its_delivery_is_judged_again(database: Database) -> None:
    told = Told(database)
    told.tell(click(2, "/a"))
    told.tell(event("Email Delivered", 0, decision_id="d2"), event("SMS Delivered", 0))
    assert told.withdrawn == []
    told.tell(event("Email Delivered", 0))
    assert told.withdrawn == ["/a"]
    assert told.verdicts() == [(True, "click_within_5s")]
    told.tell(event("Email Delivered", 1))  # another tells it again: nothing is taken back twice
    assert told.withdrawn == ["/a"]


def test_a_delivery_told_after_a_persons_click_changes_nothing(database: Database) -> None:
    told = Told(database)
    told.tell(click(60, "/a"))
    told.tell(event("Email Delivered", 0))
    assert told.withdrawn == []
    assert told.verdicts() == [(False, None)]


def test_deliveries_alone_look_nothing_up_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told(database)
    told.tell(event("Email Opened", 30), click(60, "/a", machine=True))
    monkeypatch.setattr(apply_events, "judge_together", None)  # would fail
    told.tell(event("Email Delivered", 0), event("Email Delivered", 0, customer="c2"))
    assert [name for name, _, _ in told.handled] == ["Email Opened", "Email Link Clicked"] + ["Email Delivered"] * 2

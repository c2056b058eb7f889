"""Clicks that are told when their delivery has long been applied and stands in the event log."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from features.event_log import EventLog
from service.decisions.attribute_outcomes import AttributeOutcomes
from service.decisions.decision_store import read_rates
from service.decisions.delivered_before import delivered_before
from service.decisions.outcome_store import every_outcome
from service.decisions.schemas import DecisionIn
from service.events import inbox_store
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.normalize import Rules, normalize
from service.offers.catalogue import CatalogueCache
from service.storage.database import Connection, Database
from tests.fakes.decisions import NOON, Desk, HandClock
from tests.fakes.events import FakeFeatures

BROWSER = {"userAgent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36"}


class Told:
    """Events are told one by one, and leave the inbox for the log at once."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.verdicts: list[tuple[bool, str | None]] = []
        lease = EventsLease(database)
        handlers = [AttributeOutcomes(CatalogueCache(), 14), self._note]
        clock = HandClock()
        self._applier = Applier(database, clock, lease, handlers, FakeFeatures(), delivered_at=delivered_before)
        self._flusher = Flusher(database, EventLog(folder), clock, lease)

    def _note(self, _: Connection, events: Any) -> None:
        self.verdicts += [(one["machine"], one["machine_reason"]) for one in events if "Click" in one["event"]]

    def tell(self, name: str, after: float, **properties: Any) -> None:
        at = NOON - timedelta(minutes=5) + timedelta(seconds=after)
        message = {"type": "track", "userId": "c1", "event": name, "timestamp": at.isoformat(), "context": BROWSER,
                   "messageId": f"{name}-{after}", "properties": properties}  # fmt: skip
        with self.database.write() as connection:
            inbox_store.add_events(connection, [normalize(message, Rules(), NOON)], NOON)
        self._applier.drain()
        assert self._flusher.flush() == 1


@pytest.fixture
def told(database: Database, tmp_path: Path) -> Told:
    return Told(database, tmp_path / "events")


def test_a_click_told_late_is_judged_by_the_delivery_of_its_decision(told: Told) -> None:
    desk = Desk(told.database)
    desk.people.add("c1", traits={"email": "c1@example.com", "phone": "+491701234567"})
    desk.put(a={})
    desk.clock.time = NOON - timedelta(minutes=6)
    decided = desk.decider.decide(DecisionIn(customer_id="c1", channels=["email"]))
    decision = {"decision_id": decided["decision_id"], "offer_id": "a"}
    told.tell("Email Delivered", 0, **decision)
    told.tell("Email Link Clicked", 3, **decision)
    told.tell("Email Link Clicked", -2, **decision)
    assert told.verdicts == [(True, "click_within_5s"), (False, None)]
    with told.database.read() as connection:
        clicks = [row.machine for rows in every_outcome(connection) for row in rows if row.kind == "clicked"]
        assert sorted(clicks) == [False, True]
        assert read_rates(connection)["a", "email"].clicked == 1
    told.tell("Email Link Clicked", 6, **decision)
    told.tell("SMS Link Clicked", 3, **decision)
    assert told.verdicts[2:] == [(False, None)] * 2


def test_so_is_one_of_a_message_that_no_decision_reserved(told: Told) -> None:
    Desk(told.database).put(a={}, b={})
    told.tell("Email Delivered", 0, offer_id="a")
    told.tell("Email Delivered", 100, campaign_id="october")
    for after, properties in ((3, {"offer_id": "a"}), (4, {"offer_id": "b"}), (6, {"offer_id": "a"})):
        told.tell("Email Link Clicked", after, **properties)
    told.tell("Email Link Clicked", 102, campaign_id="october")
    too_soon = (True, "click_within_5s")
    assert told.verdicts == [too_soon, (False, None), (False, None), too_soon]

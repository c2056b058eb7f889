"""The rest of the service as a journey runner sees it, in memory; and everything to run one over a database."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from service.decisions.admit_messages import Outgoing
from service.decisions.hours import Planned
from service.decisions.verdicts import Failure
from service.journeys.channels.message import Message, SendResult
from service.journeys.collaborators import Clearance, Copy, DecisionRequest
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Entering, Refused, enrol
from service.journeys.enrolment_store import Enrolment, earlier
from service.journeys.journey_store import add_counts, find_journey
from service.journeys.manage_journeys import change_status, put_journey
from service.journeys.runner import Runner, RunnerOptions
from service.journeys.wake_journeys import wake_handler
from service.storage.database import Connection, Database

CONTENT = {"variant_id": "v1", "locale": "en", "subject": "Hi", "body": "<p>Hello</p>"}
ACTION = {"rank": 1, "offer_id": "o1", "channel": "email", "content": CONTENT}
MINUTE = timedelta(minutes=1)
T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


@dataclass
class HandClock:
    """Stands still until it is set."""

    at: datetime = T0

    def now(self) -> datetime:
        return self.at


@dataclass
class FakeService:
    """Answers what the runner asks, and remembers what it was told."""

    actions: list[dict[str, Any]] = field(default_factory=lambda: [dict(ACTION)])
    zone: str | None = "Europe/Berlin"
    forbidden: dict[str, str] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    quiet: datetime | None = None
    quiet_from: datetime | None = None
    hour: datetime | None = None
    hour_probability: float = 0.95
    arms: dict[str, str | None] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=lambda: {"traits": {}, "segments": [], "features": {}, "scores": {}})
    members: dict[str, list[str]] = field(default_factory=dict)
    decided: list[tuple[str, str]] = field(default_factory=list)
    events: list[Mapping[str, Any]] = field(default_factory=list)
    segments: list[tuple[str, str, str | None]] = field(default_factory=list)
    failing: int = 0
    stopped: dict[str, Failure] = field(default_factory=dict)
    settled: dict[str, bool] = field(default_factory=dict)
    given_back: list[str] = field(default_factory=list)

    default_zone: str = "UTC"

    def decide(self, requests: Sequence[DecisionRequest]) -> list[dict[str, Any]]:
        if self.failing:
            self.failing -= 1
            raise ConnectionError("the decisions are away")
        self.decided += [(request.customer_id, request.key) for request in requests]
        return [
            {"decision_id": f"d-{one.key}", "arm": "model", "actions": [dict(action) for action in self.actions]}
            for one in requests
        ]

    def clear(self, customer_ids: Sequence[str], channel: str, placement: str, at: datetime) -> dict[str, Clearance]:
        begun = self.quiet_from is None or at >= self.quiet_from
        quiet = self.quiet if self.quiet is not None and self.quiet > at and begun else None
        return {one: Clearance(self.forbidden.get(one), quiet, f"{one}@example.com") for one in customer_ids}

    def admit(self, messages: Sequence[Outgoing], at: datetime) -> dict[str, Failure]:
        return {
            one.key: failure
            for one in messages
            if (failure := self.stopped.get(one.customer_id)) is not None and (failure.until or at + MINUTE) > at
        }

    def settle(self, connection: Connection, used: Sequence[Outgoing], unused: Sequence[Outgoing]) -> None:
        self.settled |= {one.key: True for one in used} | {one.key: False for one in unused}

    def give_back(self, connection: Connection, decision_ids: Sequence[str]) -> None:
        self.given_back += decision_ids

    def copy_against(self, copies: Sequence[Copy]) -> dict[Copy, str]:
        return {copy: "the copy is no longer approved" for copy in copies if copy[0] in self.withdrawn}

    def zones(self, customer_ids: Sequence[str]) -> dict[str, str | None]:
        return dict.fromkeys(customer_ids, self.zone)

    def facts(self, customer_ids: Sequence[str], at: datetime) -> dict[str, Any]:
        return dict.fromkeys(customer_ids, self.known)

    def good_hour(self, customer_id: str, channel: str, start: datetime, end: datetime, key: str) -> Planned | None:
        return None if self.hour is None else Planned(self.hour, self.hour_probability)

    def assign(self, experiment: str, customer_ids: Sequence[str], at: datetime) -> dict[str, str | None]:
        return {one: self.arms.get(one) for one in customer_ids}

    def change_segments(self, customer_ids: Sequence[str], add: str, remove: str | None, at: datetime) -> None:
        self.segments += [(one, add, remove) for one in customer_ids]

    def members_of(self, segment: str) -> Iterable[str]:
        return self.members.get(segment, [])

    def unsubscribe_url(self, customer_id: str, channel: str) -> str | None:
        return f"https://x.test/u/{customer_id}"

    def record_events(self, connection: Connection, messages: Sequence[Mapping[str, Any]], now: datetime) -> None:
        self.events += messages


@dataclass
class FakeChannel:
    """Remembers messages by key; answers what it is told to, `sent` by default."""

    repeatable: bool = True
    parallel: int = 1
    answers: list[SendResult] = field(default_factory=list)
    tried: list[Message] = field(default_factory=list)

    def send(self, message: Message) -> SendResult:
        self.tried.append(message)
        return self.answers.pop(0) if self.answers else SendResult("sent")

    def send_many(self, messages: Sequence[Message]) -> list[SendResult]:
        return [self.send(message) for message in messages]


@dataclass
class Stage:
    """A database with journeys on it, a clock, a runner."""

    database: Database
    clock: HandClock = field(default_factory=HandClock)
    service: FakeService = field(default_factory=FakeService)
    email: FakeChannel = field(default_factory=FakeChannel)
    definitions: Definitions = field(default_factory=Definitions)
    options: RunnerOptions = field(default_factory=RunnerOptions)
    seq: int = 0

    def runner(self, **channels: Any) -> Runner:
        return Runner(
            self.database,
            self.clock,
            self.service,
            {"email": self.email, **channels},
            options=self.options,
            definitions=self.definitions,
        )

    def journey(self, *steps: dict[str, Any], journey_id: str = "j", active: bool = True, **more: Any) -> None:
        with self.database.write() as connection:
            put_journey(connection, journey_id, {"name": "Test", "steps": list(steps), **more}, self.clock.at, "tester")
            if active:
                change_status(connection, journey_id, "activate", self.clock.at)

    def enrol(self, customer_id: str, journey_id: str = "j") -> Enrolment | Refused:
        with self.database.write() as connection:
            row = find_journey(connection, journey_id)
            assert row is not None
            journey = self.definitions.get(connection, journey_id, row.version)
            entering = Entering()
            entered = enrol(connection, row, journey, customer_id, self.clock.at, {"api": True}, entering)
            add_counts(connection, entering.counts, self.clock.at)
            return entered

    def standing(self, customer_id: str, journey_id: str = "j") -> Enrolment:
        with self.database.read() as connection:
            return earlier(connection, journey_id, customer_id)[0]

    def later(self, **duration: float) -> datetime:
        self.clock.at += timedelta(**duration)
        return self.clock.at

    def happens(self, *events: dict[str, Any]) -> None:
        with self.database.write() as connection:
            wake_handler(self.clock, self.definitions)(connection, list(events))

    def event(self, name: str, customer_id: str, **more: Any) -> dict[str, Any]:
        """An EVENTS-shaped `track` event, now."""
        self.seq += 1
        return {
            "seq": self.seq,
            "message_id": f"m{self.seq}",
            "type": "track",
            "event": name,
            "customer_id": customer_id,
            "anonymous_id": None,
            "timestamp": self.clock.at,
            "received_at": self.clock.at,
            "channel": None,
            "decision_id": None,
            "machine": None,
            "properties": "{}",
        } | more

"""Plays the world against the real service: simulated days, events and decisions over HTTP, messages by SMTP."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from training.world.catalogue import CHANNELS
from training.world.client import Api, wait_until
from training.world.clock_file import ClockFile
from training.world.ledger import Entry, Ledger
from training.world.mailbox import Arrival
from training.world.messages import Message
from training.world.population import KINDS
from training.world.world import Action, World

DAY = timedelta(days=1)
EPOCH = "1970-01-01T00:00:00+00:00"


class Arrivals(Protocol):
    """Where messages arrive: a mailbox, or the file channel's outbox."""

    def take(self) -> list[Arrival]: ...


@dataclass(frozen=True, slots=True)
class Plan:
    """How the days go. Each customer gets a decision every `every_days`; the clock moves in steps of `tick_hours`.

    `within_hours`: how far ahead the service may plan a message; the best there is and a random choice may, too.
    `learn_on_days`: first from the shop's history, as anybody would begin, then from the service's own log.
    """

    days: int = 30
    every_days: int = 5
    tick_hours: int = 3
    decide_at_hour: int = 6
    within_hours: int = 72
    placement: str = "weekly"
    learn_on_days: tuple[int, ...] = (0, 10)
    journey: str | None = "winback"
    enrol_on_days: tuple[int, int] = (10, 19)
    patience_s: float = 60.0


@dataclass
class Drive:
    """One run. `learn` trains the models on the service's own log; `progress(day, days)` is told each day."""

    world: World
    api: Api
    clock: ClockFile
    arrivals: Sequence[Arrivals]
    plan: Plan = field(default_factory=Plan)
    learn: Callable[[], None] = lambda: None
    progress: Callable[[int, int], None] = lambda day, days: None
    ledger: Ledger = field(default_factory=Ledger)
    enrolled: int = 0
    trained: bool = False

    def __post_init__(self) -> None:
        self._order = itertools.count()
        self._actions: list[tuple[datetime, int, Action]] = []
        self._events: list[tuple[str, int, Message]] = []
        self._address = {f"{customer}@example.net": customer for customer in self.world.customers}
        self._journey_entries: dict[str, Entry] = {}

    def run(self) -> dict[str, Any]:
        """All days; returns the summary, every figure of which is simulated.

        What was decided in the last days and is planned for later is carried out for its worth; nobody hears of it.
        """
        for day in range(self.plan.days):
            self._begin(day)
            for hour in range(0, 24, self.plan.tick_hours):
                self._tick(day, hour)
            self.progress(day + 1, self.plan.days)
        self._tick(self.plan.days, 0)
        self._carry_out(self.world.start + self.plan.days * DAY + timedelta(hours=self.plan.within_hours))
        return {**self.ledger.summary(), "journey": self._journey_figures(), "days": self.plan.days}

    def _begin(self, day: int) -> None:
        if day in self.plan.learn_on_days:
            self.learn()
            self.trained = True
        for event in self.world.daily_events(day):
            self._queue(event)

    def _tick(self, day: int, hour: int) -> None:
        now = self.world.start + timedelta(days=day, hours=hour)
        self.clock.move_to(max(now, self.clock.now))
        self._carry_out(now)
        self._send_events(now)
        self._catch_up(now)
        self._respond_to_arrivals(now)
        if hour == self.plan.decide_at_hour // self.plan.tick_hours * self.plan.tick_hours and day < self.plan.days:
            self._decide(day, now)
            self._enrol(day)

    # Events

    def _queue(self, event: Message) -> None:
        heapq.heappush(self._events, (event["timestamp"], next(self._order), event))

    def _send_events(self, now: datetime) -> None:
        limit = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        due: list[Mapping[str, Any]] = []
        while self._events and self._events[0][0] <= limit:
            due.append(heapq.heappop(self._events)[2])
        self.api.send_events(due)

    def _catch_up(self, now: datetime) -> None:
        """Waits until the service has applied the events and its runner has looked at the clock as it stands now."""

        def done() -> bool:
            beats = self.api.ready().get("heartbeats", {})
            if beats.get("events", {}).get("pending", 0):
                return False
            if self.plan.journey is None:
                return True
            runner = beats.get("journeys", {})
            return datetime.fromisoformat(runner.get("at") or EPOCH) >= now and not runner.get("due", 0)

        wait_until(done, f"the runner to reach {now.isoformat()}", self.plan.patience_s)

    # Decisions

    def _decide(self, day: int, now: datetime) -> None:
        due = [c for index, c in enumerate(self.world.customers) if (index + day) % self.plan.every_days == 0]
        requests = [
            {
                "customer_id": customer,
                "placement": self.plan.placement,
                "channels": list(CHANNELS),
                "top_k": 1,
                "explain": False,
            }
            for customer in due
        ]
        for customer, decision in zip(due, self.api.decide(requests), strict=True):
            self._note(customer, decision, now)

    def _note(self, customer: str, decision: Mapping[str, Any], now: datetime) -> None:
        entry = Entry(decision["decision_id"], customer, now, decision["arm"], self.trained, 0.0, 0.0)
        self.ledger.add(entry)
        if decision["actions"] or not self._stopped(entry.decision_id):
            entry.best = self.world.best_action(customer, now, self.plan.within_hours).expected_value
            entry.uniform = self.world.uniform_value(customer, now, self.plan.within_hours)
        if decision["actions"]:
            first = decision["actions"][0]
            at = datetime.fromisoformat(first["send_at"]) if first.get("send_at") else now
            facts = {"decision_id": entry.decision_id}
            action = Action(customer, first["offer_id"], first["channel"], facts)
            heapq.heappush(self._actions, (max(at, now), next(self._order), action))

    def _stopped(self, decision_id: str) -> bool:
        """Whether rules (caps) let nothing go: then nobody could have sent anything, and that is what it was worth."""
        candidates = self.api.get(f"/v1/decisions/{decision_id}")["candidates"]
        return not any(one["eligible"] for one in candidates if one["offer_id"] is not None)

    def _carry_out(self, now: datetime) -> None:
        """Sends what is due at its own time: the world is the sender of decisions that no journey sends."""
        while self._actions and self._actions[0][0] <= now:
            at, _, action = heapq.heappop(self._actions)
            self._reach(self.ledger.entries[action.properties["decision_id"]], action, at, delivered=True)

    def _reach(self, entry: Entry, action: Action, at: datetime, *, delivered: bool) -> None:
        entry.offer_id, entry.channel, entry.send_at = action.offer_id, action.channel, at
        entry.value = self.world.expected_value(action, at)
        offer = self.world.offers[self.world.offer[action.offer_id]]
        entry.earned = -offer.cost
        for event in self.world.respond(action, at, delivered=delivered):
            if event["event"] == "Order Completed":
                entry.bought = True
                entry.earned += offer.value
            self._queue(event)

    # The journey

    def _enrol(self, day: int) -> None:
        """The lapsed come in a few a day, so that the runner has work on many days."""
        first, last = self.plan.enrol_on_days
        if self.plan.journey is None or not first <= day < last:
            return
        lapsed = [
            c for c, kind in zip(self.world.customers, self.world.people.kind, strict=True) if KINDS[kind] == "lapsed"
        ]
        for customer in lapsed[day - first :: last - first]:
            self.api.post(f"/v1/journeys/{self.plan.journey}/enrollments", {"customer_id": customer})
            self.enrolled += 1

    def _respond_to_arrivals(self, now: datetime) -> None:
        for arrivals in self.arrivals:
            for arrival in arrivals.take():
                self._respond_to(arrival, now)

    def _respond_to(self, arrival: Arrival, now: datetime) -> None:
        customer = self._address.get(arrival.recipient, arrival.recipient)
        if arrival.decision_id is None or customer not in self.world.index:
            raise RuntimeError(f"a message to {arrival.recipient!r} names no decision or no customer of this world")
        decision = self.api.get(f"/v1/decisions/{arrival.decision_id}")
        sent = next(action for action in decision["actions"] if action["channel"] == arrival.channel)
        action = Action(customer, sent["offer_id"], arrival.channel, {"decision_id": arrival.decision_id})
        best, uniform = self.world.best_action(customer, now), self.world.uniform_value(customer, now)
        entry = Entry(arrival.decision_id, customer, now, decision["arm"], self.trained, best.expected_value, uniform)
        self._journey_entries[arrival.decision_id] = entry
        self._reach(entry, action, now, delivered=False)

    def _journey_figures(self) -> dict[str, Any]:
        entries = list(self._journey_entries.values())
        return {
            "enrolled": self.enrolled,
            "arrived": len(entries),
            "sales": sum(entry.bought for entry in entries),
            "value": sum(entry.value for entry in entries) / len(entries) if entries else 0.0,
        }

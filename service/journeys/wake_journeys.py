"""What events do to journeys: they let customers in, wake those who wait, and count as opens, clicks, conversions.

A handler of the events' applier: it runs inside the transaction that marks the events applied, so each event counts
once. Machine opens and scanner clicks do nothing here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from features.vocabulary import NAMES
from service.clock import Clock
from service.customers.identity_store import joined_by
from service.events.match import holds, name_of
from service.journeys.definition import Journey, UntilEvent, Wait
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Entering, enrol
from service.journeys.enrolment_store import (
    Enrolment,
    add_events,
    mark_converted,
    move_customer,
    of_customers,
)
from service.journeys.intent_store import Intent, by_decisions, mark_engaged, move_intents, sent_to
from service.journeys.journey_store import JourneyRow, add_counts, list_journeys, lock_journeys
from service.storage.database import Connection

Event = Mapping[str, Any]
Handler = Callable[[Connection, Sequence[Event]], None]

ENGAGEMENT = {"delivered": "delivered", "opened": "opened", "clicked": "clicked"}
ATTRIBUTION = timedelta(days=14)
SHORTEST_MEMORY = timedelta(days=30)
OLDEST_ENTRY = timedelta(days=1)


def wake_handler(clock: Clock, definitions: Definitions | None = None) -> Handler:
    """The handler that the applier calls with EVENTS-shaped events (and `seq`), in order."""
    known = definitions or Definitions()

    def wake_journeys(connection: Connection, events: Sequence[Event]) -> None:
        rows, now = {row.journey_id: row for row in list_journeys(connection)}, clock.now()
        if rows:
            persons = [event for event in events if not event.get("machine")]
            names = {name_of(event) for event in persons if event["timestamp"] >= now - OLDEST_ENTRY}
            doors = [row.journey_id for row in rows.values() if row.status == "active" and row.entry_event in names]
            rows |= lock_journeys(connection, doors)  # first: who archives one locks it before its enrolments, too
            _Arrivals(connection, known, rows, now).take(persons)

    return wake_journeys


@dataclass(slots=True)
class _Arrivals:
    """The effects of one portion of events, gathered and then written."""

    connection: Connection
    definitions: Definitions
    journeys: Mapping[str, JourneyRow]
    now: datetime
    running: dict[str, list[tuple[int, Enrolment]]] = field(default_factory=dict)
    entering: Entering = field(default_factory=Entering)
    inbox: list[dict[str, Any]] = field(default_factory=list)
    wake: set[str] = field(default_factory=set)
    converted: dict[str, datetime] = field(default_factory=dict)
    marks: dict[str, dict[str, datetime]] = field(default_factory=dict)

    def take(self, events: Sequence[Event]) -> None:
        """Joins visitors to customers, lets in, wakes, counts."""
        _join(self.connection, events, self.now)
        customers = {event["customer_id"] for event in events}
        since = self.now - self._memory()
        for enrolment in of_customers(self.connection, customers, since):
            self.running.setdefault(enrolment.customer_id, []).append((-1, enrolment))
        for place, event in enumerate(events):
            self._let_in(place, event)
        concerned = [event for event in events if event["customer_id"] in self.running]
        messages = _Messages(self.connection, concerned, since)
        for place, event in enumerate(events):
            message = messages.of(event)
            if message is not None:
                self._engage(event, message)
            for entered, enrolment in self.running.get(event["customer_id"], ()):
                if place > entered:
                    self._arrive(event, enrolment, message, messages)
        self._write()

    def _memory(self) -> timedelta:
        """How long after its end an enrolment can still convert."""
        found = (self.definitions.find(self.connection, one.journey_id, one.version) for one in self.journeys.values())
        goals = (journey.goal for journey in found if journey is not None)
        return max([SHORTEST_MEMORY, *(goal.within for goal in goals if goal is not None)])

    def _let_in(self, place: int, event: Event) -> None:
        """Journeys whose door this event opens; history that is imported late opens none."""
        if event["timestamp"] < self.now - OLDEST_ENTRY:
            return
        for row in self.journeys.values():
            if row.status != "active" or row.entry_event is None or row.entry_event != name_of(event):
                continue
            journey = self.definitions.find(self.connection, row.journey_id, row.version)
            if journey is None or not holds(journey.entry.where, event):
                continue
            source = {"event": event["event"], "message_id": event["message_id"]}
            at = min(self.now, event["timestamp"])
            entered = enrol(self.connection, row, journey, event["customer_id"], at, source, self.entering)
            if isinstance(entered, Enrolment):
                self.running.setdefault(entered.customer_id, []).append((place, entered))

    def _engage(self, event: Event, message: Intent) -> None:
        """The first open or click of a message, for the step's figures."""
        kind = _kind(event)
        if kind not in {"opened", "clicked"} or getattr(message, f"{kind}_at") is not None:
            return
        if message.key not in self.marks.setdefault(f"{kind}_at", {}):
            self.marks[f"{kind}_at"][message.key] = event["timestamp"]
            self.entering.counts[message.journey_id, message.version, message.step, kind] += 1

    def _arrive(self, event: Event, enrolment: Enrolment, message: Intent | None, messages: _Messages) -> None:
        """What one event means to one enrolment."""
        journey = self.definitions.find(self.connection, enrolment.journey_id, enrolment.version)
        if journey is None:
            return
        goal = _is_goal(journey, enrolment, event)
        if goal:
            self._convert(event, enrolment, messages)
        if enrolment.status == "ended":
            return
        own = message if message is not None and message.enrolment_id == enrolment.id else None
        kind = _kind(event)
        if kind is not None and own is None and (message is not None or event.get("decision_id")):
            return  # about a message that is not this enrolment's
        matches = [step for step, rule in journey.event_waits() if _fits(rule, event, kind)]
        if not (matches or goal or (own is not None and kind in {"opened", "clicked"})):
            return
        self.inbox.append(  # what was done with a message was done after its send, however far that clock is behind
            {
                "enrolment_id": enrolment.id,
                "message_id": event["message_id"],
                "name": event.get("event") or event["type"],
                "at": event["timestamp"] if own is None else max(event["timestamp"], own.finished_at or own.created_at),
                "matches": matches,
                "engagement": None if own is None else kind,
                "step": None if own is None else own.step,
                "goal": int(goal),
            }
        )
        if _wakes(journey, enrolment, matches, goal, None if own is None else kind):
            self.wake.add(enrolment.id)

    def _convert(self, event: Event, enrolment: Enrolment, messages: _Messages) -> None:
        """The first time an enrolment reaches its goal; it counts for the journey and for the last message before."""
        if enrolment.converted_at is not None or enrolment.id in self.converted:
            return
        self.converted[enrolment.id] = event["timestamp"]
        self.entering.counts[enrolment.journey_id, enrolment.version, "", "converted"] += 1
        last = messages.last_before(enrolment, event["timestamp"])
        if last is not None and last.converted_at is None:
            self.marks.setdefault("converted_at", {})[last.key] = event["timestamp"]
            self.entering.counts[last.journey_id, last.version, last.step, "converted"] += 1

    def _write(self) -> None:
        add_events(self.connection, self.inbox, self.wake, self.now)
        for name in sorted(self.marks):
            mark_engaged(self.connection, name, self.marks[name])
        mark_converted(self.connection, self.converted)
        add_counts(self.connection, self.entering.counts, self.now)


class _Messages:
    """The journeys' messages that some events may be about."""

    def __init__(self, connection: Connection, events: Sequence[Event], since: datetime) -> None:
        decisions = {event["decision_id"] for event in events if event.get("decision_id")}
        self._by_decision = by_decisions(connection, decisions)
        self._by_customer: dict[str, list[Intent]] = {}
        for intent in sent_to(connection, {event["customer_id"] for event in events}, since):
            self._by_customer.setdefault(intent.customer_id, []).append(intent)

    def of(self, event: Event) -> Intent | None:
        """The message that an open or click is about: its decision's, else the last on the channel before it."""
        if _kind(event) is None:
            return None
        if event.get("decision_id"):
            return self._by_decision.get(event["decision_id"])
        channel, at = event.get("channel"), event["timestamp"]
        return next(
            (
                intent
                for intent in self._by_customer.get(event["customer_id"], ())
                if intent.channel == channel and at - ATTRIBUTION <= intent.created_at <= at
            ),
            None,
        )

    def last_before(self, enrolment: Enrolment, at: datetime) -> Intent | None:
        """The enrolment's last message before a time."""
        theirs = self._by_customer.get(enrolment.customer_id, ())
        return next((one for one in theirs if one.enrolment_id == enrolment.id and one.created_at <= at), None)


def _join(connection: Connection, events: Sequence[Event], now: datetime) -> None:
    """A visitor who turns out to be a customer takes their journeys along."""
    for old, new in joined_by(connection, events).items():
        if move_customer(connection, old, new, now):
            move_intents(connection, old, new)


def _kind(event: Event) -> str | None:
    """`delivered`, `opened` or `clicked`, for events about a message."""
    meaning = NAMES.get(event.get("event") or "") if event["type"] == "track" else None
    return None if meaning is None else ENGAGEMENT.get(meaning.verb)


def _fits(rule: UntilEvent, event: Event, kind: str | None) -> bool:
    return (name_of(event) in rule.names or kind in rule.names) and holds(rule.where, event)


def _is_goal(journey: Journey, enrolment: Enrolment, event: Event) -> bool:
    goal = journey.goal
    if goal is None or name_of(event) != goal.event:
        return False
    entered = enrolment.state.enrolled_at
    return entered <= event["timestamp"] <= entered + goal.within and holds(goal.where, event)


def _wakes(journey: Journey, enrolment: Enrolment, matches: Sequence[str], goal: bool, kind: str | None) -> bool:
    """Whether an enrolment must look at once. One that is being moved looks at its inbox when it parks anyway."""
    if goal and journey.goal is not None and journey.goal.exit:
        return True
    step = journey.steps.get(enrolment.state.step or "")
    if not isinstance(step, Wait) or not isinstance(step.rule, UntilEvent):
        return False
    return step.id in matches or (step.rule.since in {"open", "click"} and kind in {"opened", "clicked"})

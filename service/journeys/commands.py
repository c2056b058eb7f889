"""What the interpreter asks for (commands) and what it is told (answers). Frozen values. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from service.journeys.enrolment import InboxEvent


@dataclass(frozen=True, slots=True)
class AskZone:
    """In which zone does the customer live? -> `ZoneIs`."""


@dataclass(frozen=True, slots=True)
class AskGoodHour:
    """The best allowed time on a channel between two times? -> `GoodHourIs`."""

    step: str
    visit: int
    channel: str
    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Evaluate:
    """Which of these CEL expressions hold? -> `Evaluated`."""

    expressions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AskDecision:
    """What to offer this customer? -> `Decided`."""

    step: str
    visit: int
    placement: str
    channels: tuple[str, ...]
    offers: tuple[str, ...] | None
    context: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SendMessage:
    """Send this action of a decision, which was asked for in `asked` -> `Delivered`, or `Postponed`.

    What a rule stops may wait until `wait_until`.
    """

    step: str
    visit: int
    decision_id: str | None
    action: Mapping[str, Any]
    asked: AskDecision | None = None
    wait_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class OpenTask:
    """Give a person a task -> `Delivered`, or `Postponed`."""

    step: str
    visit: int
    title: str
    instructions: str
    due_at: datetime | None
    decision_id: str | None
    action: Mapping[str, Any] | None
    asked: AskDecision | None = None


@dataclass(frozen=True, slots=True)
class CallWebhook:
    """Call the user's address -> `Delivered`, or `Postponed`."""

    step: str
    visit: int
    url: str
    payload: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Assign:
    """Which arm of an experiment? -> `Assigned`."""

    experiment: str


@dataclass(frozen=True, slots=True)
class ChangeSegments:
    """Put the customer into a segment, and out of another -> `Done`."""

    add: str
    remove: str | None


@dataclass(frozen=True, slots=True)
class Park:
    """Nothing to do before `until`, unless an event comes."""

    until: datetime


@dataclass(frozen=True, slots=True)
class End:
    """The enrolment is over."""

    reason: str


@dataclass(frozen=True, slots=True)
class Halt:
    """The enrolment cannot go on: a fault that a person must look at."""

    problem: str


Command = (
    AskZone | AskGoodHour | Evaluate | AskDecision | SendMessage | OpenTask | CallWebhook | Assign | ChangeSegments
    | Park | End | Halt
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ZoneIs:
    """An IANA zone that exists: the customer's, or the installation's default."""

    name: str


@dataclass(frozen=True, slots=True)
class GoodHourIs:
    """None: no better time is known, or none is allowed. `probability`: with which this one was drawn."""

    at: datetime | None
    probability: float = 1.0


@dataclass(frozen=True, slots=True)
class Evaluated:
    """One verdict an expression, in their order."""

    values: tuple[bool, ...]


@dataclass(frozen=True, slots=True)
class Decided:
    """The decision as the decision API answers it."""

    decision: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Delivered:
    """The end of a send, call or webhook; `sent` leads on by `next`, everything else by `else`.

    `rule` is what blocked it, where a rule did.
    """

    outcome: Literal["sent", "failed", "blocked", "uncertain"]
    detail: str = ""
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Postponed:
    """Not now (a rule, a failure that may pass): ask again at `until`. Nothing was delivered."""

    until: datetime
    why: str = ""
    rule: str | None = None


@dataclass(frozen=True, slots=True)
class Assigned:
    """The arm, or None for who is not in the experiment."""

    arm: str | None


@dataclass(frozen=True, slots=True)
class Done:
    """It is done."""


Answer = ZoneIs | GoodHourIs | Evaluated | Decided | Delivered | Postponed | Assigned | Done


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of a pass, and the enrolment's inbox in the order of arrival."""

    now: datetime
    events: tuple[InboxEvent, ...] = ()

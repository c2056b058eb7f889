"""The shapes of the answers about journeys."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import Field

from service.web.shapes import Told

Status = Literal["draft", "active", "paused", "archived"]


class TemplateOut(Told):
    """A journey to begin with."""

    id: str
    name: str
    description: str
    definition: dict[str, Any] = Field(description="PUT it as it is, or changed")
    yaml: str = Field(description="The same with comments")


class TemplatesOut(Told):
    """Journeys to begin with."""

    templates: list[TemplateOut]


class EntryOut(Told):
    """Who comes in; both null: by the API alone."""

    event: str | None
    segment: str | None


class _JourneyOut(Told):
    id: str
    version: int = Field(description="The newest; of one that was asked for, that one")
    status: Status
    entry: EntryOut
    created_at: datetime
    changed_at: datetime = Field(description="When its status or its version changed last")


class ListedOut(_JourneyOut):
    """A journey without its steps."""

    name: str | None
    description: str


class JourneysOut(Told):
    """Every journey, by id."""

    journeys: list[ListedOut]


class StoredOut(_JourneyOut):
    """The new version of a journey."""

    definition: dict[str, Any] = Field(description="As PUT takes it, short forms written out")


class MadeVersionOut(Told):
    """A version, and who made it."""

    version: int
    made_at: datetime
    made_by: str | None = Field(description="The key's id")


class JourneyOut(StoredOut):
    """A journey."""

    versions: list[MadeVersionOut] = Field(description="Oldest first")


class RetriedOut(Told):
    """How many enrolments try again."""

    retried: int


class MessageOut(Told):
    """A message or task of an enrolment."""

    key: str
    step: str
    channel: str
    state: str = Field(description="intended, sent, failed, blocked or uncertain")
    detail: str | None
    decision_id: str | None
    offer_id: str | None
    at: datetime
    opened_at: datetime | None
    clicked_at: datetime | None
    converted_at: datetime | None


class EnrollmentOut(Told):
    """A customer's way through a journey."""

    id: str
    journey_id: str
    version: int = Field(description="The one that the customer entered, and stays on")
    customer_id: str
    status: str = Field(description="active, stuck or ended")
    step: str | None = Field(description="null: ended")
    reason: str | None = Field(description="Why it ended")
    enrolled_at: datetime
    due_at: datetime | None = Field(description="When it moves on, if nothing happens before")
    ended_at: datetime | None
    converted_at: datetime | None
    outcomes: dict[str, str] = Field(description="By step, how it went")
    problem: str | None
    source: dict[str, Any] | None = Field(description="How the customer came in")
    messages: list[MessageOut]


class EnrollmentsOut(Told):
    """A customer's enrolments, the newest first."""

    enrollments: list[EnrollmentOut]


class TotalsOut(Told):
    """How many customers."""

    entered: int
    active: int
    stuck: int
    ended: int
    converted: int
    ended_by: dict[str, int] = Field(description="By the reason")


class StepFiguresOut(Told):
    """A step's figures."""

    id: str
    kind: str | None = Field(description="null: of an older version")
    entered: int
    waiting: int = Field(description="Now")
    sent: int
    failed: int
    blocked: int = Field(description="Stopped by consent, a cap or a pause")
    uncertain: int = Field(description="Of which it is not known whether they went")
    opened: int
    clicked: int
    converted: int
    undecided: int = Field(description="Decisions for sending nothing")
    stuck: int = Field(description="Now")
    outcomes: dict[str, int]
    blocked_by: dict[str, int]
    postponed_by: dict[str, int]
    tasks: dict[str, int] | None = Field(description="open and done; null: it makes none")
    first_run: datetime | None
    last_run: datetime | None


class TroubleOut(Told):
    """An enrolment that cannot go on."""

    enrollment_id: str
    customer_id: str
    step: str | None
    status: str
    failures: int
    problem: str | None
    next_try: datetime | None
    last_run: datetime | None


class UncertainOut(Told):
    """A message of which it is not known whether it went."""

    key: str
    customer_id: str
    step: str
    channel: str
    detail: str | None
    at: datetime


class StatsOut(Told):
    """A journey's figures."""

    journey_id: str
    name: str
    version: int
    status: Status
    enrollments: TotalsOut
    steps: list[StepFiguresOut] = Field(description="In the order of the newest version, then those of older ones")
    problems: list[TroubleOut] = Field(description="50 at most")
    uncertain: list[UncertainOut] = Field(description="50 at most, the oldest first")


class TaskOut(Told):
    """A call for a person to make."""

    key: str
    journey_id: str
    step: str
    customer_id: str
    title: str
    instructions: str
    action: dict[str, Any] | None = Field(description="What was decided for, as decisions answer it")
    decision_id: str | None
    state: Literal["open", "done"]
    due_at: datetime | None
    created_at: datetime
    closed_at: datetime | None
    outcome: str | None
    note: str | None


class TasksOut(Told):
    """Calls for people to make, those due first first."""

    tasks: list[TaskOut]

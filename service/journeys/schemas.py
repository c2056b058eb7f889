"""The journey as it is written in JSON or YAML, and the bodies of the journey routes."""

from __future__ import annotations

import re
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from features.channels import CHANNELS, Channel
from service.decisions.schemas import customer_id
from service.journeys.definition import ReentryRule, Since
from service.journeys.durations import parse_duration
from service.web.json_values import plain_json, plain_text

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


_DATED = re.compile(r"\d{4}-\d\d-\d\d")
_WALL_TIME = re.compile(r"([01]?\d|2[0-3]):([0-5]\d)(?::00)?")


def _duration(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value
    if isinstance(value, str):
        return parse_duration(value)
    raise ValueError(f"{value!r} is not a duration; write it with its unit, such as 45m, 6h or 3d")


def _clock(value: Any) -> Any:
    """A wall time `9:00` or `09:00`, or a whole hour."""
    if type(value) is int and 0 <= value < 24:
        return time(value)
    if isinstance(value, str) and (found := _WALL_TIME.fullmatch(value.strip())):
        return time(int(found[1]), int(found[2]))
    raise ValueError(f"{value!r} is no time of day; write '09:00', or a whole hour from 0 to 23")


def _moment(value: Any) -> Any:
    """pydantic would take a number, also one in quotes, for seconds since 1970."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATED.match(value.strip())):
        return value
    raise ValueError(f"{value!r} is no time; write 2026-12-24T09:00:00, or with a zone 2026-12-24T09:00:00+01:00")


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


_HOW_LONG = {"type": "string", "description": "Such as 45m, 6h, 3d, 1d12h, 2w; or in ISO 8601, such as P3D"}
_WHEN = {"type": "string", "description": "Such as 2026-12-24T09:00:00, in the customer's zone; or with a zone"}
_WHAT_HOUR = {"type": "string", "description": "Such as 09:00"}
# Told as texts: what people write is more than the formats `duration`, `date-time` and `time` of JSON Schema allow.
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema(_HOW_LONG)]
Moment = Annotated[datetime, BeforeValidator(_moment), WithJsonSchema(_WHEN)]
WallTime = Annotated[time, BeforeValidator(_clock), WithJsonSchema(_WHAT_HOUR)]
Channels = Annotated[list[Channel], BeforeValidator(_one_or_more), Field(min_length=1, max_length=len(CHANNELS))]
StepId = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Names = Annotated[list[Name], BeforeValidator(_one_or_more), Field(min_length=1, max_length=50)]
CustomerId = Annotated[str, Field(min_length=1, max_length=1024), AfterValidator(customer_id)]
Cel = Annotated[str, Field(min_length=1, max_length=4000)]


class Body(BaseModel):
    """Unknown fields are errors: a typing slip must not be a silent default."""

    model_config = ConfigDict(extra="forbid", populate_by_name=False)


class LocalHourBody(Body):
    """A wall-clock time in the customer's zone."""

    at: WallTime
    days: list[Day] = Field(default=["mon", "tue", "wed", "thu", "fri", "sat", "sun"], min_length=1)


class GoodHourBody(Body):
    """The best allowed hour for this customer and channel, at most `within` ahead."""

    channel: Channel
    within: Duration = timedelta(days=2)


class EventBody(Body):
    """`name`: event names, or `opened`, `clicked`, `delivered` of the message sent last (or of step `of`)."""

    name: Names
    where: Cel | None = None
    since: Since = "step"
    of: StepId | None = None
    timeout: Duration


class StepBody(Body):
    """Every step has an id of its own; `next` defaults to the step below it."""

    id: StepId
    note: str | None = Field(None, max_length=500)


class Linked(StepBody):
    next: str | None = None


class Forked(Linked):
    otherwise: str | None = Field(None, alias="else")


class WaitBody(Forked):
    """Exactly one of `for`, `until`, `local_hour`, `good_hour`, `event`, `not_event`."""

    kind: Literal["wait"]
    length: Duration | None = Field(None, alias="for")
    until: Moment | None = None
    local_hour: LocalHourBody | None = None
    good_hour: GoodHourBody | None = None
    event: EventBody | None = None
    not_event: EventBody | None = None

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        rules = (self.length, self.until, self.local_hour, self.good_hour, self.event, self.not_event)
        if sum(rule is not None for rule in rules) != 1:
            raise ValueError("give exactly one of for, until, local_hour, good_hour, event, not_event")
        if self.otherwise is not None and self.event is None and self.not_event is None:
            raise ValueError("else is for event and not_event; a wait for a time has one way out")
        return self


class CaseBody(Body):
    when: Cel
    next: str


class BranchBody(StepBody):
    """The first case that holds; else `else`, by default the step below."""

    kind: Literal["branch"]
    cases: list[CaseBody] = Field(min_length=1, max_length=50)
    otherwise: str | None = Field(None, alias="else")


class DecideBody(Forked):
    kind: Literal["decide"]
    placement: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*$", max_length=100)]
    channels: Channels
    offers: list[Name] | None = Field(None, min_length=1, max_length=1000)
    context: Annotated[dict[str, Any], AfterValidator(plain_json)] = Field(default_factory=dict)


class SendBody(Forked):
    """With `wait_up_to`, a message that a cap or a pause stops goes out later, at most so much; else it is skipped."""

    kind: Literal["send"]
    decision: StepId | None = None
    channels: Channels | None = None
    wait_up_to: Duration | None = None


class CallBody(Forked):
    kind: Literal["call"]
    title: Name
    instructions: str = Field("", max_length=4000)
    within: Duration | None = None


class WebhookBody(Forked):
    kind: Literal["webhook"]
    url: str = Field(max_length=2000, pattern=r"^https?://[^\s]+$")
    payload: dict[str, Any] = Field(default_factory=dict)


class SplitBody(StepBody):
    """Arms of an experiment by their keys, each with the step it leads to."""

    kind: Literal["split"]
    experiment: Name
    arms: dict[str, str] = Field(min_length=1, max_length=50)
    otherwise: str | None = Field(None, alias="else")


class SegmentBody(Linked):
    kind: Literal["segment"]
    mode: Literal["copy", "move"] = "copy"
    to: Name
    source: Name | None = Field(None, alias="from")

    @model_validator(mode="after")
    def _a_move_has_a_source(self) -> Self:
        if (self.mode == "move") != (self.source is not None):
            raise ValueError("a move needs 'from', the segment that is left; a copy has none")
        return self


class ExitBody(StepBody):
    kind: Literal["exit"]
    reason: str = Field("finished", max_length=200)


AnyStep = Annotated[
    WaitBody | BranchBody | DecideBody | SendBody | CallBody | WebhookBody | SplitBody | SegmentBody | ExitBody,
    Field(discriminator="kind"),
]


class EntryBody(Body):
    event: Name | None = None
    where: Cel | None = None
    segment: Name | None = None

    @model_validator(mode="after")
    def _one_way_in(self) -> Self:
        if self.event is not None and self.segment is not None:
            raise ValueError("give event or segment, not both")
        if self.where is not None and self.event is None:
            raise ValueError("where looks at an event; give event too")
        return self


class ReentryBody(Body):
    rule: ReentryRule = "once"
    after: Duration | None = None

    @model_validator(mode="after")
    def _after_needs_an_exit(self) -> Self:
        if self.after is not None and self.rule != "after_exit":
            raise ValueError("after belongs to the rule after_exit")
        return self


class GoalBody(Body):
    event: Name
    where: Cel | None = None
    within: Duration = timedelta(days=14)
    exit: bool = True


class CapsBody(Body):
    messages: int | None = Field(None, ge=1, le=1000)
    enrolled: int | None = Field(None, ge=1)
    lifetime: Duration = timedelta(days=365)


class JourneyBody(Body):
    """A journey: how customers come in, what it is for, and its steps in the order of the usual way through."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Welcome",
                    "entry": {"event": "Signed Up"},
                    "steps": [
                        {"id": "think", "kind": "wait", "for": "1h"},
                        {"id": "choose", "kind": "decide", "placement": "journey.welcome", "channels": ["email"]},
                        {"id": "write", "kind": "send"},
                        {"id": "end", "kind": "exit"},
                    ],
                }
            ]
        }
    )

    id: str | None = Field(None, description="As in the path; may be left out")
    name: Name = Field(description="What people call it")
    description: str = Field("", max_length=2000, description="What it is for")
    entry: EntryBody = Field(
        default_factory=EntryBody,
        description="Who comes in unasked: by an event or by being in a segment; without either, by the API alone",
    )
    reentry: ReentryBody = Field(default_factory=ReentryBody, description="Whether and when one may come in again")
    caps: CapsBody = Field(
        default_factory=CapsBody, description="At most so many messages and customers, and for how long"
    )
    goal: GoalBody | None = Field(None, description="The event that is success")
    steps: list[AnyStep] = Field(min_length=1, max_length=200, description="In the order of the usual way through")

    @model_validator(mode="after")
    def _a_segment_lets_in_again_only_after_exit(self) -> Self:
        if self.entry.segment is not None and self.reentry.rule == "always":
            raise ValueError("reentry: always needs an event or the API; a segment would let in again at every look")
        return self


class EnrollmentBody(Body):
    """Who is to enter."""

    customer_id: CustomerId = Field(description="The id that events name as userId")


class TaskBody(Body):
    """How a call ended, in the caller's words."""

    outcome: Annotated[str, Field(min_length=1, max_length=200), AfterValidator(plain_text)] = Field(
        description="How it ended, such as reached"
    )
    note: str = Field("", max_length=4000, pattern=r"^[^\x00]*$", description="What else is to be known")

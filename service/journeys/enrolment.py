"""Where one customer stands in a journey, as a frozen value, and its JSON form. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

Phase = Literal["new", "asked", "parked", "done"]
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class SentMessage:
    """What a send step sent last, and when a person first opened and clicked it."""

    at: datetime
    decision_id: str | None = None
    opened_at: datetime | None = None
    clicked_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class PlannedHour:
    """The time that a wait for a good hour chose, and the probability with which it was drawn."""

    at: datetime
    probability: float

    def covers(self, moment: datetime) -> bool:
        """Whether a message sent now goes out in the hour that was chosen."""
        return self.at <= moment < self.at + _HOUR


def hour_of(action: Mapping[str, Any]) -> PlannedHour | None:
    """The hour that a decision chose for its action; None where it says none, or not with which probability."""
    at = _time(action.get("send_at"))
    return None if at is None or "send_at_probability" not in action else PlannedHour(at, action["send_at_probability"])


@dataclass(frozen=True, slots=True)
class InboxEvent:
    """An event that came for an enrolment.

    `matches` are the wait steps whose rule it fits; `engagement` says that it is about the message of send step
    `of`; `goal` that it is the journey's goal. Machine opens and clicks never become one.
    """

    seq: int
    name: str
    at: datetime
    matches: tuple[str, ...] = ()
    engagement: Literal["delivered", "opened", "clicked"] | None = None
    of: str | None = None
    goal: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """One enrolment. `visit` counts entries into steps; a step and a visit name one piece of work for ever.

    `rested_at` is when its last wait was over: events since then count for the waits that follow. `passed` are the
    steps since. `counting` is set where a wait was entered again with no time between: it counts from there.
    `taken` are the inbox events that a wait has used up. `planned` is the hour that the last wait for a good one chose,
    until a message is sent. `trail` is what happened since the last save, for the
    counts; it is not kept.
    """

    enrolled_at: datetime
    phase: Phase = "new"
    step: str | None = None
    visit: int = 0
    entered_at: datetime | None = None
    rested_at: datetime | None = None
    passed: tuple[str, ...] = ()
    deadline: datetime | None = None
    counting: datetime | None = None
    decisions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    decision: str | None = None
    sent: Mapping[str, SentMessage] = field(default_factory=dict)
    last_sent: str | None = None
    messages: int = 0
    outcomes: Mapping[str, str] = field(default_factory=dict)
    taken: tuple[int, ...] = ()
    reason: str | None = None
    planned: PlannedHour | None = None
    trail: tuple[tuple[str, str], ...] = ()

    @property
    def done(self) -> bool:
        return self.phase == "done"


def with_engagement(state: State, event: InboxEvent) -> State:
    """Notes the first open or click of a message."""
    step = event.of or ""
    message = state.sent.get(step)
    if message is None:
        return state
    if event.engagement == "opened" and not _noted(message.opened_at, event.at):
        return replace(state, sent={**state.sent, step: replace(message, opened_at=event.at)})
    if event.engagement == "clicked" and not _noted(message.clicked_at, event.at):
        return replace(state, sent={**state.sent, step: replace(message, clicked_at=event.at)})
    return state


def _noted(known: datetime | None, at: datetime) -> bool:
    return known is not None and known <= at


def to_json(state: State) -> dict[str, Any]:
    """What is kept beside the columns `step` and `visit`: only what differs from a new enrolment."""
    kept: dict[str, Any] = {
        "phase": state.phase,
        "entered_at": state.entered_at,
        "rested_at": state.rested_at,
        "passed": list(state.passed),
        "deadline": state.deadline,
        "counting": state.counting,
        "decisions": dict(state.decisions),
        "decision": state.decision,
        "sent": {step: _sent_json(message) for step, message in state.sent.items()},
        "last_sent": state.last_sent,
        "messages": state.messages,
        "outcomes": dict(state.outcomes),
        "taken": list(state.taken),
        "planned": state.planned and {"at": state.planned.at, "probability": state.planned.probability},
    }
    return {name: value for name, value in kept.items() if value}


def from_json(
    kept: Mapping[str, Any], step: str | None, visit: int, enrolled_at: datetime, reason: str | None
) -> State:
    """The state that `to_json` kept."""
    return State(
        enrolled_at=enrolled_at,
        phase=kept.get("phase", "new"),
        step=step,
        visit=visit,
        entered_at=_time(kept.get("entered_at")),
        rested_at=_time(kept.get("rested_at")),
        passed=tuple(kept.get("passed", ())),
        deadline=_time(kept.get("deadline")),
        counting=_time(kept.get("counting")),
        decisions=kept.get("decisions", {}),
        decision=kept.get("decision"),
        sent={step: _sent(message) for step, message in kept.get("sent", {}).items()},
        last_sent=kept.get("last_sent"),
        messages=kept.get("messages", 0),
        outcomes=kept.get("outcomes", {}),
        taken=tuple(kept.get("taken", ())),
        planned=_planned(kept.get("planned")),
        reason=reason,
    )


def _sent_json(message: SentMessage) -> dict[str, Any]:
    kept = {
        "at": message.at,
        "decision_id": message.decision_id,
        "opened_at": message.opened_at,
        "clicked_at": message.clicked_at,
    }
    return {name: value for name, value in kept.items() if value is not None}


def _sent(kept: Mapping[str, Any]) -> SentMessage:
    at = _time(kept["at"])
    assert at is not None
    return SentMessage(at, kept.get("decision_id"), _time(kept.get("opened_at")), _time(kept.get("clicked_at")))


def _planned(kept: Mapping[str, Any] | None) -> PlannedHour | None:
    at = _time(kept["at"]) if kept else None
    return None if at is None or kept is None else PlannedHour(at, kept["probability"])


def _time(value: str | datetime | None) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value

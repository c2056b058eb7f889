"""When a wait is over, and which way it leads. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal
from zoneinfo import ZoneInfo

from service.decisions.quiet import local_instant
from service.journeys.commands import Moment
from service.journeys.definition import ForDuration, UntilEvent, UntilGoodHour, UntilLocalHour, UntilTime, Wait
from service.journeys.enrolment import InboxEvent, State
from service.journeys.local_time import next_local


@dataclass(frozen=True, slots=True)
class Over:
    """The wait is over since `at`: `outcome` is what a branch may look at, `satisfied` picks the way out."""

    outcome: str
    at: datetime
    satisfied: bool = True
    taken: int | None = None


@dataclass(frozen=True, slots=True)
class Until:
    """Not over before this time (or before an event)."""

    at: datetime


Question = Literal["zone", "good_hour"]


def begin(wait: Wait, state: State, moment: Moment, again: bool) -> Over | Until | Question:
    """Enters a wait. `again`: it was already passed since the enrolment last rested, so it must take time now.

    Answers with the question that must be answered first, where the wait depends on the customer.
    """
    match wait.rule:
        case ForDuration(length):
            return Until(moment.now + length)
        case UntilTime(at) if at.tzinfo is not None:
            return Over("time", moment.now) if at <= moment.now else Until(at)
        case UntilTime() | UntilLocalHour():
            return "zone"
        case UntilGoodHour(channel, within):
            decided = _decided_time(state, channel, moment.now, moment.now + within)
            return "good_hour" if decided is None or again else Until(decided)
        case UntilEvent():
            return check_event(wait, wait.rule, state, moment)


def at_zone(wait: Wait, moment: Moment, zone: ZoneInfo, again: bool) -> Over | Until:
    """A wait for a local time, once the zone is known."""
    if isinstance(wait.rule, UntilTime):
        at = local_instant(wait.rule.moment.date(), wait.rule.moment.time(), zone)
    else:
        assert isinstance(wait.rule, UntilLocalHour)
        at = next_local(moment.now, zone, wait.rule.at, wait.rule.days, strictly=again)
    return Over("time", moment.now) if at <= moment.now else Until(at)


def at_good_hour(wait: Wait, moment: Moment, best: datetime | None, again: bool) -> Over | Until:
    """A wait for a good hour, once that is known; without one it goes on at once."""
    assert isinstance(wait.rule, UntilGoodHour)
    if best is not None and best > moment.now:
        return Until(min(best, moment.now + wait.rule.within))
    if again:
        return Until(moment.now + wait.rule.within)
    return Over("time" if best is not None else "no_better_hour", moment.now)


def check_event(wait: Wait, rule: UntilEvent, state: State, moment: Moment) -> Over | Until:
    """Has the event come, or its time passed? Events after the deadline are too late, however late we look."""
    start, counted_from = anchor(rule, state, state.entered_at or moment.now)
    deadline = (state.counting or counted_from) + rule.timeout
    found = None if start is None else _first_match(wait.id, rule, state, moment, start, deadline)
    if found is not None:
        return Over("event", found.at, not rule.negated, found.seq)
    return Over("timeout", deadline, rule.negated) if deadline <= moment.now else Until(deadline)


def anchor(rule: UntilEvent, state: State, entered_at: datetime) -> tuple[datetime | None, datetime]:
    """Since when events count (None: not yet), and from when the timeout counts.

    Where nothing was delivered (a holdout, no consent), counting from delivery begins at the step, so that both sides
    of a test wait alike. Until a message is opened or clicked its timeout counts from the step.
    """
    if rule.since == "enrolment":
        return state.enrolled_at, state.enrolled_at
    message = state.sent.get(rule.of or state.last_sent or "")
    if rule.since == "step" or (rule.since == "delivery" and message is None):
        return state.rested_at, entered_at
    if message is None:
        return None, entered_at
    at = {"delivery": message.at, "open": message.opened_at, "click": message.clicked_at}[rule.since]
    return at, at or entered_at


def _first_match(
    step: str, rule: UntilEvent, state: State, moment: Moment, start: datetime, deadline: datetime
) -> InboxEvent | None:
    """The earliest event that fits. One about a message must be about the message that the wait counts from."""
    message = rule.of or state.last_sent
    fitting = (
        event
        for event in moment.events
        if step in event.matches
        and event.seq not in state.taken
        and start <= event.at <= deadline
        and event.of in (None, message)
    )
    return min(fitting, key=lambda event: (event.at, event.seq), default=None)


def _decided_time(state: State, channel: str, now: datetime, end: datetime) -> datetime | None:
    """The time that a decision not sent yet has already chosen, where it lies in the window."""
    decision = state.decisions.get(state.decision or "", {})
    for action in decision.get("actions", ()):
        if action.get("channel") == channel and action.get("send_at"):
            at = datetime.fromisoformat(action["send_at"]) if isinstance(action["send_at"], str) else action["send_at"]
            return at if now < at <= end else None
    return None


def rest(state: State, until: datetime) -> State:
    """Parks: of the steps passed only this one is remembered, and the deadline kept."""
    return replace(state, phase="parked", deadline=until, passed=state.passed[-1:])

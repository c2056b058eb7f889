"""A journey's definition as frozen values, and what can be wrong with its graph. Pure.

`schemas.py` makes these from JSON or YAML; `transitions.py` moves customers along them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any, Literal

ReentryRule = Literal["once", "after_exit", "always"]
Since = Literal["step", "enrolment", "delivery", "open", "click"]


@dataclass(frozen=True, slots=True)
class ForDuration:
    """Wait for a length of time."""

    length: timedelta


@dataclass(frozen=True, slots=True)
class UntilTime:
    """Wait until a moment: aware, or without a zone and then in the customer's."""

    moment: datetime


@dataclass(frozen=True, slots=True)
class UntilLocalHour:
    """Wait until a wall-clock time in the customer's zone, on some weekdays (Monday 0)."""

    at: time
    days: frozenset[int]


@dataclass(frozen=True, slots=True)
class UntilGoodHour:
    """Wait until the hour in which this customer most probably responds on a channel, at most `within` ahead."""

    channel: str
    within: timedelta


@dataclass(frozen=True, slots=True)
class UntilEvent:
    """Wait until an event comes (or, `negated`, until it has not come) within `timeout` of what it is counted from."""

    names: tuple[str, ...]
    timeout: timedelta
    negated: bool = False
    where: str | None = None
    since: Since = "step"
    of: str | None = None


WaitRule = ForDuration | UntilTime | UntilLocalHour | UntilGoodHour | UntilEvent


@dataclass(frozen=True, slots=True)
class Wait:
    """Satisfied goes to `next`; an event that did not come (or came, when negated) goes to `otherwise`."""

    id: str
    rule: WaitRule
    next: str | None
    otherwise: str | None


@dataclass(frozen=True, slots=True)
class Case:
    """A CEL condition and where it leads."""

    when: str
    next: str | None


@dataclass(frozen=True, slots=True)
class Branch:
    """The first case that holds leads on; else `otherwise`."""

    id: str
    cases: tuple[Case, ...]
    otherwise: str | None


@dataclass(frozen=True, slots=True)
class Decide:
    """Asks for a decision; `otherwise` when it holds no action (a holdout, or nothing worth sending)."""

    id: str
    placement: str
    channels: tuple[str, ...]
    next: str | None
    otherwise: str | None
    offers: tuple[str, ...] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Send:
    """Sends the best action of a decision (the last, or `decision`'s); `otherwise` when it was not sent.

    A message that a rule stops for a time waits for its end, at most `wait_up_to`; without that it is not sent.
    """

    id: str
    next: str | None
    otherwise: str | None
    decision: str | None = None
    channels: tuple[str, ...] | None = None
    wait_up_to: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A task for a person."""

    id: str
    title: str
    instructions: str
    next: str | None
    otherwise: str | None
    within: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Webhook:
    """Calls an address of the user's, signed; `otherwise` when it refused."""

    id: str
    url: str
    payload: Mapping[str, Any]
    next: str | None
    otherwise: str | None


@dataclass(frozen=True, slots=True)
class Split:
    """An experiment's arms lead to different steps; `otherwise` for arms not named and for who is not in it."""

    id: str
    experiment: str
    arms: Mapping[str, str | None]
    otherwise: str | None


@dataclass(frozen=True, slots=True)
class Segment:
    """Puts the customer into segment `to`; a move takes them out of `source` too."""

    id: str
    mode: Literal["copy", "move"]
    to: str
    source: str | None
    next: str | None


@dataclass(frozen=True, slots=True)
class Exit:
    """Ends the journey."""

    id: str
    reason: str


Step = Wait | Branch | Decide | Send | Call | Webhook | Split | Segment | Exit


@dataclass(frozen=True, slots=True)
class Goal:
    """What the journey is for; reaching it within the window counts as conversion and, with `exit`, ends it."""

    event: str
    within: timedelta
    where: str | None = None
    exit: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """What enrols a customer by itself: an event, or being in a segment. Neither: the API alone."""

    event: str | None = None
    where: str | None = None
    segment: str | None = None


@dataclass(frozen=True, slots=True)
class Reentry:
    """`once` ever; `after_exit`, perhaps some time `after` it; or `always`, also beside a running enrolment."""

    rule: ReentryRule = "once"
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Caps:
    """Limits: messages and days of one enrolment, customers enrolled at a time."""

    messages: int | None = None
    enrolled: int | None = None
    lifetime: timedelta = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class Journey:
    """One immutable version of a journey."""

    id: str
    name: str
    steps: Mapping[str, Step]
    first: str
    description: str = ""
    entry: Entry = field(default_factory=Entry)
    reentry: Reentry = field(default_factory=Reentry)
    caps: Caps = field(default_factory=Caps)
    goal: Goal | None = None

    def event_waits(self) -> list[tuple[str, UntilEvent]]:
        """The steps that wait for an event, with their rules."""
        return [
            (step.id, step.rule)
            for step in self.steps.values()
            if isinstance(step, Wait) and isinstance(step.rule, UntilEvent)
        ]


def kind_of(step: Step) -> str:
    """The kind as the definition writes it: `wait`, `branch` …"""
    return type(step).__name__.lower()


def links_of(step: Step) -> list[tuple[str, str | None]]:
    """(field, target) of every way out; the target None ends the journey."""
    match step:
        case Exit():
            return []
        case Branch():
            cases = [(f"cases[{index}].next", case.next) for index, case in enumerate(step.cases)]
            return [*cases, ("else", step.otherwise)]
        case Split():
            return [*((f"arms.{arm}", target) for arm, target in step.arms.items()), ("else", step.otherwise)]
        case Segment():
            return [("next", step.next)]
        case _ if step.otherwise == step.next:
            return [("next", step.next)]
        case _:
            return [("next", step.next), ("else", step.otherwise)]


def takes_time(step: Step) -> bool:
    """Whether coming back to this step always means a later time: what a cycle needs at least one of."""
    return isinstance(step, Wait) and not isinstance(step.rule, UntilTime)


def graph_faults(journey: Journey) -> list[tuple[str, str, str]]:
    """(step, field, fault) of each wrong link, unreachable step and cycle without a wait, in the steps' order."""
    faults = [
        (step.id, name, f"leads to {target!r}, which is no step; the steps are {', '.join(journey.steps)}")
        for step in journey.steps.values()
        for name, target in links_of(step)
        if target is not None and target not in journey.steps
    ]
    if faults:
        return faults
    return _unreachable(journey) + _timeless_cycles(journey) + _wrong_references(journey)


def _unreachable(journey: Journey) -> list[tuple[str, str, str]]:
    seen, stack = set[str](), [journey.first]
    while stack:
        current = stack.pop()
        if current not in seen:
            seen.add(current)
            stack += [target for _, target in links_of(journey.steps[current]) if target is not None]
    return [
        (step, "id", "cannot be reached from the first step; link to it or remove it")
        for step in journey.steps
        if step not in seen
    ]


def _timeless_cycles(journey: Journey) -> list[tuple[str, str, str]]:
    """Cycles among the steps that take no time, found by taking away steps until only cycles are left."""
    quick = {step.id: step for step in journey.steps.values() if not takes_time(step)}
    out = {
        step_id: {target for _, target in links_of(step) if target in quick and target is not None}
        for step_id, step in quick.items()
    }
    while leaves := [step_id for step_id, targets in out.items() if not targets & out.keys()]:
        for step_id in leaves:
            del out[step_id]
    on_cycle = [step_id for step_id in out if _returns(step_id, out)]
    return [(step_id, "next", "is on a cycle without a wait; put a wait into it") for step_id in on_cycle[:1]]


def _returns(start: str, out: Mapping[str, set[str]]) -> bool:
    seen, stack = set[str](), list(out[start] & out.keys())
    while stack:
        current = stack.pop()
        if current == start:
            return True
        if current not in seen:
            seen.add(current)
            stack += out[current] & out.keys()
    return False


def _wrong_references(journey: Journey) -> list[tuple[str, str, str]]:
    """Steps that name another step by its work: a send its decide, a wait the send it counts from."""
    faults = []
    decides = any(isinstance(step, Decide) for step in journey.steps.values())
    sends = any(isinstance(step, Send) for step in journey.steps.values())
    for step in journey.steps.values():
        if isinstance(step, Send):
            if step.decision is not None and not isinstance(journey.steps.get(step.decision), Decide):
                faults.append((step.id, "decision", f"{step.decision!r} is no decide step"))
            elif not decides:
                faults.append((step.id, "decision", "there is no decide step; a send carries out a decision"))
            elif step.channels is not None and not (open_to := _decided_on(journey, step)).intersection(step.channels):
                told = f"what it sends is decided for {', '.join(sorted(open_to))} only, so nothing would ever go"
                faults.append((step.id, "channels", told))
        if isinstance(step, Wait) and isinstance(step.rule, UntilEvent):
            if step.rule.of is not None and not isinstance(journey.steps.get(step.rule.of), Send):
                faults.append((step.id, "of", f"{step.rule.of!r} is no send step"))
            elif step.rule.since in {"delivery", "open", "click"} and not sends:
                faults.append((step.id, "since", f"counts from {step.rule.since}, but no step sends"))
    return faults


def _decided_on(journey: Journey, send: Send) -> set[str]:
    """The channels that the decisions which a send may carry out are asked for."""
    decides = [step for step in journey.steps.values() if isinstance(step, Decide)]
    return {one for step in decides if send.decision in {None, step.id} for one in step.channels}

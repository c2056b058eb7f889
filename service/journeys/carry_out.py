"""Carries out the interpreter's commands that send nothing: questions, decisions, segments, experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from service.journeys import conditions
from service.journeys.collaborators import Collaborators
from service.journeys.commands import (
    Answer,
    AskDecision,
    AskGoodHour,
    AskZone,
    Assign,
    Assigned,
    ChangeSegments,
    Command,
    Decided,
    Done,
    End,
    Evaluate,
    Evaluated,
    GoodHourIs,
    Halt,
    Moment,
    Park,
    ZoneIs,
)
from service.journeys.definition import Journey
from service.journeys.enrolment import State
from service.journeys.enrolment_store import Enrolment
from service.journeys.intent_store import intent_key
from service.journeys.local_time import zone_or
from service.journeys.transitions import answered


@dataclass(slots=True)
class Run:
    """One enrolment on its way through a pass. `retry_at` and `problem` are set when something failed."""

    enrolment: Enrolment
    journey: Journey
    moment: Moment
    state: State
    command: Command
    retry_at: datetime | None = None
    problem: str | None = None
    undecided: list[str] = field(default_factory=list)
    lost: bool = False

    @property
    def rests(self) -> bool:
        """Nothing more to do in this pass."""
        return self.lost or self.problem is not None or isinstance(self.command, (Park, End, Halt))

    @property
    def customer_id(self) -> str:
        return self.enrolment.customer_id

    def take(self, answer: Answer) -> None:
        """Moves on by an answer."""
        self.state, self.command = answered(self.journey, self.state, self.moment, answer)


def counts_of(runs: Iterable[Run]) -> dict[tuple[str, int, str, str], int]:
    """What happened at the steps since the last save: (journey, version, step, what) -> how often."""
    counts: Counter[tuple[str, int, str, str]] = Counter()
    for run in runs:
        key = (run.journey.id, run.enrolment.version)
        counts.update((*key, step, what) for step, what in run.state.trail)
        counts.update((*key, step, "undecided") for step in run.undecided)
    return counts


def forget_counts(runs: Iterable[Run]) -> None:
    """Called when the counts are saved."""
    for run in runs:
        run.state = replace(run.state, trail=())
        run.undecided.clear()


def carry_out(run: Run, ask: Collaborators) -> Answer:
    """The answer to a command. Whatever a collaborator raises comes through."""
    command, customer_id, now = run.command, run.customer_id, run.moment.now
    match command:
        case AskZone():
            zone, known = zone_or(ask.zone_of(customer_id), ask.default_zone)
            return ZoneIs(zone.key, known)
        case AskGoodHour(channel, start, end):
            return GoodHourIs(ask.good_hour(customer_id, channel, start, end))
        case Evaluate(expressions):
            return _evaluate(run, expressions, ask)
        case AskDecision():
            return Decided(_decide(run, command, ask))
        case Assign(experiment):
            return Assigned(ask.assign(experiment, customer_id, now))
        case ChangeSegments(add, remove):
            ask.change_segments(customer_id, add, remove, now)
            return Done()
    raise TypeError(f"{type(command).__name__} is not carried out here")


def _decide(run: Run, command: AskDecision, ask: Collaborators) -> Mapping[str, Any]:
    context = {"journey": run.journey.id, "step": command.step} | dict(command.context)
    return ask.decide(
        customer_id=run.customer_id,
        placement=command.placement,
        channels=command.channels,
        context=context,
        at=run.moment.now,
        offers=command.offers,
        key=intent_key(run.enrolment.id, command.step, command.visit),
    )


def _evaluate(run: Run, expressions: tuple[str, ...], ask: Collaborators) -> Evaluated:
    """Stops at the first that holds: the others are not needed."""
    values = branch_values(run, ask.facts(run.customer_id, run.moment.now))
    verdicts: list[bool] = []
    for expression in expressions:
        answer = conditions.holds(expression, conditions.BRANCH, values)
        if answer.missing is not None or answer.problem is not None:
            run.undecided.append(run.state.step or "")
        verdicts.append(answer.holds)
        if answer.holds:
            break
    return Evaluated((*verdicts, *([False] * (len(expressions) - len(verdicts)))))


def branch_values(run: Run, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What a branch's conditions see: `customer`, `decision`, `steps`, `journey`, `now`."""
    state = run.state
    decision = state.decisions.get(state.decision or "", {})
    actions = decision.get("actions", ())
    first = {name: value for name, value in (actions[0] if actions else {}).items() if _is_plain(value)}
    return {
        "customer": facts,
        "decision": {"decision_id": decision.get("decision_id"), "arm": decision.get("arm")} | first,
        "steps": {step: {"outcome": outcome} for step, outcome in state.outcomes.items()},
        "journey": {"id": run.journey.id, "version": run.enrolment.version, "enrolled_at": state.enrolled_at},
        "now": run.moment.now,
    }


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool))

"""Carries out the interpreter's commands that send nothing: questions, decisions, segments, experiments."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service.decisions.quiet import zone_of
from service.journeys import conditions
from service.journeys.collaborators import Collaborators, DecisionRequest
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
from service.journeys.transitions import answered

log = logging.getLogger(__name__)
_TOGETHER = 100


@dataclass(slots=True)
class Run:
    """One enrolment on its way through a pass. `problem` is set when something failed."""

    enrolment: Enrolment
    journey: Journey
    moment: Moment
    state: State
    command: Command
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


def carry_out(runs: Sequence[Run], ask: Collaborators) -> list[Answer | Exception]:
    """The answers to commands that send nothing, in the runs' order; an exception where one could not be had.

    Like questions are asked together. When that fails each is asked by itself, so that one customer's fault is his.
    """
    groups: dict[object, list[int]] = {}
    for place, run in enumerate(runs):
        groups.setdefault(_likeness(run.command), []).append(place)
    answers: dict[int, Answer | Exception] = {}
    for places in groups.values():
        for start in range(0, len(places), _TOGETHER):
            some = places[start : start + _TOGETHER]
            answers |= dict(zip(some, _ask([runs[place] for place in some], ask), strict=True))
    return [answers[place] for place in range(len(runs))]


def _likeness(command: Command) -> object:
    match command:
        case Assign() | ChangeSegments():
            return command
    return type(command)


def _ask(runs: Sequence[Run], ask: Collaborators) -> Sequence[Answer | Exception]:
    try:
        answers = _answers(runs, ask)
        if len(answers) != len(runs):
            raise RuntimeError(f"{len(runs)} questions got {len(answers)} answers")
        return answers
    except Exception as fault:
        if len(runs) == 1:
            return [fault]
        log.warning("%d questions together failed; each is asked by itself", len(runs), exc_info=True)
        return [_ask([run], ask)[0] for run in runs]


def _answers(runs: Sequence[Run], ask: Collaborators) -> Sequence[Answer]:
    ids, now = [run.customer_id for run in runs], runs[0].moment.now
    match runs[0].command:
        case AskZone():
            zones = ask.zones(ids)
            return [ZoneIs(zone_of(zones.get(one), ask.default_zone)[0].key) for one in ids]
        case AskGoodHour():
            return [_good_hour(run, ask) for run in runs]
        case Evaluate():
            facts = ask.facts(ids, now)
            return [_evaluate(run, facts[run.customer_id]) for run in runs]
        case AskDecision():
            return [Decided(decision) for decision in ask.decide([_request(run) for run in runs])]
        case Assign(experiment):
            arms = ask.assign(experiment, ids, now)
            return [Assigned(arms.get(one)) for one in ids]
        case ChangeSegments(add, remove):
            ask.change_segments(ids, add, remove, now)
            return [Done()] * len(runs)
    raise TypeError(f"{type(runs[0].command).__name__} is not carried out here")


def _good_hour(run: Run, ask: Collaborators) -> GoodHourIs:
    assert isinstance(run.command, AskGoodHour)
    command = run.command
    key = intent_key(run.enrolment.id, command.step, command.visit)
    planned = ask.good_hour(run.customer_id, command.channel, command.start, command.end, key)
    return GoodHourIs(None) if planned is None else GoodHourIs(planned.at, planned.probability)


def _request(run: Run) -> DecisionRequest:
    command = run.command
    assert isinstance(command, AskDecision)
    return DecisionRequest(
        customer_id=run.customer_id,
        placement=command.placement,
        channels=command.channels,
        at=run.moment.now,
        key=intent_key(run.enrolment.id, command.step, command.visit),
        offers=command.offers,
        context=context_of(run, command),
    )


def context_of(run: Run, asked: AskDecision) -> dict[str, Any]:
    """What a decision of this run is asked for with."""
    return {"journey": run.journey.id, "step": asked.step} | dict(asked.context)


def _evaluate(run: Run, facts: Mapping[str, Any]) -> Evaluated:
    """Stops at the first that holds: the others are not needed."""
    assert isinstance(run.command, Evaluate)
    values = branch_values(run, facts)
    verdicts: list[bool] = []
    for expression in run.command.expressions:
        answer = conditions.holds(expression, conditions.BRANCH, values)
        if answer.missing is not None or answer.problem is not None:
            run.undecided.append(run.state.step or "")
        verdicts.append(answer.holds)
        if answer.holds:
            break
    return Evaluated((*verdicts, *([False] * (len(run.command.expressions) - len(verdicts)))))


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

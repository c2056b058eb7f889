"""The interpreter: one enrolment, one answer -> its next state and one command. Pure: no clock, SQL or framework.

The runner starts with `wake`, carries out the command, hands the answer to `answered`, and so on until the command
is `Park`, `End` or `Halt`. The same definition, state and inputs give the same result always; a `SendMessage` names
its step and visit, and is given again for that visit only when it was postponed or its answer was never noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from service.decisions.quiet import zone_of
from service.journeys.commands import (
    Answer,
    AskDecision,
    AskGoodHour,
    AskZone,
    Assign,
    Assigned,
    CallWebhook,
    ChangeSegments,
    Command,
    Decided,
    Delivered,
    Done,
    End,
    Evaluate,
    Evaluated,
    GoodHourIs,
    Halt,
    Moment,
    OpenTask,
    Park,
    Postponed,
    SendMessage,
    ZoneIs,
)
from service.journeys.definition import (
    Branch,
    Call,
    Decide,
    Exit,
    Journey,
    Segment,
    Send,
    Split,
    Step,
    UntilEvent,
    UntilGoodHour,
    Wait,
    Webhook,
)
from service.journeys.enrolment import PlannedHour, SentMessage, State, with_engagement
from service.journeys.waits import Over, Until, at_good_hour, at_zone, begin, check_event, rest

Result = tuple[State, Command]
MAX_STEPS_AT_ONCE = 1_000


def wake(journey: Journey, state: State, moment: Moment) -> Result:
    """What to do for an enrolment that is due: new, waited long enough, met by an event, or left behind by a crash."""
    if state.done:
        return state, End(state.reason or "finished")
    state = _with_events(state, moment)
    if _goal_reached(journey, state, moment):
        return _end(state, "goal")
    if moment.now - state.enrolled_at >= journey.caps.lifetime:
        return _end(state, "expired")
    if state.phase == "new":
        return _enter(journey, replace(state, rested_at=state.enrolled_at), journey.first, moment)
    step = journey.steps.get(state.step or "")
    if step is None:
        return state, Halt(f"step {state.step!r} is not in this version of the journey")
    if state.phase == "asked":
        return _ask(journey, step, state, moment)
    return _wake_parked(journey, step, state, moment)


def answered(journey: Journey, state: State, moment: Moment, answer: Answer) -> Result:
    """Takes the answer to the last command."""
    if state.phase != "asked" or state.step is None:
        raise ValueError(f"nothing was asked of an enrolment that is {state.phase}")
    step = journey.steps[state.step]
    state = _with_events(state, moment)
    if isinstance(answer, Postponed):
        if answer.rule is not None:
            state = replace(state, trail=(*state.trail, (step.id, f"postponed.{answer.rule}")))
        return _park(journey, replace(state, phase="asked"), moment, Until(answer.until))
    match step, answer:
        case Wait(), ZoneIs(name):
            zone, _ = zone_of(name, "UTC")
            return _waited(journey, step, state, moment, at_zone(step, moment, zone, state.counting is not None))
        case Wait(), GoodHourIs(at, probability):
            state = replace(state, planned=None if at is None else PlannedHour(at, probability))
            return _waited(journey, step, state, moment, at_good_hour(step, moment, at, state.counting is not None))
        case Branch(), Evaluated(values):
            return _branched(journey, step, state, moment, values)
        case Decide(), Decided(decision):
            return _decided(journey, step, state, moment, decision)
        case ((Send() | Call() | Webhook()), Delivered()):
            return _delivered(journey, step, state, moment, answer)
        case Split(), Assigned(arm):
            return _leave(journey, state, moment, arm or "none", step.arms.get(arm or "", step.otherwise))
        case Segment(), Done():
            return _leave(journey, state, moment, "done", step.next)
    raise ValueError(f"step {step.id!r} cannot take the answer {type(answer).__name__}")


def _enter(journey: Journey, state: State, target: str | None, moment: Moment) -> Result:
    """Goes into a step, or ends where there is none."""
    if target is None:
        return _end(state, "finished")
    if len(state.passed) >= MAX_STEPS_AT_ONCE:
        return state, Halt(f"{MAX_STEPS_AT_ONCE:,} steps without a rest; the journey turns in a circle at {target!r}")
    again = target in state.passed
    state = replace(
        state,
        phase="asked",
        step=target,
        visit=state.visit + 1,
        entered_at=moment.now,
        passed=(*state.passed, target),
        counting=moment.now if again else None,
        deadline=None,
        trail=(*state.trail, (target, "entered")),
    )
    return _ask(journey, journey.steps[target], state, moment)


def _ask(journey: Journey, step: Step, state: State, moment: Moment) -> Result:
    """The command of a step that has been entered and not been answered."""
    match step:
        case Wait():
            return _waiting(journey, step, state, moment)
        case Branch():
            return state, Evaluate(tuple(case.when for case in step.cases))
        case Decide():
            return state, _asked(step, state.visit)
        case Send():
            return _send(journey, step, state, moment)
        case Call():
            due = None if step.within is None or state.entered_at is None else state.entered_at + step.within
            decision_id, action = _chosen(state, state.decision, None)
            asked = _asked_at(journey, state.decision)
            return state, OpenTask(step.id, state.visit, step.title, step.instructions, due, decision_id, action, asked)
        case Webhook():
            return state, CallWebhook(step.id, state.visit, step.url, step.payload)
        case Split():
            return state, Assign(step.experiment)
        case Segment():
            return state, ChangeSegments(step.to, step.source)
        case Exit():
            return _end(state, step.reason)


def _waiting(journey: Journey, step: Wait, state: State, moment: Moment) -> Result:
    begun = begin(step, state, moment, state.counting is not None)
    if isinstance(begun, (Over, Until)):
        return _waited(journey, step, state, moment, begun)
    if isinstance(step.rule, UntilGoodHour):
        return state, AskGoodHour(step.id, state.visit, step.rule.channel, moment.now, moment.now + step.rule.within)
    return state, AskZone()


def _waited(journey: Journey, step: Wait, state: State, moment: Moment, result: Over | Until) -> Result:
    if isinstance(result, Until):
        return _park(journey, state, moment, result)
    state = replace(state, rested_at=_later(state.rested_at, result.at))
    if result.taken is not None:
        state = replace(state, taken=(*state.taken, result.taken))
    return _leave(journey, state, moment, result.outcome, step.next if result.satisfied else step.otherwise)


def _wake_parked(journey: Journey, step: Step, state: State, moment: Moment) -> Result:
    if isinstance(step, Wait) and isinstance(step.rule, UntilEvent):
        result = check_event(step, step.rule, state, moment)
        if isinstance(result, Until):
            return _park(journey, state, moment, result)
        return _waited(journey, step, state, moment, result)
    if state.deadline is not None and moment.now < state.deadline:
        return _park(journey, state, moment, Until(state.deadline))
    state = replace(state, phase="asked", rested_at=_later(state.rested_at, state.deadline or moment.now))
    if isinstance(step, Wait):
        return _leave(journey, state, moment, "time", step.next)
    return _ask(journey, step, state, moment)


def _branched(journey: Journey, step: Branch, state: State, moment: Moment, values: tuple[bool, ...]) -> Result:
    if len(values) != len(step.cases):
        raise ValueError(f"step {step.id!r} asked {len(step.cases)} conditions and got {len(values)} verdicts")
    for index, (case, value) in enumerate(zip(step.cases, values, strict=True)):
        if value:
            return _leave(journey, state, moment, f"case_{index + 1}", case.next)
    return _leave(journey, state, moment, "else", step.otherwise)


def _decided(journey: Journey, step: Decide, state: State, moment: Moment, decision: Mapping[str, Any]) -> Result:
    actions: dict[str, dict[str, Any]] = {}
    for action in decision.get("actions", ()):  # the best of each channel, without the reasons: waiting rows are many
        actions.setdefault(action["channel"], {name: part for name, part in action.items() if name != "reasons"})
    kept = {
        "decision_id": decision.get("decision_id"),
        "arm": decision.get("arm"),
        "actions": list(actions.values()),
    }
    state = replace(state, decisions={**state.decisions, step.id: kept}, decision=step.id)
    if not kept["actions"]:
        return _leave(journey, state, moment, "nothing", step.otherwise)
    return _leave(journey, state, moment, "action", step.next)


def _send(journey: Journey, step: Send, state: State, moment: Moment) -> Result:
    decision_id, action = _chosen(state, step.decision or state.decision, step.channels)
    if action is None:
        return _leave(journey, state, moment, "nothing", step.otherwise)
    if journey.caps.messages is not None and state.messages >= journey.caps.messages:
        return _leave(journey, state, moment, "capped", step.otherwise)
    limit = None if step.wait_up_to is None or state.entered_at is None else state.entered_at + step.wait_up_to
    asked = _asked_at(journey, step.decision or state.decision)
    return state, SendMessage(step.id, state.visit, decision_id, action, asked, limit)


def _asked(step: Decide, visit: int) -> AskDecision:
    return AskDecision(step.id, visit, step.placement, step.channels, step.offers, step.context)


def _asked_at(journey: Journey, decided_at: str | None) -> AskDecision | None:
    """What a decide step asks for."""
    step = journey.steps.get(decided_at or "")
    return _asked(step, 0) if isinstance(step, Decide) else None


def _chosen(
    state: State, decided_at: str | None, channels: tuple[str, ...] | None
) -> tuple[str | None, Mapping[str, Any] | None]:
    """The decision's best action on one of the channels."""
    decision = state.decisions.get(decided_at or "", {})
    fitting = (
        action for action in decision.get("actions", ()) if channels is None or action.get("channel") in channels
    )
    return decision.get("decision_id"), next(fitting, None)


def _delivered(
    journey: Journey, step: Send | Call | Webhook, state: State, moment: Moment, answer: Delivered
) -> Result:
    sent = answer.outcome in {"sent", "uncertain"}
    if answer.rule is not None:
        state = replace(state, trail=(*state.trail, (step.id, f"blocked.{answer.rule}")))
    if isinstance(step, Send) and sent:
        decided_at = step.decision or state.decision or ""
        decision = state.decisions.get(decided_at, {})
        state = replace(
            state,
            sent={**state.sent, step.id: SentMessage(moment.now, decision.get("decision_id"))},
            last_sent=step.id,
            planned=None,
            messages=state.messages + 1,
            decisions={**state.decisions, decided_at: _without_words(decision)},
        )
    return _leave(journey, state, moment, answer.outcome, step.next if sent else step.otherwise)


def _without_words(decision: Mapping[str, Any]) -> dict[str, Any]:
    """Once sent, the words are kept by the decision log, not by every waiting row."""
    actions = [{k: v for k, v in action.items() if k != "content"} for action in decision.get("actions", ())]
    return {**decision, "actions": actions}


def _leave(journey: Journey, state: State, moment: Moment, outcome: str, target: str | None) -> Result:
    """Notes how the step ended and goes on."""
    assert state.step is not None
    state = replace(
        state,
        phase="asked",
        outcomes={**state.outcomes, state.step: outcome},
        counting=None,
        trail=(*state.trail, (state.step, f"outcome.{outcome}")),
    )
    return _enter(journey, state, target, moment)


def _park(journey: Journey, state: State, moment: Moment, until: Until) -> Result:
    """Rests until a time, at most to the end of the enrolment's lifetime."""
    end = state.enrolled_at + journey.caps.lifetime
    at = max(min(until.at, end), moment.now)
    return rest(state, until.at), Park(at)


def _end(state: State, reason: str) -> Result:
    trail = (*state.trail, ("", f"ended.{reason}"))
    return replace(state, phase="done", reason=reason, deadline=None, trail=trail), End(reason)


def _later(known: datetime | None, at: datetime) -> datetime:
    """A wait that is over began the rest of the way when it was over, not when somebody looked."""
    return at if known is None else max(known, at)


def _with_events(state: State, moment: Moment) -> State:
    for event in moment.events:
        if event.engagement is not None:
            state = with_engagement(state, event)
    return state


def _goal_reached(journey: Journey, state: State, moment: Moment) -> bool:
    goal = journey.goal
    return (
        goal is not None
        and goal.exit
        and any(
            event.goal and state.enrolled_at <= event.at <= state.enrolled_at + goal.within for event in moment.events
        )
    )

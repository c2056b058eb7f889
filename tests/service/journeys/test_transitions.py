"""The interpreter: terminates, is deterministic, never sends twice for one visit; and each step's ways."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from service.errors import Invalid
from service.journeys.commands import (
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
from service.journeys.definition import Journey, Since, UntilEvent, UntilGoodHour, Wait
from service.journeys.enrolment import InboxEvent, PlannedHour, SentMessage, State, from_json, to_json
from service.journeys.parse_definition import parse_journey
from service.journeys.transitions import answered, wake
from service.journeys.waits import Over, Until, anchor, at_good_hour

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ACTION = {"rank": 1, "offer_id": "o1", "channel": "email", "content": {"subject": "Hi", "body": "x"}, "reasons": []}
DECISION = {"decision_id": "d1", "arm": "model", "actions": [ACTION]}


def journey(*steps: dict[str, Any], **more: Any) -> Journey:
    return parse_journey({"name": "Test", "steps": list(steps), **more}, "test")[0]


DECIDE = {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email"]}
SEND = {"id": "send", "kind": "send"}


def start(definition: Journey, now: datetime = T0, events: tuple[InboxEvent, ...] = ()) -> tuple[State, Command]:
    return wake(definition, State(enrolled_at=now), Moment(now, events))


def sent(definition: Journey, now: datetime = T0) -> tuple[State, Command]:
    """Runs decide and send; both take no time."""
    state, command = start(definition, now)
    assert isinstance(command, AskDecision)
    state, command = answered(definition, state, Moment(now), Decided(DECISION))
    assert isinstance(command, SendMessage)
    return answered(definition, state, Moment(now), Delivered("sent"))


def event(seq: int, at: datetime, *matches: str, **more: Any) -> InboxEvent:
    return InboxEvent(seq, "Order Completed", at, matches, **more)


def test_a_wait_for_a_time_parks_and_goes_on_when_it_is_over() -> None:
    definition = journey({"id": "rest", "kind": "wait", "for": "2h"}, {"id": "bye", "kind": "exit", "reason": "ok"})
    state, command = start(definition)
    assert command == Park(T0 + 2 * HOUR)
    state, command = wake(definition, state, Moment(T0 + HOUR))
    assert command == Park(T0 + 2 * HOUR)
    state, command = wake(definition, state, Moment(T0 + 2 * HOUR))
    assert command == End("ok")
    assert state.outcomes == {"rest": "time"}


def test_a_local_hour_is_the_customers_on_the_days_the_clocks_change() -> None:
    definition = journey({"id": "morning", "kind": "wait", "local_hour": {"at": "02:30"}})
    before = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)  # Berlin skips 02:30 on the 29th
    state, command = start(definition, before)
    assert command == AskZone()
    _, command = answered(definition, state, Moment(before), ZoneIs("Europe/Berlin"))
    assert command == Park(datetime(2026, 3, 29, 1, 0, tzinfo=UTC))
    autumn = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)  # and has it twice on the 25th: the first counts
    state, command = start(definition, autumn)
    _, command = answered(definition, state, Moment(autumn), ZoneIs("Europe/Berlin"))
    assert command == Park(datetime(2026, 10, 25, 0, 30, tzinfo=UTC))


def test_a_local_hour_that_is_now_does_not_wait_but_takes_a_day_when_it_comes_round_again() -> None:
    definition = journey(
        {"id": "ten", "kind": "wait", "local_hour": {"at": "10:00"}},
        {"id": "again", "kind": "branch", "cases": [{"when": "true", "next": "ten"}]},
    )
    state, _ = start(definition)
    state, command = answered(definition, state, Moment(T0), ZoneIs("UTC"))
    assert isinstance(command, Evaluate)
    state, command = answered(definition, state, Moment(T0), Evaluated((True,)))
    assert command == AskZone()
    state, command = answered(definition, state, Moment(T0), ZoneIs("UTC"))
    assert command == Park(T0 + DAY)


@pytest.mark.parametrize(
    ("until", "zone", "at"),
    [
        ("2026-03-29T09:00", "Europe/Berlin", datetime(2026, 3, 29, 7, tzinfo=UTC)),
        ("2026-03-29T02:30", "Europe/Berlin", datetime(2026, 3, 29, 1, tzinfo=UTC)),  # skipped: when the clocks go on
        ("2026-03-29T09:00+05:00", None, datetime(2026, 3, 29, 4, tzinfo=UTC)),
    ],
)
def test_a_moment_without_a_zone_is_by_the_customers_clock(until: str, zone: str | None, at: datetime) -> None:
    definition = journey({"id": "moment", "kind": "wait", "until": until}, {"id": "bye", "kind": "exit"})
    state, command = start(definition)
    if zone is not None:
        assert command == AskZone()
        state, command = answered(definition, state, Moment(T0), ZoneIs(zone))
    assert command == Park(at)


def test_a_good_hour_comes_from_the_decision_if_there_is_one_else_is_asked_for() -> None:
    wait = {"id": "hour", "kind": "wait", "good_hour": {"channel": "email", "within": "2d"}}
    definition = journey(wait)
    state, command = start(definition)
    assert command == AskGoodHour("hour", 1, "email", T0, T0 + 2 * DAY)
    assert answered(definition, state, Moment(T0), GoodHourIs(T0 + HOUR))[1] == Park(T0 + HOUR)
    assert answered(definition, state, Moment(T0), GoodHourIs(None))[1] == End("finished")
    waiting, _ = answered(definition, state, Moment(T0), GoodHourIs(T0 + HOUR, 0.95))
    assert waiting.planned == PlannedHour(T0 + HOUR, 0.95)
    assert from_json(to_json(waiting), waiting.step, waiting.visit, T0, None).planned == waiting.planned
    decided = journey(DECIDE, wait, SEND)
    state, command = start(decided)
    timed = DECISION | {"actions": [ACTION | {"send_at": (T0 + 5 * HOUR).isoformat()}]}
    state, command = answered(decided, state, Moment(T0), Decided(timed))
    assert command == Park(T0 + 5 * HOUR)
    assert state.passed == ("hour",)  # whoever comes back to what was before has rested since


@pytest.mark.parametrize(("came", "counts"), [(T0 + HOUR / 2, False), (T0 + HOUR, True), (T0 + 2 * HOUR, True)])
def test_events_count_from_when_the_last_wait_was_over_however_late_one_looks(came: datetime, counts: bool) -> None:
    definition = journey(
        {"id": "rest", "kind": "wait", "for": "1h"},
        {"id": "x", "kind": "wait", "event": {"name": "X", "since": "enrolment", "timeout": "1d"}, "else": "exit"},
        {"id": "y", "kind": "wait", "event": {"name": "Y", "timeout": "1d"}, "next": "won", "else": "exit"},
        {"id": "won", "kind": "exit", "reason": "won"},
    )
    state, command = start(definition)
    assert command == Park(T0 + HOUR)
    before = InboxEvent(1, "X", T0 + HOUR / 4, matches=("x",))  # over before the rest was: nothing goes back
    state, command = wake(definition, state, Moment(T0 + 3 * HOUR, (before, InboxEvent(2, "Y", came, matches=("y",)))))
    assert state.rested_at == (came if counts else T0 + HOUR)
    assert command == (End("won") if counts else Park(T0 + 3 * HOUR + DAY))


@pytest.mark.parametrize(("verdicts", "outcome"), [((False, True), "case_2"), ((True, True), "case_1")])
def test_the_first_case_that_holds_is_taken_and_named(verdicts: tuple[bool, ...], outcome: str) -> None:
    cases = [{"when": "true", "next": "exit"}, {"when": "false", "next": "exit"}]
    definition = journey({"id": "b", "kind": "branch", "cases": cases, "else": "exit"})
    state, _ = start(definition)
    assert answered(definition, state, Moment(T0), Evaluated(verdicts))[0].outcomes == {"b": outcome}


@pytest.mark.parametrize(
    ("since", "sent", "events", "timeout"),
    [
        ("enrolment", True, T0, T0),
        ("step", True, T0 + HOUR, T0 + 2 * HOUR),
        ("delivery", True, T0 + 3 * HOUR, T0 + 3 * HOUR),
        ("delivery", False, T0 + HOUR, T0 + 2 * HOUR),
        ("open", True, T0 + 4 * HOUR, T0 + 4 * HOUR),
        ("open", False, None, T0 + 2 * HOUR),
        ("click", True, None, T0 + 2 * HOUR),
    ],
)
def test_from_when_events_and_timeouts_count(
    since: Since, sent: bool, events: datetime | None, timeout: datetime
) -> None:
    message = SentMessage(T0 + 3 * HOUR, opened_at=T0 + 4 * HOUR)
    state = State(T0, rested_at=T0 + HOUR, sent={"send": message} if sent else {}, last_sent="send" if sent else None)
    assert anchor(UntilEvent(("X",), DAY, since=since), state, T0 + 2 * HOUR) == (events, timeout)


def test_a_good_hour_that_is_waited_for_once_more_takes_time() -> None:
    wait = Wait("hour", UntilGoodHour("email", 2 * DAY), None, None)
    for best in (None, T0 - HOUR, T0):
        assert at_good_hour(wait, Moment(T0), best, again=True) == Until(T0 + 2 * DAY)
    assert at_good_hour(wait, Moment(T0), T0 + HOUR, again=True) == Until(T0 + HOUR)
    assert at_good_hour(wait, Moment(T0), T0 + 3 * DAY, again=False) == Until(T0 + 2 * DAY)
    assert at_good_hour(wait, Moment(T0), T0, again=False) == Over("time", T0)
    assert at_good_hour(wait, Moment(T0), None, again=False) == Over("no_better_hour", T0)


def test_an_empty_decision_takes_the_other_way() -> None:
    definition = journey(
        DECIDE | {"else": "none"}, SEND | {"next": "exit"}, {"id": "none", "kind": "exit", "reason": "held out"}
    )
    state, _ = start(definition)
    state, command = answered(
        definition, state, Moment(T0), Decided({"decision_id": "d", "arm": "holdout", "actions": []})
    )
    assert command == End("held out")
    assert state.outcomes["choose"] == "nothing"


def test_a_send_without_an_action_on_its_channels_goes_on_by_else() -> None:
    definition = journey(
        DECIDE | {"channels": ["email", "sms"]},
        SEND | {"channels": ["sms"], "else": "none"},
        {"id": "none", "kind": "exit", "reason": "no sms"},
    )
    state, _ = start(definition)
    assert answered(definition, state, Moment(T0), Decided(DECISION))[1] == End("no sms")


def test_a_postponed_send_is_asked_again_under_the_same_visit_and_keeps_its_words() -> None:
    definition = journey(DECIDE, SEND)
    state, _ = start(definition)
    state, first = answered(definition, state, Moment(T0), Decided(DECISION))
    state, command = answered(definition, state, Moment(T0), Postponed(T0 + HOUR))
    assert command == Park(T0 + HOUR)
    assert wake(definition, state, Moment(T0 + HOUR / 2))[1] == Park(T0 + HOUR)
    state, again = wake(definition, state, Moment(T0 + HOUR))
    assert again == first
    state, _ = answered(definition, state, Moment(T0 + HOUR), Delivered("sent"))
    assert "content" not in state.decisions["choose"]["actions"][0]
    assert state.messages == 1


def test_after_a_crash_the_command_without_an_answer_is_given_again() -> None:
    definition = journey(DECIDE, SEND)
    state, _ = start(definition)
    state, command = answered(definition, state, Moment(T0), Decided(DECISION))
    kept = from_json(to_json(state), state.step, state.visit, state.enrolled_at, None)
    assert wake(definition, kept, Moment(T0 + HOUR))[1] == command


WATCH = {
    "id": "watch",
    "kind": "wait",
    "event": {"name": "Order Completed", "since": "delivery", "timeout": "3d"},
    "next": "won",
    "else": "lost",
}
ENDS = ({"id": "won", "kind": "exit", "reason": "won"}, {"id": "lost", "kind": "exit", "reason": "lost"})


def test_an_event_in_time_is_found_and_one_too_late_is_not_however_late_one_looks() -> None:
    definition = journey(DECIDE, SEND, WATCH, *ENDS)
    state, command = sent(definition)
    assert command == Park(T0 + 3 * DAY)
    in_time, too_late = event(7, T0 + DAY, "watch"), event(8, T0 + 4 * DAY, "watch")
    assert wake(definition, state, Moment(T0 + DAY, (in_time,)))[1] == End("won")
    assert wake(definition, state, Moment(T0 + 9 * DAY, (in_time,)))[1] == End("won")
    assert wake(definition, state, Moment(T0 + 9 * DAY, (too_late,)))[1] == End("lost")
    assert wake(definition, state, Moment(T0 + DAY, (event(7, T0 + DAY, "other"),)))[1] == Park(T0 + 3 * DAY)


def test_an_event_that_came_while_the_message_was_being_sent_is_not_lost() -> None:
    definition = journey(DECIDE, SEND, WATCH, *ENDS)
    state, _ = start(definition)
    state, _ = answered(definition, state, Moment(T0), Decided(DECISION))
    assert answered(definition, state, Moment(T0, (event(1, T0, "watch"),)), Delivered("sent"))[1] == End("won")


def test_a_wait_for_no_event_is_satisfied_when_its_time_is_over() -> None:
    quiet = {k: v for k, v in WATCH.items() if k != "event"} | {"not_event": WATCH["event"]}
    definition = journey(DECIDE, SEND, quiet, *ENDS)
    state, _ = sent(definition)
    assert wake(definition, state, Moment(T0 + 3 * DAY))[1] == End("won")
    assert wake(definition, state, Moment(T0 + DAY, (event(1, T0 + HOUR, "watch"),)))[1] == End("lost")


def test_counting_from_an_open_begins_with_the_open() -> None:
    definition = journey(DECIDE, SEND, WATCH | {"event": WATCH["event"] | {"since": "open", "timeout": "1d"}}, *ENDS)
    state, command = sent(definition)
    assert command == Park(T0 + DAY)
    opened = InboxEvent(1, "Email Opened", T0 + 20 * HOUR, (), "opened", "send")
    state, command = wake(definition, state, Moment(T0 + 21 * HOUR, (opened,)))
    assert command == Park(T0 + 44 * HOUR)
    early = event(2, T0 + HOUR, "watch")  # before the open: does not count
    assert wake(definition, state, Moment(T0 + 22 * HOUR, (opened, early)))[1] == Park(T0 + 44 * HOUR)
    assert wake(definition, state, Moment(T0 + 44 * HOUR, (opened, event(3, T0 + 40 * HOUR, "watch"))))[1] == End("won")
    assert wake(definition, state, Moment(T0 + 44 * HOUR, (opened,)))[1] == End("lost")


def test_a_click_on_an_earlier_message_does_not_count_for_the_later_one() -> None:
    second = {"id": "send2", "kind": "send", "decision": "choose"}
    watch = WATCH | {"event": {"name": "clicked", "since": "delivery", "timeout": "3d"}}
    definition = journey(DECIDE, SEND, second, watch, *ENDS)
    state, command = sent(definition)
    assert isinstance(command, SendMessage)
    state, command = answered(definition, state, Moment(T0), Delivered("sent"))
    old = InboxEvent(1, "Email Link Clicked", T0 + HOUR, ("watch",), "clicked", "send")
    assert wake(definition, state, Moment(T0 + HOUR, (old,)))[1] == Park(T0 + 3 * DAY)
    new = InboxEvent(2, "Email Link Clicked", T0 + HOUR, ("watch",), "clicked", "send2")
    assert wake(definition, state, Moment(T0 + HOUR, (old, new)))[1] == End("won")


def test_two_waits_in_a_row_take_two_events() -> None:
    definition = journey(
        {"id": "one", "kind": "wait", "event": {"name": "X", "timeout": "1d"}},
        {"id": "two", "kind": "wait", "event": {"name": "X", "timeout": "1d"}, "else": "exit"},
        {"id": "both", "kind": "exit", "reason": "both"},
    )
    state, _ = start(definition)
    first, second = event(1, T0 + HOUR, "one", "two"), event(2, T0 + 2 * HOUR, "one", "two")
    state, command = wake(definition, state, Moment(T0 + HOUR, (first,)))
    assert isinstance(command, Park)
    assert wake(definition, state, Moment(T0 + 2 * HOUR, (first, second)))[1] == End("both")


def test_the_goal_ends_it_within_its_window_and_the_lifetime_ends_it_anyway() -> None:
    definition = journey(
        {"id": "rest", "kind": "wait", "for": "300d"},
        goal={"event": "Order Completed", "within": "14d"},
        caps={"lifetime": "200d"},
    )
    state, command = start(definition)
    assert command == Park(T0 + 200 * DAY)
    assert wake(definition, state, Moment(T0 + DAY, (event(1, T0 + DAY, goal=True),)))[1] == End("goal")
    assert wake(definition, state, Moment(T0 + 20 * DAY, (event(1, T0 + 15 * DAY, goal=True),)))[1] == command
    assert wake(definition, state, Moment(T0 + 200 * DAY))[1] == End("expired")


def test_branch_split_segment_call_and_webhook_lead_on() -> None:
    definition = journey(
        {"id": "b", "kind": "branch", "cases": [{"when": "true", "next": "s"}], "else": "exit"},
        {"id": "s", "kind": "split", "experiment": "e", "arms": {"a": "seg"}, "else": "exit"},
        {"id": "seg", "kind": "segment", "mode": "move", "from": "x", "to": "y"},
        {"id": "c", "kind": "call", "title": "Ring them", "within": "2d"},
        {"id": "w", "kind": "webhook", "url": "https://example.com/x", "payload": {"n": 1}},
    )
    state, command = start(definition)
    assert command == Evaluate(("true",))
    state, command = answered(definition, state, Moment(T0), Evaluated((True,)))
    assert command == Assign("e")
    assert answered(definition, state, Moment(T0), Assigned(None))[1] == End("finished")
    state, command = answered(definition, state, Moment(T0), Assigned("a"))
    assert command == ChangeSegments("y", "x")
    state, command = answered(definition, state, Moment(T0), Done())
    assert command == OpenTask("c", 4, "Ring them", "", T0 + 2 * DAY, None, None)
    state, command = answered(definition, state, Moment(T0), Delivered("sent"))
    assert command == CallWebhook("w", 5, "https://example.com/x", {"n": 1})
    state, command = answered(definition, state, Moment(T0), Delivered("failed", "404"))
    assert command == End("finished")


def test_a_journey_caps_its_messages() -> None:
    again = {"id": "again", "kind": "send", "decision": "choose"}
    definition = journey(DECIDE, SEND, again, caps={"messages": 1})
    state, command = sent(definition)
    assert command == End("finished")
    assert state.outcomes["again"] == "capped"


def test_an_answer_to_another_question_is_refused() -> None:
    definition = journey(DECIDE, SEND)
    state, _ = start(definition)
    with pytest.raises(ValueError, match="cannot take the answer ZoneIs"):
        answered(definition, state, Moment(T0), ZoneIs("UTC"))


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    """Journeys of any shape; some have faults, which the parser must find."""
    ids = [f"s{index}" for index in range(draw(st.integers(1, 7)))]
    target = st.sampled_from([*ids, "exit"])
    kinds = st.sampled_from(
        ["for", "event", "not_event", "hour", "good", "branch", "decide", "send", "split", "call", "exit"]
    )
    steps: list[dict[str, Any]] = [
        {"id": "first", "kind": "decide", "placement": "p", "channels": ["email"]},
        {"id": "mail", "kind": "send"},
    ]
    for step_id in ids:
        kind = draw(kinds)
        links = {"next": draw(target), "else": draw(target)}
        since = draw(st.sampled_from(["step", "delivery", "open", "click", "enrolment"]))
        rule = {"name": draw(st.sampled_from(["X", "clicked"])), "timeout": "6h", "since": since}
        steps.append(
            {"id": step_id}
            | {
                "for": {"kind": "wait", "for": "5h", "next": links["next"]},
                "event": {"kind": "wait", "event": rule, **links},
                "not_event": {"kind": "wait", "not_event": rule, **links},
                "hour": {"kind": "wait", "local_hour": {"at": draw(st.integers(0, 23))}, "next": links["next"]},
                "good": {"kind": "wait", "good_hour": {"channel": "email", "within": "1d"}, "next": links["next"]},
                "branch": {"kind": "branch", "cases": [{"when": "true", "next": links["next"]}], "else": links["else"]},
                "decide": {"kind": "decide", "placement": "p", "channels": ["email"], **links},
                "send": {"kind": "send", **links},
                "split": {"kind": "split", "experiment": "e", "arms": {"a": links["next"]}, "else": links["else"]},
                "call": {"kind": "call", "title": "t", **links},
                "exit": {"kind": "exit"},
            }[kind]
        )
    return {"name": "Any", "steps": steps, "caps": {"lifetime": "20d"}}


def without_the_unreachable(document: dict[str, Any]) -> Journey | None:
    """The journey, its loose steps taken away; None where it has other faults (a cycle without a wait)."""
    while True:
        try:
            return parse_journey(document, "any")[0]
        except Invalid as invalid:
            loose = {error.field for error in invalid.errors if "cannot be reached" in error.detail}
            if not loose:
                return None
            steps = [step for index, step in enumerate(document["steps"]) if f"steps[{index}].id" not in loose]
            document = document | {"steps": steps}


def answer_for(draw: Any, command: Command, now: datetime) -> Any:
    match command:
        case AskZone():
            return ZoneIs(draw(st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"])))
        case AskGoodHour():
            return GoodHourIs(draw(st.none() | st.integers(-5, 30).map(lambda hours: now + hours * HOUR)))
        case Evaluate(expressions):
            return Evaluated(tuple(draw(st.booleans()) for _ in expressions))
        case AskDecision():
            return Decided(draw(st.sampled_from([DECISION, {"decision_id": "n", "actions": []}])))
        case Assign():
            return Assigned(draw(st.sampled_from(["a", "b", None])))
        case SendMessage() | OpenTask():
            outcomes = [Delivered("sent"), Delivered("failed"), Delivered("blocked"), Delivered("uncertain")]
            return draw(st.sampled_from([*outcomes, Postponed(now + HOUR)]))
    raise AssertionError(command)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
@given(document=documents(), data=st.data())
def test_any_journey_ends_and_sends_once_a_visit_and_does_the_same_again(
    document: dict[str, Any], data: st.DataObject
) -> None:
    definition = without_the_unreachable(document)
    assume(definition is not None)
    assert definition is not None
    now, events, delivered = T0, (), set[tuple[str, int]]()
    state, command = start(definition, now)
    waits = [step for step, _ in definition.event_waits()]
    for _ in range(3_000):
        assert not isinstance(command, Halt), command
        if isinstance(command, End):
            break
        if isinstance(command, Park):
            assert command.until > now or command.until == state.enrolled_at + 20 * DAY
            if waits and data.draw(st.booleans()):
                now += data.draw(st.sampled_from([timedelta(0), HOUR]))
                kind = data.draw(st.sampled_from([None, "opened", "clicked"]))
                of = state.last_sent if kind else None
                events += (InboxEvent(len(events) + 1, "X", now, tuple(waits), kind, of),)
            else:
                now = max(now, command.until)
            kept = from_json(to_json(state), state.step, state.visit, state.enrolled_at, None)
            before, state = (kept, Moment(now, events)), kept
            state, command = wake(definition, state, Moment(now, events))
            again, repeated = wake(definition, *before)
            assert (again, repeated) == (state, command)
            continue
        answer = answer_for(data.draw, command, now)
        if isinstance(command, (SendMessage, OpenTask)) and not isinstance(answer, Postponed):
            assert (command.step, command.visit) not in delivered
            delivered.add((command.step, command.visit))
        before_answer = state
        state, command = answered(definition, before_answer, Moment(now, events), answer)
        assert answered(definition, before_answer, Moment(now, events), answer) == (state, command)
    else:
        raise AssertionError(f"no end after 3,000 moves; {state}")

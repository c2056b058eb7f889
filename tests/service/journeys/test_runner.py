"""Enrolments through the runner, on SQLite and on Postgres."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from sqlalchemy import update

from service.clock import SystemClock
from service.decisions.verdicts import Failure
from service.errors import Unavailable
from service.experiments.define_experiment import define_experiment
from service.experiments.schemas import ExperimentIn
from service.journeys import deliver, enrol_segments
from service.journeys import runner as runner_module
from service.journeys.channels.message import Message, SendResult
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Refused
from service.journeys.enrolment_store import Enrolment, claim_due, earlier, save
from service.journeys.figures_store import list_intents
from service.journeys.intent_store import list_tasks, put_off
from service.journeys.journey_store import find_journey, journey_versions
from service.journeys.manage_journeys import change_status, retry_stuck
from service.journeys.read_enrolments import erase_customer, show_enrolments
from service.journeys.read_stats import read_stats
from service.journeys.retry import RetryPolicy
from service.journeys.runner import PassReport, Runner, RunnerOptions
from tests.fakes.journeys import T0, FakeChannel, HandClock, Stage

DECIDE = {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email"], "else": "exit"}
SEND = {"id": "send", "kind": "send"}
WATCH = {
    "id": "watch",
    "kind": "wait",
    "event": {"name": "clicked", "since": "delivery", "timeout": "3d"},
    "else": "lost",
}
ENDS = ({"id": "won", "kind": "exit", "reason": "won"}, {"id": "lost", "kind": "exit", "reason": "lost"})


def test_a_customer_goes_through_and_a_click_decides_the_way(stage: Stage) -> None:
    stage.journey(DECIDE, SEND, WATCH, *ENDS)
    stage.enrol("anna")
    stage.enrol("ben")
    assert stage.runner().run_due() == PassReport(moved=2, sent=2)
    sent = {message.customer_id: message for message in stage.email.tried}
    assert sent["anna"].to == "anna@example.com"
    assert sent["anna"].unsubscribe_url == "https://x.test/u/anna"
    assert {event["event"] for event in stage.service.events} == {"Email Delivered"}
    stage.later(hours=1)
    assert stage.runner().run_due() == PassReport()
    stage.happens(stage.event("Email Link Clicked", "anna", decision_id=sent["anna"].decision_id, channel="email"))
    assert stage.runner().run_due() == PassReport(moved=1, ended=1)
    assert stage.standing("anna").state.reason == "won"
    stage.later(days=3)
    stage.runner().run_due()
    assert stage.standing("ben").state.reason == "lost"


def test_a_delivery_tells_with_which_probability_its_hour_was_drawn(stage: Stage) -> None:
    stage.service.hour, stage.service.hour_probability = T0 + timedelta(hours=3), 0.004
    stage.journey(DECIDE, {"id": "hour", "kind": "wait", "good_hour": {"channel": "email", "within": "1d"}}, SEND)
    stage.enrol("anna")
    stage.runner().run_due()
    stage.later(hours=3)
    stage.runner().run_due()
    assert stage.service.events[0]["properties"]["send_at_probability"] == 0.004
    stage.enrol("ben")
    stage.later(hours=2)  # nobody ran at the hour that was chosen for him: then it says nothing of this one
    stage.service.hour = stage.clock.at + timedelta(hours=1)
    stage.runner().run_due()
    stage.later(hours=5)
    stage.runner().run_due()
    assert "send_at_probability" not in stage.service.events[1]["properties"]


def test_machine_clicks_move_nobody(stage: Stage) -> None:
    stage.journey(DECIDE, SEND, WATCH, *ENDS)
    stage.enrol("anna")
    stage.runner().run_due()
    decision = stage.email.tried[0].decision_id
    stage.happens(stage.event("Email Link Clicked", "anna", decision_id=decision, machine=True))
    assert stage.runner().run_due() == PassReport()


def test_an_event_at_the_moment_of_parking_is_not_lost(stage: Stage) -> None:
    """The click comes after the runner has read the inbox, before it parks."""
    stage.journey(DECIDE, SEND, WATCH, *ENDS)
    stage.enrol("anna")

    class Clicking(FakeChannel):
        def send(self, message):  # type: ignore[no-untyped-def]
            stage.happens(stage.event("Email Link Clicked", "anna", decision_id=message.decision_id))
            return SendResult("sent")

    stage.email = Clicking()
    stage.runner().run_due()
    assert stage.standing("anna").state.reason == "won"


def test_an_old_process_that_wakes_up_late_changes_nothing(stage: Stage) -> None:
    stage.journey(DECIDE, SEND, WATCH, *ENDS)
    stage.enrol("anna")
    wall = SystemClock().now()
    with stage.database.write() as connection:
        zombie = claim_due(connection, T0, wall, wall - timedelta(seconds=1), 10)[0]
    stage.runner().run_due()
    before = stage.standing("anna")
    from service.journeys.enrolment_store import Outcome

    late = Outcome(zombie.id, zombie.seq, "ended", zombie.state, None)
    with stage.database.write() as connection:
        assert save(connection, [late], T0, release=True) == set()
    assert stage.standing("anna") == before


def test_a_claim_is_had_by_one_until_it_ends(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    wall = SystemClock().now()
    with stage.database.write() as connection:
        assert len(claim_due(connection, T0, wall, wall + timedelta(seconds=30), 10)) == 1
        assert claim_due(connection, T0, wall, wall + timedelta(seconds=30), 10) == []
    assert stage.runner().run_due() == PassReport(due_left=1)
    with stage.database.write() as connection:
        assert len(claim_due(connection, T0, wall + timedelta(seconds=31), wall, 10)) == 1


def test_a_claim_by_a_wrong_clock_is_had_by_the_next(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    wrong = SystemClock().now() + timedelta(days=400)
    with stage.database.write() as connection:
        assert len(claim_due(connection, T0, wrong, wrong + timedelta(seconds=60), 10)) == 1
    assert stage.runner().run_due().sent == 1


def test_quiet_hours_hold_a_message_back_and_no_decision_is_made_twice(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    stage.service.quiet = T0 + timedelta(hours=8)
    assert stage.runner().run_due() == PassReport(moved=1)
    assert stage.standing("anna").due_at == T0 + timedelta(hours=8)
    stage.later(hours=8)
    assert stage.runner().run_due() == PassReport(moved=1, sent=1, ended=1)
    assert len(stage.service.decided) == 1


def stats_of(stage: Stage, step: str) -> dict[str, Any]:
    with stage.database.read() as connection:
        row = find_journey(connection, "j")
        assert row is not None
        stats = read_stats(connection, row, stage.definitions.get(connection, "j", row.version))
    return next(one for one in stats["steps"] if one["id"] == step)


def test_a_full_cap_skips_the_message_and_says_which(stage: Stage) -> None:
    stage.journey(DECIDE, SEND | {"else": "lost"}, ENDS[1])
    stage.enrol("anna")
    until = T0 + timedelta(days=2)
    stage.service.stopped["anna"] = Failure("frequency_cap", "2 of 2 messages in 7 days", until)
    assert stage.runner().run_due() == PassReport(moved=1, blocked=1, ended=1)
    assert stage.email.tried == []
    assert stats_of(stage, "send")["blocked_by"] == {"frequency_cap": 1}
    with stage.database.read() as connection:
        shown = show_enrolments(connection, "j", "anna")[0]
    assert shown["messages"][0]["detail"] == "frequency_cap: 2 of 2 messages in 7 days, until 2026-03-04 10:00 UTC"
    assert shown["reason"] == "lost"
    assert stage.service.given_back == [f"d-{stage.service.decided[0][1]}"]


@pytest.mark.parametrize(("limit", "report"), [("3d", PassReport(moved=1)), ("1d", PassReport(moved=1, blocked=1))])
def test_a_message_waits_for_its_place_as_long_as_the_step_says(stage: Stage, limit: str, report: PassReport) -> None:
    stage.journey(DECIDE, SEND | {"wait_up_to": limit}, {"id": "rest", "kind": "wait", "for": "60d"})
    stage.enrol("anna")
    until = T0 + timedelta(days=2)
    stage.service.stopped["anna"] = Failure("frequency_cap", "2 of 2 messages in 7 days", until)
    assert stage.runner().run_due() == report
    if report.blocked:
        return
    assert stage.standing("anna").due_at == until
    assert stats_of(stage, "send")["postponed_by"] == {"frequency_cap": 1}
    stage.clock.at = until
    assert stage.runner().run_due() == PassReport(moved=1, sent=1)
    assert list(stage.service.settled.values()) == [True]


def test_a_rule_without_an_end_does_not_wait(stage: Stage) -> None:
    stage.journey(DECIDE, SEND | {"wait_up_to": "30d"}, {"id": "rest", "kind": "wait", "for": "60d"})
    stage.enrol("anna")
    stage.service.stopped["anna"] = Failure("eligibility", "does not hold: customer.features.orders_90d >= 1")
    assert stage.runner().run_due() == PassReport(moved=1, blocked=1)


def test_a_message_that_fails_gives_its_place_back(stage: Stage) -> None:
    stage.journey(DECIDE, SEND, {"id": "rest", "kind": "wait", "for": "60d"})
    stage.enrol("anna")
    stage.email.answers = [SendResult("failed", "no such mailbox")]
    assert stage.runner().run_due() == PassReport(moved=1, failed=1)
    assert list(stage.service.settled.values()) == [False]


def test_consent_is_asked_again_at_the_send(stage: Stage) -> None:
    stage.journey(DECIDE, SEND | {"next": "exit", "else": "lost"}, ENDS[1])
    stage.enrol("anna")
    stage.service.forbidden["anna"] = "unsubscribed from email"
    assert stage.runner().run_due() == PassReport(moved=1, blocked=1, ended=1)
    assert stage.email.tried == []
    assert stage.standing("anna").state.reason == "lost"


def test_an_action_without_approved_words_is_not_sent(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    stage.service.actions = [{"rank": 1, "offer_id": "o1", "channel": "email", "content": None}]
    assert stage.runner().run_due().blocked == 1
    assert stage.email.tried == []


def test_one_customers_fault_does_not_hold_up_the_others(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    decide = stage.service.decide

    def picky(requests):  # type: ignore[no-untyped-def]
        if any(request.customer_id == "c3" for request in requests):
            raise ValueError("not c3")
        return decide(requests)

    stage.service.decide = picky  # type: ignore[method-assign]
    for number in range(6):
        stage.enrol(f"c{number}")
    assert stage.runner().run_due() == PassReport(moved=6, sent=5, ended=5, retried=1)
    assert stage.standing("c3").problem == "ValueError: not c3"


def test_copy_that_was_taken_back_is_not_sent(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    stage.service.withdrawn.add("v1")
    assert stage.runner().run_due().blocked == 1
    assert stage.email.tried == []


def test_erasure_and_archiving_stop_rows_that_are_being_worked_on(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.journey(DECIDE, SEND, journey_id="k")
    stage.enrol("anna")
    stage.enrol("ben", "k")
    decide = stage.service.decide

    def meanwhile(requests):  # type: ignore[no-untyped-def]
        with stage.database.write() as connection:
            assert erase_customer(connection, "anna")["enrollments"] == 1
            change_status(connection, "k", "archive", T0)
        return decide(requests)

    stage.service.decide = meanwhile  # type: ignore[method-assign]
    report = stage.runner().run_due()
    assert report.sent == 0
    assert stage.email.tried == []
    assert stage.standing("ben", "k").state.reason == "archived"


@pytest.mark.parametrize("repeatable", [True, False])
def test_who_is_erased_while_their_message_goes_out_does_not_come_back(stage: Stage, repeatable: bool) -> None:
    """A mail server takes minutes at times: its delivery's event, and the steps behind it, made a customer of them."""
    stage.journey(DECIDE, SEND, {"id": "mark", "kind": "segment", "to": "written"})
    stage.enrol("anna")
    stage.enrol("ben")
    stage.email.repeatable = repeatable
    send = stage.email.send

    def meanwhile(message):  # type: ignore[no-untyped-def]
        if message.customer_id == "anna":
            with stage.database.write() as connection:
                erase_customer(connection, "anna")
        return send(message)

    stage.email.send = meanwhile  # type: ignore[method-assign]
    stage.runner().run_due()
    assert {message.customer_id for message in stage.email.tried} == {"anna", "ben"}
    assert [event["userId"] for event in stage.service.events] == ["ben"]
    assert stage.service.segments == [("ben", "written", None)]


def test_a_paused_journey_moves_nobody_and_goes_on_where_it_was(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    with stage.database.write() as connection:
        change_status(connection, "j", "pause", T0)
    assert stage.runner().run_due() == PassReport()
    assert stage.enrol("ben") == Refused("paused", "the journey is paused; activate it to let customers in")
    with stage.database.write() as connection:
        change_status(connection, "j", "activate", T0)
    assert stage.runner().run_due().sent == 1


def test_pausing_stops_messages_that_are_being_worked_on(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    decide = stage.service.decide

    def meanwhile(requests):  # type: ignore[no-untyped-def]
        with stage.database.write() as connection:
            change_status(connection, "j", "pause", T0)
        return decide(requests)

    stage.service.decide = meanwhile  # type: ignore[method-assign]
    stage.options = RunnerOptions(lease_s=0.0)
    assert stage.runner().run_due().sent == 0
    assert stage.email.tried == []
    with stage.database.write() as connection:
        change_status(connection, "j", "activate", T0)
    stage.service.decide = decide  # type: ignore[method-assign]
    assert stage.runner().run_due().sent == 1


def test_a_collaborator_that_fails_is_asked_again_with_growing_pauses_then_it_is_stuck_and_can_be_freed(
    stage: Stage,
) -> None:
    stage.options = RunnerOptions(retry=RetryPolicy(attempts=3, spread=0.0))
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    stage.service.failing = 3
    runner = stage.runner()
    assert runner.run_due() == PassReport(moved=1, retried=1)
    assert stage.standing("anna").due_at == T0 + timedelta(minutes=1)
    stage.later(minutes=1)
    assert runner.run_due().retried == 1
    stage.later(minutes=5)
    assert runner.run_due().stuck == 1
    stuck = stage.standing("anna")
    assert (stuck.status, stuck.due_at) == ("stuck", None)
    assert stuck.problem == "ConnectionError: the decisions are away"
    with stage.database.write() as connection:
        assert retry_stuck(connection, "j", stage.clock.at) == {"retried": 1}
    assert runner.run_due() == PassReport(moved=1, sent=1, ended=1)


@pytest.mark.parametrize(
    ("asked", "waits"), [(20, timedelta(minutes=1)), (3600, timedelta(hours=1)), (10**9, timedelta(hours=6))]
)
def test_the_other_side_is_left_alone_for_as_long_as_it_asks(stage: Stage, asked: int, waits: timedelta) -> None:
    stage.options = RunnerOptions(retry=RetryPolicy(spread=0.0))
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    stage.email = FakeChannel(answers=[SendResult("retry", "429 slow down", timedelta(seconds=asked))])
    stage.runner().run_due()
    assert stage.standing("anna").due_at == T0 + waits


def test_a_temporary_refusal_is_tried_again_under_the_same_key_then_it_is_stuck(stage: Stage) -> None:
    stage.options = RunnerOptions(retry=RetryPolicy(attempts=3, spread=0.0))
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    stage.email = FakeChannel(repeatable=False, answers=[SendResult("retry", "451 later")] * 3)
    runner = stage.runner()
    runner.run_due()
    assert stage.standing("anna").due_at == T0 + timedelta(minutes=1)
    stage.later(minutes=1)
    runner.run_due()
    stage.later(minutes=5)
    assert runner.run_due().stuck == 1
    assert stage.standing("anna").problem == "email failed 3 times, last: 451 later"
    assert len({message.key for message in stage.email.tried}) == 1
    with stage.database.write() as connection:
        retry_stuck(connection, "j", stage.clock.at)
    assert runner.run_due().sent == 1


def test_a_permanent_refusal_goes_on_by_else(stage: Stage) -> None:
    stage.journey(DECIDE, SEND | {"next": "exit", "else": "lost"}, ENDS[1])
    stage.enrol("anna")
    stage.email = FakeChannel(answers=[SendResult("failed", "550 no such person")])
    assert stage.runner().run_due() == PassReport(moved=1, failed=1, ended=1)
    assert stage.service.events == []


@pytest.mark.parametrize(("state", "left"), [("unreachable", 20), ("uncertain", 16)])
def test_once_the_other_side_is_found_dead_the_rest_are_not_tried(
    stage: Stage, state: Literal["unreachable", "uncertain"], left: int
) -> None:
    """One that takes mails and falls silent would otherwise be waited for by each of them."""
    stage.journey(DECIDE, SEND)
    for number in range(20):
        stage.enrol(f"c{number}")
    stage.email = FakeChannel(False, 4, [SendResult(state, "no answer")] * 20)
    stage.runner().run_due()
    assert len(stage.email.tried) == 4
    stage.email.answers.clear()
    stage.later(minutes=2)
    assert stage.runner().run_due().sent == left


def test_a_server_that_cannot_be_reached_is_told_in_the_log_and_to_who_asks(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind a certificate that nobody trusts all mails waited, for hours, and nothing said so."""
    stage.journey(DECIDE, SEND)
    for number in range(3):
        stage.enrol(f"c{number}")
    stage.email = FakeChannel(answers=[SendResult("unreachable", "mail:25: certificate verify failed")] * 3)
    stage.runner().run_due()
    assert "email: 3 not handed over, and tried again later: mail:25: certificate verify failed" in caplog.messages
    with stage.database.read() as connection:
        assert put_off(connection) == {"email": 3}
    stage.later(minutes=2)
    assert stage.runner().run_due().sent == 3
    with stage.database.read() as connection:
        assert put_off(connection) == {}


def test_what_a_slow_server_thinks_about_stays_with_who_sends_it(stage: Stage) -> None:
    """Another runner would find it begun, and call it uncertain."""
    stage.options = RunnerOptions(lease_s=2.0)
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    others: list[PassReport] = []

    class Slow(FakeChannel):
        def send(self, message: Message) -> SendResult:
            time.sleep(3.0)
            others.append(stage.runner().run_due())
            return super().send(message)

    stage.email = Slow(False, 4)
    assert stage.runner().run_due() == PassReport(moved=1, sent=1, ended=1)
    assert others == [PassReport(due_left=1)]


def test_a_long_pass_tells_that_it_goes_on(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner_module, "_ALIVE_S", 0.0)
    stage.options = RunnerOptions(batch=1)
    stage.journey(DECIDE, SEND)
    for number in range(3):
        stage.enrol(f"c{number}")
    told: list[str] = []
    channels = {"email": stage.email}
    runner = Runner(
        stage.database,
        stage.clock,
        stage.service,
        channels,
        lambda *_: told.append("passed"),
        stage.options,
        alive=lambda: told.append("alive"),
    )
    runner.run_pass()
    assert told.count("alive") >= 3
    assert told[-1] == "passed"
    assert told.count("passed") == 1


def test_an_uncertain_message_is_listed_and_never_sent_again(stage: Stage) -> None:
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    stage.email = FakeChannel(repeatable=False, answers=[SendResult("uncertain", "lost after DATA")])
    assert stage.runner().run_due() == PassReport(moved=1, uncertain=1, ended=1)
    with stage.database.read() as connection:
        assert [intent.customer_id for intent in list_intents(connection, ("j", None), "uncertain", 9)] == ["anna"]
    stage.later(days=1)
    stage.runner().run_due()
    assert len(stage.email.tried) == 1


@pytest.mark.parametrize("repeatable", [True, False])
def test_an_intent_that_was_begun_and_never_marked(stage: Stage, repeatable: bool) -> None:
    """A killed sender: the same key goes out again where that is harmless, else it is uncertain."""
    stage.options = RunnerOptions(lease_s=0.0)
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")

    class Killed(FakeChannel):
        def send(self, message):  # type: ignore[no-untyped-def]
            super().send(message)
            raise KeyboardInterrupt

    stage.email = Killed(repeatable)
    with pytest.raises(KeyboardInterrupt):
        stage.runner().run_due()
    first, stage.email = stage.email, FakeChannel(repeatable)
    report = stage.runner().run_due()
    if repeatable:
        assert report.sent == 1
        assert [message.key for message in stage.email.tried] == [message.key for message in first.tried]
    else:
        assert report.uncertain == 1
        assert stage.email.tried == []
    assert len(stage.service.decided) == 1


def test_a_call_is_a_task_and_a_webhook_goes_to_its_address(stage: Stage) -> None:
    stage.journey(
        {"id": "ring", "kind": "call", "title": "Ring {name}", "within": "2d"},
        {"id": "tell", "kind": "webhook", "url": "https://example.com/hook", "payload": {"n": 1}},
    )
    stage.enrol("anna")
    hook = FakeChannel()
    assert stage.runner(webhook=hook).run_due() == PassReport(moved=1, sent=2, ended=1)
    with stage.database.read() as connection:
        (task,) = list_tasks(connection, "j", "open", 10)
    assert (task["customer_id"], task["due_at"]) == ("anna", T0 + timedelta(days=2))
    assert (hook.tried[0].to, hook.tried[0].payload) == ("https://example.com/hook", {"n": 1})
    assert stage.service.events == []


def test_a_split_a_branch_and_a_segment(stage: Stage) -> None:
    with stage.database.write() as connection:
        define_experiment(connection, "e", ExperimentIn.model_validate({"variants": ["a", "b"]}), T0)
    stage.journey(
        {"id": "test", "kind": "split", "experiment": "e", "arms": {"a": "big", "b": "exit"}, "else": "exit"},
        {
            "id": "big",
            "kind": "branch",
            "cases": [{"when": "customer.features.orders_7d >= 2", "next": "move"}],
            "else": "exit",
        },
        {"id": "move", "kind": "segment", "mode": "move", "from": "old", "to": "new"},
    )
    stage.service.arms = {"anna": "a", "ben": "b"}
    stage.service.known = {"traits": {}, "segments": [], "features": {"orders_7d": 2.0}, "scores": {}}
    for customer in ("anna", "ben", "cleo"):
        stage.enrol(customer)
    assert stage.runner().run_due() == PassReport(moved=3, ended=3)
    assert stage.service.segments == [("anna", "new", "old")]


def test_a_local_hour_is_in_the_customers_zone_and_an_unknown_zone_is_the_default(stage: Stage) -> None:
    stage.journey({"id": "nine", "kind": "wait", "local_hour": {"at": "09:00"}})
    stage.enrol("anna")
    stage.runner().run_due()
    assert stage.standing("anna").due_at == datetime(2026, 3, 3, 8, 0, tzinfo=UTC)
    stage.service.zone = "Mars/Olympus"
    stage.enrol("ben")
    stage.runner().run_due()
    assert stage.standing("ben").due_at == datetime(2026, 3, 3, 9, 0, tzinfo=UTC)


def test_enrolled_customers_stay_on_their_version(stage: Stage) -> None:
    stage.journey({"id": "rest", "kind": "wait", "for": "1d"}, {"id": "old", "kind": "exit", "reason": "old"})
    stage.enrol("anna")
    stage.runner().run_due()
    stage.journey({"id": "new", "kind": "exit", "reason": "new"})
    stage.enrol("ben")
    stage.later(days=1)
    stage.runner().run_due()
    assert (stage.standing("anna").version, stage.standing("anna").state.reason) == (1, "old")
    assert (stage.standing("ben").version, stage.standing("ben").state.reason) == (2, "new")


def test_figures_of_a_version_are_of_that_one_alone(stage: Stage) -> None:
    """Its steps' entries were, but who waits, ended, is stuck, or is to be called was told of all versions."""
    rest = {"id": "rest", "kind": "wait", "for": "1d"}
    stage.journey({"id": "phone", "kind": "call", "title": "Call"}, rest)
    stage.enrol("anna")
    stage.runner().run_due()
    stage.journey({"id": "phone", "kind": "call", "title": "Call again"}, {"id": "end", "kind": "exit"})
    stage.enrol("ben")
    stage.enrol("cara")
    stage.runner().run_due()

    def figures(version: int | None) -> tuple[Any, ...]:
        with stage.database.read() as connection:
            row = find_journey(connection, "j")
            assert row is not None
            told = read_stats(connection, row, stage.definitions.get(connection, "j", version or row.version), version)
        steps = {one["id"]: one for one in told["steps"]}
        waiting = steps["rest"]["waiting"] if "rest" in steps else 0
        totals = {name: told["enrollments"][name] for name in ("active", "ended", "entered")}
        return totals, told["enrollments"]["ended_by"], waiting, steps["phone"]["tasks"]

    assert figures(1) == ({"active": 1, "ended": 0, "entered": 1}, {}, 1, {"open": 1})
    assert figures(2) == ({"active": 0, "ended": 2, "entered": 2}, {"finished": 2}, 0, {"open": 2})
    assert figures(None) == ({"active": 1, "ended": 2, "entered": 3}, {"finished": 2}, 1, {"open": 3})


def test_a_segment_lets_its_members_in_once(stage: Stage) -> None:
    stage.service.members = {"lapsed": ["anna", "ben"]}
    stage.journey({"id": "rest", "kind": "wait", "for": "1d"}, entry={"segment": "lapsed"})
    runner = stage.runner()
    assert runner.run_due().moved == 2
    stage.service.members["lapsed"].append("cleo")
    stage.later(minutes=10)
    assert runner.run_due().moved == 1


def test_a_journey_that_cannot_be_read_lets_nobody_in_and_holds_up_no_other(stage: Stage) -> None:
    """Of another version, say: no journey of this database moved any more, with a segment at its door or without."""
    stage.service.members = {"lapsed": ["anna"]}
    rest = {"id": "rest", "kind": "wait", "for": "1d"}
    stage.journey(rest, journey_id="a", entry={"segment": "lapsed"})
    stage.journey(rest, journey_id="b", entry={"segment": "lapsed"})
    stage.journey(rest, journey_id="c")
    stage.enrol("ben", "c")
    with stage.database.write() as connection:
        connection.execute(
            update(journey_versions).where(journey_versions.c.journey_id == "a").values(definition={"of": "before"})
        )
    stage.definitions = Definitions()
    assert stage.runner().run_due().moved == 2


def test_a_clock_that_was_ahead_puts_no_segment_off_until_then(stage: Stage) -> None:
    stage.journey({"id": "rest", "kind": "wait", "for": "1d"}, entry={"segment": "lapsed"})
    runner = stage.runner()
    stage.clock.at += timedelta(days=1)
    runner.run_due()
    stage.clock.at -= timedelta(days=1)
    stage.service.members["lapsed"] = ["anna"]
    assert runner.run_due().moved == 1


def test_who_is_told_to_stop_lets_no_more_of_a_segment_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(enrol_segments, "_TOGETHER", 2)
    stage.journey({"id": "rest", "kind": "wait", "for": "1d"}, entry={"segment": "lapsed"})
    runner = stage.runner()

    def members(_: str) -> Iterator[str]:
        for number in range(9):
            if number == 2:
                runner.stop()
            yield f"c{number}"

    monkeypatch.setattr(stage.service, "members_of", members)
    runner.run_due()
    monkeypatch.undo()
    assert stage.runner().run_due().moved == 4


@pytest.mark.parametrize("meanwhile", ["pause", "archive", "put"])
def test_a_journey_that_is_closed_or_changed_lets_no_more_of_a_segment_in(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    monkeypatch.setattr(enrol_segments, "_TOGETHER", 2)
    rest = {"id": "rest", "kind": "wait", "for": "1d"}
    stage.journey(rest, entry={"segment": "lapsed"})

    def members(_: str) -> Iterator[str]:
        yield from ("anna", "ben")
        if meanwhile == "put":
            stage.journey(rest, active=False)  # by its API alone
        else:
            with stage.database.write() as connection:
                change_status(connection, "j", meanwhile, stage.clock.at)
        yield from ("cleo", "dora")

    assert sum(enrol_segments.enrol_segments(stage.database, stage.definitions, members, stage.clock)) == 2
    with stage.database.read() as connection:
        assert not earlier(connection, "j", "cleo")


def test_the_loop_beats_and_is_cheap_when_nothing_is_due(stage: Stage) -> None:
    beats: list[tuple[datetime, dict[str, object]]] = []
    stage.journey(DECIDE, SEND)
    stage.enrol("anna")
    runner = stage.runner()
    runner._heartbeat = lambda name, at, detail: beats.append((at, dict(detail)))
    assert runner.run_pass() is True
    assert runner.run_pass() is False
    assert beats == [(T0, {"due": 0, "moved": 1})]
    stage.later(hours=1)
    runner.run_pass()
    assert beats[1:] == [(T0 + timedelta(hours=1), {"due": 0, "moved": 0})]


def test_many_go_through_in_batches(stage: Stage) -> None:
    stage.options = RunnerOptions(batch=64)
    stage.journey(DECIDE, SEND, WATCH, *ENDS)
    for number in range(200):
        assert isinstance(stage.enrol(f"c{number}"), Enrolment)
    assert stage.runner().run_due() == PassReport(moved=200, sent=200)
    assert len({message.key for message in stage.email.tried}) == 200


REST = {"id": "rest", "kind": "wait", "for": "60d"}


class SlowChannel(FakeChannel):
    """Takes minutes over each message."""

    clock: HandClock

    def send(self, message: Message) -> SendResult:
        self.clock.at += timedelta(minutes=4)
        return super().send(message)


def slow_channel(stage: Stage, **how: Any) -> SlowChannel:
    channel = SlowChannel(**how)
    channel.clock = stage.clock
    return channel


@pytest.mark.parametrize(("how", "sent"), [({"repeatable": False}, 3), ({}, 4)])
def test_a_wave_stops_where_quiet_hours_begin_in_the_middle_of_it(
    stage: Stage, how: dict[str, Any], sent: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every message was asked about by the time at which the pass began."""
    monkeypatch.setattr(deliver, "_TOGETHER", 2)
    stage.journey(DECIDE, SEND, REST)
    for number in range(8):
        stage.enrol(f"c{number}")
    stage.service.quiet_from, stage.service.quiet = T0 + timedelta(minutes=9), T0 + timedelta(hours=10)
    channel = slow_channel(stage, **how)
    assert stage.runner(email=channel).run_due().sent == sent
    waiting = [stage.standing(f"c{number}").due_at == stage.service.quiet for number in range(8)]
    assert waiting.count(True) == 8 - sent
    stage.clock.at = stage.service.quiet
    assert stage.runner().run_due().sent == 8 - sent
    assert len({message.key for message in (*channel.tried, *stage.email.tried)}) == 8


def test_a_delivery_is_told_by_the_time_at_which_the_server_took_it(stage: Stage) -> None:
    """By the beginning of the pass a scanner's click of the next second would look like that of a person."""
    stage.journey(DECIDE, SEND, REST)
    for number in range(3):
        stage.enrol(f"c{number}")
    stage.runner(email=slow_channel(stage, repeatable=False)).run_due()
    told = [event["timestamp"] for event in stage.service.events]
    assert told == [(T0 + timedelta(minutes=4 * count)).isoformat() for count in (1, 2, 3)]


def test_a_welcome_does_not_wait_until_a_newsletter_has_gone_to_everybody(stage: Stage) -> None:
    stage.options = RunnerOptions(batch=4)
    stage.journey(DECIDE, SEND, REST, journey_id="newsletter")
    stage.journey(DECIDE, SEND, REST, journey_id="welcome")
    for number in range(12):
        stage.enrol(f"c{number}", "newsletter")
    stage.later(minutes=1)
    stage.enrol("first", "welcome")
    channel = FakeChannel(parallel=4)

    def send(message: Message) -> SendResult:
        if len(channel.tried) == 4:
            stage.later(minutes=1)
            stage.enrol("second", "welcome")
        return FakeChannel.send(channel, message)

    channel.send = send  # type: ignore[method-assign]
    assert stage.runner(email=channel).run_due().sent == 14
    order = [message.customer_id for message in channel.tried]
    assert order.index("first") < 4
    assert order.index("second") < 12


def test_what_is_due_goes_out_while_a_large_segment_is_let_in(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent until the last member was in."""
    monkeypatch.setattr(enrol_segments, "_TOGETHER", 2)
    monkeypatch.setattr(runner_module, "_PORTIONS", 3)
    stage.service.members = {"lapsed": [f"c{number:02}" for number in range(40)]}
    stage.journey({"id": "rest", "kind": "wait", "for": "1d"}, journey_id="winback", entry={"segment": "lapsed"})
    stage.journey(DECIDE, SEND, REST, journey_id="welcome")
    stage.enrol("anna", "welcome")
    inside: list[int] = []

    def send(message: Message) -> SendResult:
        with stage.database.read() as connection:
            inside.append(sum(bool(earlier(connection, "winback", one)) for one in stage.service.members["lapsed"]))
        return SendResult("sent")

    monkeypatch.setattr(stage.email, "send", send)
    assert stage.runner().run_due().moved == 41
    assert inside == [6]


def test_a_segment_whose_members_cannot_be_read_is_asked_again_at_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage.journey({"id": "rest", "kind": "wait", "for": "1d"}, entry={"segment": "lapsed"})
    runner, away = stage.runner(), [Unavailable("the database is away")]

    def members(_: str) -> Iterator[str]:
        yield "anna"
        if away:
            raise away.pop()
        yield "ben"

    monkeypatch.setattr(stage.service, "members_of", members)
    with pytest.raises(Unavailable):
        runner.run_due()
    assert runner.run_due().moved == 2

"""What events do: let in, wake, count; and the re-entry rules and caps at the door."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.event import listen

from service.customers.identity_store import Link, set_owners
from service.decisions.verdicts import Failure
from service.journeys.arrival_store import read_inbox
from service.journeys.definitions import Definitions
from service.journeys.enrol_customer import Entering, Refused, enrol
from service.journeys.enrolment_store import Enrolment, earlier
from service.journeys.journey_store import find_journey, journey_versions
from service.journeys.manage_journeys import change_status, must_find
from service.journeys.read_stats import read_stats
from service.pages.lists import journeys_view
from service.storage.database import Connection
from tests.fakes.journeys import T0, FakeChannel, Stage

DECIDE = {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email"], "else": "exit"}
SEND = {"id": "send", "kind": "send"}
REST = {"id": "rest", "kind": "wait", "for": "10d"}
GOAL = {"event": "Order Completed", "within": "14d"}


def stats(stage: Stage) -> dict:
    with stage.database.read() as connection:
        row = find_journey(connection, "j")
        assert row is not None
        return read_stats(connection, row, stage.definitions.get(connection, "j", row.version))


def step(stage: Stage, name: str) -> dict:
    return next(one for one in stats(stage)["steps"] if one["id"] == name)


def entered(stage: Stage, customer: str) -> int:
    with stage.database.read() as connection:
        return len(earlier(connection, "j", customer))


def inbox(stage: Stage, enrolment_id: str) -> tuple:
    with stage.database.read() as connection:
        return read_inbox(connection, [enrolment_id]).get(enrolment_id, ())


def test_an_event_lets_in_those_that_fit(stage: Stage) -> None:
    stage.journey(REST, entry={"event": "Order Completed", "where": "event.revenue_cents >= 1000"})
    stage.happens(
        stage.event("Order Completed", "anna", revenue_cents=1500),
        stage.event("Order Completed", "ben", revenue_cents=500),
        stage.event("Order Completed", "cleo"),
        stage.event("Product Viewed", "dora", revenue_cents=1500),
        stage.event("Order Completed", "old", revenue_cents=1500, timestamp=T0 - timedelta(days=2)),
    )
    assert [entered(stage, name) for name in ("anna", "ben", "cleo", "dora", "old")] == [1, 0, 0, 0, 0]


def test_those_who_come_in_together_are_counted_together(stage: Stage) -> None:
    """A cap looked through all who are in for each of them, and each wrote the same row of counts."""
    stage.journey(REST, entry={"event": "Order Completed"}, caps={"enrolled": 7})
    stage.enrol("first")
    asked: list[str] = []
    listen(stage.database.engine, "before_cursor_execute", lambda _1, _2, query, *_: asked.append(query))
    stage.happens(*(stage.event("Order Completed", f"c{number}") for number in range(10)))
    assert sum(entered(stage, f"c{number}") for number in range(10)) == 6
    assert sum("count(*)" in query and "FROM journey_enrolments" in query for query in asked) == 1
    assert sum(query.startswith("INSERT INTO journey_counts") for query in asked) == 1
    assert stats(stage)["enrollments"]["entered"] == 7


def test_a_journey_that_cannot_be_read_keeps_no_event_from_the_others(stage: Stage) -> None:
    """An earlier version took what this one refuses, such as a year 33658: every event failed, and was set aside."""
    for name in ("j", "broken"):
        stage.journey(REST, journey_id=name, entry={"event": "Order Completed"})
    stage.happens(stage.event("Order Completed", "anna"))
    with stage.database.write() as connection:
        ruined = journey_versions.c.journey_id == "broken"
        connection.execute(update(journey_versions).where(ruined).values(definition={"of": "before"}))
    stage.definitions = Definitions()
    stage.happens(stage.event("Order Completed", "anna"), stage.event("Order Completed", "ben"))
    assert (entered(stage, "anna"), entered(stage, "ben")) == (1, 1)
    with stage.database.read() as connection:
        assert not earlier(connection, "broken", "ben")
    told = journeys_view(stage.database, stage.definitions, stage.clock.at)["journeys"]
    assert [one["fault"] is None for one in told] == [one["id"] == "j" for one in told]


def test_a_page_opens_the_door_as_a_page_not_by_its_name(stage: Stage) -> None:
    stage.journey(REST, entry={"event": "Order Completed"})
    page = stage.event("Order Completed", "anna", type="page")
    stage.happens(page, page | {"type": "screen"})
    assert entered(stage, "anna") == 0
    stage.journey(REST, entry={"event": "page", "where": "event.name == 'Order Completed'"})
    stage.happens(page, stage.event("Order Completed", "ben"))
    assert [entered(stage, name) for name in ("anna", "ben")] == [1, 0]


def test_what_follows_the_entry_in_the_same_portion_counts_and_the_entry_itself_does_not(stage: Stage) -> None:
    more = {"id": "more", "kind": "wait", "event": {"name": "Order Completed", "timeout": "5d"}, "else": "exit"}
    stage.journey(more, {"id": "won", "kind": "exit", "reason": "won"}, entry={"event": "Order Completed"})
    stage.happens(stage.event("Order Completed", "anna"), stage.event("Order Completed", "ben"))
    stage.happens(stage.event("Order Completed", "anna"))
    stage.runner().run_due()
    assert stage.standing("anna").state.reason == "won"
    assert stage.standing("ben").status == "active"


def test_figures_of_a_step_count_each_person_once_and_no_machines(stage: Stage) -> None:
    stage.journey(DECIDE, SEND, REST, goal=GOAL)
    for name in ("anna", "ben", "cleo"):
        stage.enrol(name)
    stage.runner().run_due()
    decision = {message.customer_id: message.decision_id for message in stage.email.tried}
    stage.later(hours=1)
    stage.happens(
        stage.event("Email Opened", "anna", decision_id=decision["anna"], channel="email"),
        stage.event("Email Opened", "anna", decision_id=decision["anna"], channel="email"),
        stage.event("Email Link Clicked", "anna", channel="email"),
        stage.event("Email Opened", "ben", decision_id=decision["ben"], machine=True),
        stage.event("Order Completed", "anna"),
    )
    stage.happens(stage.event("Email Opened", "anna", decision_id=decision["anna"], channel="email"))
    stage.runner().run_due()
    found = step(stage, "send")
    assert {name: found[name] for name in ("entered", "sent", "opened", "clicked", "converted", "failed", "stuck")} == {
        "entered": 3, "sent": 3, "opened": 1, "clicked": 1, "converted": 1, "failed": 0, "stuck": 0,
    }  # fmt: skip
    assert found["first_run"] == T0
    assert step(stage, "rest")["waiting"] == 2
    whole = stats(stage)["enrollments"]
    assert whole == {"active": 2, "stuck": 0, "ended": 1, "entered": 3, "converted": 1, "ended_by": {"goal": 1}}


def test_a_conversion_counts_after_the_end_but_not_after_its_window(stage: Stage) -> None:
    stage.journey(DECIDE, SEND, goal=GOAL)
    stage.enrol("anna")
    stage.enrol("ben")
    stage.runner().run_due()
    stage.later(days=13)
    stage.happens(stage.event("Order Completed", "anna"))
    stage.later(days=2)
    stage.happens(stage.event("Order Completed", "ben"))
    assert stats(stage)["enrollments"]["converted"] == 1


def test_a_click_on_another_message_wakes_nobody(stage: Stage) -> None:
    watch = {"id": "watch", "kind": "wait", "event": {"name": "clicked", "since": "delivery", "timeout": "5d"}}
    stage.journey(DECIDE, SEND, watch | {"else": "exit"})
    stage.enrol("anna")
    stage.runner().run_due()
    stage.happens(stage.event("Email Link Clicked", "anna", decision_id="from-elsewhere", channel="email"))
    assert stage.runner().run_due().moved == 0
    stage.happens(stage.event("Email Link Clicked", "anna", channel="email"))
    assert stage.runner().run_due().ended == 1


@pytest.mark.parametrize("behind", [timedelta(seconds=5), timedelta(hours=6)], ids=str)
@pytest.mark.parametrize("since", ["delivery", "click"])
def test_a_click_by_a_clock_that_is_behind_is_still_of_the_message_sent_before_it(
    stage: Stage, since: str, behind: timedelta
) -> None:
    """Senders of mail tell whole seconds by a clock of their own, and ours may have been ahead at the send."""
    watch = {"id": "watch", "kind": "wait", "event": {"name": "clicked", "since": since, "timeout": "5d"}}
    stage.journey(DECIDE, SEND, watch | {"else": "lost"}, {"id": "won", "kind": "exit", "reason": "won"},
                  {"id": "lost", "kind": "exit", "reason": "lost"})  # fmt: skip
    stage.enrol("anna")
    stage.runner().run_due()
    decision = stage.standing("anna").state.decisions["choose"]["decision_id"]
    click = {"decision_id": decision, "channel": "email", "timestamp": stage.clock.at - behind}
    stage.happens(stage.event("Email Link Clicked", "anna", **click))
    stage.runner().run_due()
    assert stage.standing("anna").state.reason == "won"


def test_a_click_told_late_is_not_of_the_wait_that_began_since(stage: Stage) -> None:
    watch = {"id": "watch", "kind": "wait", "event": {"name": "clicked", "timeout": "5d"}, "else": "exit"}
    stage.journey(DECIDE, SEND, {"id": "day", "kind": "wait", "for": "1d"}, watch)
    stage.enrol("anna")
    stage.runner().run_due()
    decision = stage.standing("anna").state.decisions["choose"]["decision_id"]
    sent = stage.clock.at
    stage.later(days=2)
    stage.runner().run_due()
    stage.happens(stage.event("Email Link Clicked", "anna", decision_id=decision, channel="email", timestamp=sent))
    assert stage.runner().run_due().ended == 0


def test_an_open_that_names_no_decision_is_never_of_a_message_put_off(stage: Stage) -> None:
    stage.journey(DECIDE, SEND | {"wait_up_to": "3d"}, REST)
    stage.enrol("anna")
    stage.service.stopped["anna"] = Failure("frequency_cap", "2 of 2 messages in 7 days", T0 + timedelta(days=2))
    assert stage.runner().run_due().moved == 1
    stage.later(hours=1)
    opened = stage.event("Email Opened", "anna", channel="email")
    stage.happens(opened)
    assert step(stage, "send")["opened"] == 0
    stage.later(days=2)
    assert stage.runner().run_due().sent == 1
    stage.happens(stage.event("Email Opened", "anna", channel="email"))
    assert step(stage, "send")["opened"] == 1


def test_an_event_is_kept_once_and_only_where_it_matters(stage: Stage) -> None:
    stage.journey({"id": "x", "kind": "wait", "event": {"name": "X", "timeout": "5d"}, "else": "exit"}, REST)
    enrolment = stage.enrol("anna")
    assert isinstance(enrolment, Enrolment)
    same = stage.event("X", "anna")
    stage.happens(same, stage.event("Y", "anna"))
    stage.happens(same)
    assert len(inbox(stage, enrolment.id)) == 1


def test_a_flood_of_events_is_kept_small(stage: Stage) -> None:
    rule = {"name": "X", "timeout": "5d", "where": "event.properties.n == 1"}
    later = {"name": "Y", "timeout": "1d"}
    stage.journey(
        {"id": "x", "kind": "wait", "event": rule, "else": "exit"},
        {"id": "y", "kind": "wait", "event": later, "else": "exit"},
    )
    enrolment = stage.enrol("anna")
    assert isinstance(enrolment, Enrolment)
    stage.happens(*(stage.event("Y", "anna") for _ in range(1_000)))
    assert len(inbox(stage, enrolment.id)) == 200


def test_a_visitor_takes_the_journey_along(stage: Stage) -> None:
    stage.journey(DECIDE, SEND, REST)
    stage.enrol("visitor")
    stage.runner().run_due()
    known = stage.event("", "anna", type="identify", event=None, anonymous_id="visitor")
    stage.happens(known)  # which joined nobody: the id is a user's own
    assert entered(stage, "visitor") == 1
    with stage.database.write() as connection:
        set_owners(connection, [Link("visitor", "anna", T0)])
    stage.happens(known)
    assert entered(stage, "visitor") == 0
    assert stage.standing("anna").status == "active"
    assert stage.enrol("anna").reason == "already_enrolled"


def test_who_was_joined_may_enter_again_as_soon_as_the_rule_says(stage: Stage) -> None:
    stage.journey(REST, reentry={"rule": "after_exit", "after": "30d"})
    stage.enrol("visitor")
    stage.enrol("anna")
    stage.runner().run_due()
    with stage.database.write() as connection:
        set_owners(connection, [Link("visitor", "anna", T0)])
    stage.happens(stage.event("", "anna", type="identify", event=None, anonymous_id="visitor"))
    stage.later(days=10)
    stage.runner().run_due()
    stage.later(days=30)
    assert isinstance(stage.enrol("anna"), Enrolment)


def test_once_is_once(stage: Stage) -> None:
    stage.journey({"id": "bye", "kind": "exit"})
    stage.enrol("anna")
    assert isinstance(stage.enrol("anna"), Refused)
    stage.runner().run_due()
    refused = stage.enrol("anna")
    assert isinstance(refused, Refused)
    assert refused.reason == "entered_before"


def test_after_exit_waits_as_long_as_it_says(stage: Stage) -> None:
    stage.journey({"id": "bye", "kind": "exit"}, reentry={"rule": "after_exit", "after": "30d"})
    stage.enrol("anna")
    assert stage.enrol("anna").reason == "already_enrolled"
    stage.runner().run_due()
    refused = stage.enrol("anna")
    assert (refused.reason, refused.until) == ("too_soon", T0 + timedelta(days=30))
    stage.later(days=30)
    assert isinstance(stage.enrol("anna"), Enrolment)


def test_always_runs_side_by_side_and_caps_hold(stage: Stage) -> None:
    stage.journey(REST, reentry={"rule": "always"}, caps={"enrolled": 2})
    assert isinstance(stage.enrol("anna"), Enrolment)
    assert isinstance(stage.enrol("anna"), Enrolment)
    assert stage.enrol("ben").reason == "full"


@pytest.mark.parametrize(("status", "reason"), [("draft", "not_active"), ("archived", "archived")])
def test_a_journey_that_is_not_active_lets_nobody_in(stage: Stage, status: str, reason: str) -> None:
    from service.journeys.manage_journeys import change_status

    stage.journey(REST, active=False, entry={"event": "X"})
    if status == "archived":
        with stage.database.write() as connection:
            change_status(connection, "j", "archive", T0)
    assert stage.enrol("anna").reason == reason
    stage.happens(stage.event("X", "anna"))
    assert entered(stage, "anna") == 0


def test_stuck_is_seen_in_the_figures(stage: Stage) -> None:
    from service.journeys.retry import RetryPolicy
    from service.journeys.runner import RunnerOptions

    stage.options = RunnerOptions(retry=RetryPolicy(attempts=1))
    stage.journey(DECIDE, SEND)
    stage.email = FakeChannel()
    stage.service.failing = 1
    stage.enrol("anna")
    stage.runner().run_due()
    assert step(stage, "choose")["stuck"] == 1
    (problem,) = stats(stage)["problems"]
    assert (problem["customer_id"], problem["problem"]) == ("anna", "ConnectionError: the decisions are away")


def meanwhile(stage: Stage, before: Callable[[Connection], object], event: dict[str, Any]) -> None:
    """The event arrives while another process has done `before` and has not yet committed it."""
    with stage.database.write() as connection:
        before(connection)
        arriving = threading.Thread(target=stage.happens, args=[event])
        arriving.start()
        arriving.join(0.5)  # as long as it needs where it waits for nobody
    arriving.join()


def test_an_event_in_the_moment_of_the_archive_lets_nobody_in(stage: Stage) -> None:
    stage.journey(REST, entry={"event": "Order Completed"})
    event = stage.event("Order Completed", "anna")
    meanwhile(stage, lambda connection: change_status(connection, "j", "archive", T0), event)
    assert entered(stage, "anna") == 0


def test_the_most_enrolled_hold_while_another_process_lets_in(stage: Stage) -> None:
    stage.journey(REST, entry={"event": "Order Completed"}, caps={"enrolled": 1})

    def enrol_ben(connection: Connection) -> None:
        row = must_find(connection, "j", lock=True)
        journey = stage.definitions.get(connection, "j", row.version)
        let_in = enrol(connection, row, journey, "ben", T0, {"api": True}, Entering())
        assert isinstance(let_in, Enrolment)

    meanwhile(stage, enrol_ben, stage.event("Order Completed", "anna"))
    assert [entered(stage, name) for name in ("ben", "anna")] == [1, 0]

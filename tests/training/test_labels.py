"""Labels: [cut, cut + horizon), people only, by verb or by an event's own name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.tables import EVENTS
from models.declaration import Goal
from training.labels import goal_events, label

CUT = datetime(2026, 3, 1, tzinfo=UTC)
HORIZON = timedelta(days=28)
MICRO = timedelta(microseconds=1)
TIME = EVENTS.schema["timestamp"]


def _events(rows: list[tuple[str, str, datetime, bool | None]]) -> pl.DataFrame:
    frame = pl.DataFrame(
        [
            {"message_id": str(i), "type": "track", "event": event, "customer_id": who, "timestamp": at, "machine": bot}
            for i, (who, event, at, bot) in enumerate(rows)
        ],
        schema_overrides={"timestamp": TIME, "machine": pl.Boolean},
    )
    return EVENTS.conform(frame.with_columns(received_at="timestamp", properties=pl.lit("{}")))


def _cuts(*names: str, at: datetime = CUT) -> pl.DataFrame:
    return pl.DataFrame({"customer_id": names, "as_of": [at] * len(names)}, schema_overrides={"as_of": TIME})


@pytest.mark.parametrize(
    ("at", "expected"),
    [(CUT - MICRO, 0), (CUT, 1), (CUT + HORIZON - MICRO, 1), (CUT + HORIZON, 0)],
)
def test_the_window_begins_at_the_cut_and_ends_before_its_end(at: datetime, expected: int) -> None:
    goal = Goal("ordered")
    happened = goal_events(_events([("a", "Order Completed", at, None)]), goal)
    assert label(_cuts("a", "b"), happened, goal, HORIZON)["label"].to_list() == [expected, 0]
    gone = Goal("ordered", happens=False)
    assert label(_cuts("a", "b"), happened, gone, HORIZON)["label"].to_list() == [1 - expected, 1]


def test_machines_do_not_reach_goals() -> None:
    rows = [("a", "Email Link Clicked", CUT, True), ("b", "Email Link Clicked", CUT, False)]
    assert goal_events(_events(rows), Goal("clicked"))["customer_id"].to_list() == ["b"]


def test_a_goal_may_be_an_events_own_name() -> None:
    rows = [("a", "Plan Upgraded", CUT, None), ("b", "Order Completed", CUT, None)]
    assert goal_events(_events(rows), Goal("Plan Upgraded"))["customer_id"].to_list() == ["a"]


def test_what_is_no_track_call_is_what_its_type_says() -> None:
    names = ("a", "b", "c", "d", "e")
    kinds = pl.Series(["page", "screen", "identify", "track", "page"])
    told = _events([(who, "Order Completed", CUT, None) for who in names]).with_columns(type=kinds)
    by_verb = {verb: goal_events(told, Goal(verb))["customer_id"].to_list() for verb in ("page_viewed", "identified")}
    assert by_verb == {"page_viewed": ["a", "b", "e"], "identified": ["c"]}
    for goal in ("ordered", "Order Completed"):  # a page of that name is no order
        assert goal_events(told, Goal(goal))["customer_id"].to_list() == ["d"]


@settings(max_examples=40, deadline=None)
@given(
    days=st.lists(st.tuples(st.sampled_from("abc"), st.integers(-40, 40)), max_size=12),
    cuts=st.lists(st.tuples(st.sampled_from("abc"), st.integers(-30, 30)), min_size=1, max_size=10),
)
def test_labels_equal_a_plain_search(days: list[tuple[str, int]], cuts: list[tuple[str, int]]) -> None:
    goal = Goal("ordered")
    events = _events([(who, "Order Completed", CUT + timedelta(days=day), None) for who, day in days] or
                     [("z", "Order Completed", CUT, None)])  # fmt: skip
    asked = pl.concat([_cuts(who, at=CUT + timedelta(days=day)) for who, day in cuts])
    found = label(asked, goal_events(events, goal), goal, HORIZON)
    assert found.select("customer_id", "as_of").equals(asked)
    expected = [int(any(w == who and day <= d < day + 28 for w, d in days)) for who, day in cuts]
    assert found["label"].to_list() == expected


def _told(rows: list[tuple[str, datetime, str]]) -> pl.DataFrame:
    frame = _events([("a", event, at, None) for event, at, _ in rows])
    return frame.with_columns(properties=pl.Series([properties for *_, properties in rows]))


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("properties.plan = 'pro'", [0, 2]),
        ("properties.seats >= 5", [1, 2]),
        ("properties.seats >= 5 AND properties.plan = 'pro'", [2]),
        ("properties.trial", [0]),
        ("properties.nowhere = 1", []),
        ("revenue_cents > 0", []),
    ],
)
def test_a_goal_may_ask_for_columns_and_properties(where: str, kept: list[int]) -> None:
    events = _told(
        [
            ("Plan Changed", CUT, '{"plan":"pro","seats":1,"trial":true}'),
            ("Plan Changed", CUT + MICRO, '{"seats":5.5}'),
            ("Plan Changed", CUT + 2 * MICRO, '{"plan":"pro","seats":7,"trial":null}'),
            ("Order Completed", CUT, '{"plan":"pro","seats":9}'),
        ]
    )
    found = goal_events(events, Goal("Plan Changed", where=where))["timestamp"].to_list()
    assert found == [CUT + place * MICRO for place in kept]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("properties.seats >= 5", [1, 2]),
        ("properties.plan = 'pro'", [0, 3]),
        ("properties.plan = '7'", [1]),
        ("properties.trial = true", [0, 2]),
        ("properties.trial", [0, 2]),
        ("NOT properties.trial", [5]),
        ("properties.seats >= 5 AND properties.trial = true AND properties.nowhere IS NULL", [2]),
    ],
)
def test_numbers_told_as_text_and_text_as_numbers_stop_no_goal(where: str, kept: list[int]) -> None:
    """A bucket of the log may hold odd ones alone; "nan" is above every number where it counts as one."""
    told = [
        '{"plan":"pro","seats":1,"trial":true}',
        '{"plan":7,"seats":"5"}',
        '{"seats":"7.5","trial":"true"}',
        '{"plan":"pro","seats":"nan","trial":1}',
        '{"seats":[9],"plan":{"pro":1},"trial":"yes"}',
        '{"trial":"false"}',
    ]
    rows = [("Plan Changed", CUT + place * MICRO, text) for place, text in enumerate(told)]
    found = goal_events(_told(rows), Goal("Plan Changed", where=where))["timestamp"].to_list()
    assert found == [CUT + place * MICRO for place in kept]
    plain = (0, 1, 2, 5)
    alone = [goal_events(_told([rows[place]]), Goal("Plan Changed", where=where)).height for place in plain]
    assert alone == [int(place in kept) for place in plain], "one by one as together"


def test_a_goal_that_cannot_be_asked_names_the_key() -> None:
    events = _told([("Plan Changed", CUT, '{"plan":"pro"}')])
    with pytest.raises(ValueError, match=r"goal\.where: .properties\.plan > 3. cannot be asked"):
        goal_events(events, Goal("Plan Changed", where="properties.plan > 3"))


@pytest.mark.parametrize("told", [1, -1])
def test_an_attributed_goal_follows_a_delivered_message(told: int) -> None:
    """In whatever order events came."""
    day = timedelta(days=1)
    rows = [
        ("a", "Email Delivered", CUT, None),
        ("a", "Plan Upgraded", CUT + 6 * day, None),
        ("a", "Plan Upgraded", CUT + 8 * day, None),
        ("a", "Plan Upgraded", CUT + 21 * day, None),
        ("b", "Plan Upgraded", CUT + day, None),
        ("c", "Plan Upgraded", CUT - day, None),
        ("c", "SMS Delivered", CUT, None),
        ("a", "Email Delivered", CUT - 20 * day, None),
        ("a", "Email Delivered", CUT + 20 * day, None),
    ][::told]
    found = goal_events(_events(rows), Goal("Plan Upgraded"), attribution_days=7)
    assert sorted(found.rows()) == [("a", CUT + 6 * day), ("a", CUT + 21 * day)]
    assert goal_events(_events(rows), Goal("Plan Upgraded")).height == 5

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from service.decisions.case import Usage, instant
from service.decisions.eligibility import judge
from tests.fakes.decisions import NOON
from tests.service.decisions.test_channel_rules import case, offer

DAY, HOUR = timedelta(days=1), timedelta(hours=1)
TICK = timedelta(microseconds=1)
FIRST = "needs b to be delivered first"


@pytest.mark.parametrize(
    ("span", "ago", "failure"),
    [
        ({}, (), (FIRST, None)),
        ({}, (9 * DAY, 9 * DAY), None),
        ({}, (-TICK, -TICK), (FIRST, None)),  # as of then it was not yet
        ({"within_days": 7}, (7 * DAY - TICK, 7 * DAY - TICK), None),
        ({"within_days": 7}, (7 * DAY, 7 * DAY), (f"{FIRST}, at most 7 days ago", None)),
        ({"within_days": 7}, (9 * DAY, DAY), None),
        ({"within_days": 7}, (-DAY, -DAY), (FIRST, None)),
        ({"after_days": 1}, (DAY, DAY), None),
        ({"after_days": 1}, (DAY - TICK, HOUR), (f"{FIRST}, 1 day ago", NOON + TICK)),  # the first of them will do
        ({"after_days": 1}, (9 * DAY, HOUR), None),
        ({"after_days": 1, "within_days": 7}, (9 * DAY, HOUR), (f"{FIRST}, 1 day ago", NOON + 23 * HOUR)),
        ({"after_days": 1}, (-DAY, -DAY), (FIRST, None)),
    ],
)
def test_what_must_have_come_before_lies_in_its_span_of_time(
    span: dict[str, Any], ago: tuple[timedelta, ...], failure: tuple[str, Any] | None
) -> None:
    needing = offer("a", requires=[{"offer_id": "b", "event": "delivered", **span}])
    known = {("delivered", "b"): tuple(instant(NOON - one) for one in ago)} if ago else {}
    found = judge(case(offers=(needing,), usage=Usage(moments=known))).offers["a"]  # type: ignore[arg-type]
    assert [(one.rule, one.detail, one.until) for one in found] == ([("prerequisite", *failure)] if failure else [])

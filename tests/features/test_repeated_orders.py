"""Orders told by several sources: which is the repeat, how far apart they may be, and across the end of a month."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from features.event_log import FILE, EventLog
from features.repeated_orders import WITHIN, orders_among, told_again, told_again_beside
from features.tables import EVENTS

MICRO = timedelta(microseconds=1)
DAY = timedelta(days=1)


def order(message_id: str, at: datetime) -> dict[str, object]:
    what = {"type": "track", "event": "Order Completed", "customer_id": "c", "order_id": "o1"}
    return {**what, "message_id": message_id, "timestamp": at, "received_at": at}


@pytest.mark.parametrize(("day", "other"), [("2026-01-31", "2026-02-01"), ("2026-03-01", "2026-02-28"),
                                            ("2025-12-31", "2026-01-01"), ("2026-02-01", "2026-01-31"),
                                            ("2026-02-10", "2026-02-20")])  # fmt: skip
def test_an_order_is_found_again_across_the_end_of_a_month(tmp_path: Path, day: str, other: str) -> None:
    """By the times of two systems it may have come in another month."""
    log = EventLog(tmp_path, buckets=1)
    for part, message_id, date in (("live", "api", day), (f"{FILE}abc-00000", "file", other)):
        at = datetime.fromisoformat(date).replace(hour=12, tzinfo=UTC)
        log.append(EVENTS.conform(pl.DataFrame([{**order(message_id, at), "properties": "{}"}])), part)
    assert told_again_beside(log, 0, f"{FILE}abc", apart=False).rows() == [("c", "file")]


@pytest.mark.parametrize(("apart", "again"), [(WITHIN, ["m2"]), (WITHIN + MICRO, []), (-WITHIN, ["m2"])])
def test_so_far_apart_a_number_is_the_same_order(apart: timedelta, again: list[str]) -> None:
    at = datetime(2026, 3, 1, tzinfo=UTC)
    told = orders_among([order("m1", at), {**order("m2", at + apart), "received_at": at + 2 * WITHIN}])
    assert told_again(told)["message_id"].to_list() == again


def test_an_order_that_stands_in_the_log_twice_is_no_repeat_of_itself() -> None:
    """A part may hold what another one does, under the same message id, while they are joined."""
    at = datetime(2026, 3, 1, tzinfo=UTC)
    twice = orders_among([order("m1", at), order("m1", at)]).with_columns(source=pl.Series(["", "joined-1"]))
    assert told_again(twice).is_empty()

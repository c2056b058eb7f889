"""A challenger is judged on customers as they were served: rows made again from the log are those of the store."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from features.catalogue import FEATURE_NAMES
from features.rows import CustomerRow, OnlineFeatures
from tests.fakes.event_streams import START, frame, streams
from tests.fakes.row_store import MemoryRows
from training.challenger import customer_rows

CUSTOMERS = ["ann", "bob", "stranger"]


def content(row: CustomerRow | None) -> Any:
    """All that a row says, to compare by."""
    if row is None:
        return None
    weeks = {channel: [week.tolist() for week in told] for channel, told in row.response_hours.items()}
    numbers = np.array([row.values[name] for name in FEATURE_NAMES])
    own = row.order_hours.tolist(), row.visit_hours.tolist()
    return np.nan_to_num(numbers, nan=-9e9).tolist(), dict(row.affinity), own, weeks, row.products, dict(row.views)


@settings(max_examples=40, deadline=None)
@given(events=streams(), days=st.integers(-30, 800))
def test_rows_made_again_are_those_that_were_served(events: list[dict[str, Any]], days: int) -> None:
    told = [one | {"received_at": max(one["received_at"], one["timestamp"])} for one in events]
    at = START + timedelta(days=days)
    online = OnlineFeatures(MemoryRows())
    known = [one for one in told if one["received_at"] <= at and one["timestamp"] < at]  # to the microsecond
    online.apply(sorted(known, key=lambda one: one["received_at"]))
    cuts = pl.DataFrame({"customer_id": CUSTOMERS}).with_columns(pl.lit(at, pl.Datetime("us", "UTC")).alias("as_of"))
    again = customer_rows(frame(told), cuts)
    for name, row in zip(CUSTOMERS, online.read(CUSTOMERS, at), strict=True):
        assert content(again.get((name, at))) == content(row)

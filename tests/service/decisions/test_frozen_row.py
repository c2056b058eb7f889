"""A row written down is read back as it was, with all its weeks."""

from __future__ import annotations

import numpy as np
import orjson

from features.channel_hours import ChannelHours
from features.rows import CustomerRow
from service.decisions.frozen_row import freeze, row_from_json, thaw
from tests.fakes.decisions import NOON


def test_orders_visits_clicks_and_opens_stay_apart() -> None:
    weeks = [np.roll(np.eye(168)[0] * (1 + n / 4), n) for n in range(8)]
    channels = {"email": ChannelHours(*weeks[2:5]), "sms": ChannelHours(*weeks[5:8])}
    row = CustomerRow("c1", NOON, {"orders_90d": 2.0}, {}, weeks[0], channels, visit_hours=weeks[1])
    again = row_from_json(orjson.loads(orjson.dumps(thaw(*freeze(row, ())))))
    assert again is not None
    assert (again.order_hours == weeks[0]).all()
    assert (again.visit_hours == weeks[1]).all()
    assert all((np.array(again.response_hours[name]) == np.array(channels[name])).all() for name in channels)


def test_a_row_of_before_visits_were_kept_is_still_read() -> None:
    counts = np.array([2.0, 1.0])
    head = orjson.dumps(["c1", NOON, {}, [[], []], ["email"], 2, "<f8", {}])
    old = len(head).to_bytes(4, "little") + head + counts.tobytes() + np.array([5, 168 + 7], "<u4").tobytes()
    row = row_from_json(thaw(b"[]", old))
    assert row is not None
    assert (row.order_hours[5], row.response_hours["email"].sends[7], row.visit_hours.sum()) == (2.0, 1.0, 0.0)

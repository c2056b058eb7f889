"""The best channel: what a person answers, at its best hour, less what sending costs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from features.channel_hours import ChannelHours
from features.rows import CustomerRow
from models.best_channel import best_channels
from models.channel_curves import ChannelCurve
from models.presence import Presence
from models.send_time import SendTimeModel
from models.week import HOURS

NOW = datetime(2026, 5, 4, tzinfo=UTC)
LAG = np.eye(24)[0]


@pytest.fixture
def model() -> SendTimeModel:
    flat = Presence(np.full((1, HOURS), 1 / HOURS), np.ones(1), 30.0, LAG)
    curves = {}
    for channel, hour, top in (("email", 20, 0.2), ("sms", 12, 0.3)):
        rate = np.full(HOURS, 0.05)
        rate[hour::24] = top
        curves[channel] = ChannelCurve(rate, 0.06, 0.1, hour)
    return SendTimeModel(curves, flat, 0.5, 20.0)


def always(_: str) -> Callable[[datetime], bool]:
    return lambda moment: True


def ask(model: SendTimeModel, row: CustomerRow | None = None, **more: object) -> list[str]:
    found = best_channels(
        model,
        row,
        ["email", "sms"],
        "UTC",
        NOW,
        NOW + timedelta(days=1),
        more.pop("allowed", always),
        **more,  # type: ignore[arg-type]
    )
    return [one.channel for one in found]


def test_costs_decide_between_channels(model: SendTimeModel) -> None:
    assert ask(model) == ["sms", "email"]
    assert ask(model, costs={"sms": 0.15}) == ["email", "sms"]
    assert ask(model, value=10.0, costs={"sms": 0.15}) == ["sms", "email"]
    found = best_channels(model, None, ["sms"], "UTC", NOW, NOW + timedelta(days=1), always, 10.0, {"sms": 0.5})
    assert found[0].expected_value == pytest.approx(10.0 * 0.3 - 0.5)
    assert found[0].at.start.hour == 12


def test_each_channel_goes_at_its_best_allowed_hour(model: SendTimeModel) -> None:
    def evenings(channel: str) -> Callable[[datetime], bool]:
        return lambda moment: channel == "email" or moment.hour != 12

    assert ask(model, allowed=evenings) == ["email", "sms"]
    assert ask(model, allowed=lambda channel: lambda moment: channel == "sms") == ["sms"]


def test_a_persons_own_answers_count(model: SendTimeModel) -> None:
    sends, answers, none = np.zeros(HOURS, np.int64), np.zeros(HOURS, np.int64), np.zeros(HOURS, np.int64)
    sends[:100] = 2
    answers[:50] = 2
    row = CustomerRow("c", NOW, {}, {}, none, {"email": ChannelHours(sends, answers), "sms": ChannelHours(sends)})
    assert ask(model) == ["sms", "email"]
    assert ask(model, row) == ["email", "sms"]

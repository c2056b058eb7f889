"""Hours that are asked for: what ranking puts there; compiled and by numpy alike, of many at once and of each alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.channel_hours import ChannelHours
from features.rows import CustomerRow, OnlineFeatures
from models import asked_hours
from models.asked_hours import WEEK, Asked, by_c, by_numpy
from models.channel_curves import ChannelCurve
from models.presence import Presence
from models.send_time import SendTimeModel
from models.week import HOURS
from tests.fakes.event_streams import frame
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 5, 4, tzinfo=UTC)  # a Monday
CHANNELS = ("email", "sms", "push")
HAPPENS = ("Order Completed", "Product Viewed", "Email Delivered", "Email Delivered", "Email Opened",
           "Email Link Clicked", "SMS Delivered", "SMS Link Clicked", "Push Notification Received")  # fmt: skip
needs_compiled = pytest.mark.skipif(WEEK is None, reason="models/_week was not built here")


def model(seed: int, answers: float = 0.6, sharpness: float = 0.7) -> SendTimeModel:
    random = np.random.default_rng(seed)
    lag = np.exp(-np.arange(24) / 3)
    lag[random.integers(0, 24)] = 0
    types = int(random.integers(1, 6))
    days = random.uniform(0.7, 1.4, (types, 2)) if seed % 4 else None
    presence = Presence(random.dirichlet(np.full(HOURS, 0.5), types), random.dirichlet(np.ones(types)), 30.0,
                        lag / lag.sum(), answers, 0.3, days)  # fmt: skip
    curves = {name: ChannelCurve(random.uniform(0.02, 0.2, HOURS), 0.1, 0.2, 10) for name in CHANNELS[:2]}
    return SendTimeModel(curves, presence, sharpness, 20.0)


def stored(random: np.random.Generator, n: int) -> list[CustomerRow | None]:
    """Rows as a store gives them, of customers with few and many events; some have none."""
    events: list[dict[str, Any]] = []
    for customer in range(n):
        for _ in range(int(random.choice([0, 1, 5, 60]))):
            at = NOW - timedelta(minutes=int(random.integers(1, 90 * 24 * 60)))
            told = {"message_id": str(len(events)), "type": "track", "event": str(random.choice(HAPPENS))}
            events.append(
                told | {"customer_id": f"c{customer}", "timestamp": at, "received_at": at, "properties": "{}"}
            )
    online = OnlineFeatures(MemoryRows())
    if events:
        online.load(frame(events))
    return list(online.read([f"c{customer}" for customer in range(n)], NOW))


def plain(random: np.random.Generator) -> CustomerRow:
    """A row as a record gives it, with whole numbers."""
    weeks = [np.where(random.random(HOURS) < 0.1, random.integers(1, 5, HOURS), 0) for _ in range(7)]
    channels = {"email": ChannelHours(*weeks[1:4]), "whatsapp": ChannelHours(*weeks[4:7])}
    return CustomerRow("c", NOW, {}, {}, weeks[0], channels, visit_hours=weeks[1])


def asks(random: np.random.Generator, rows: int) -> list[Asked]:
    """Some share their window, as channels of one decision do; some want a later hour, or weigh them."""
    found = []
    for _ in range(2 * rows):
        start, long = random.integers(0, HOURS), random.choice([1, 2, 30, 72])
        window = (start + np.flatnonzero(random.random(long) < 0.7 if long > 2 else np.ones(long))) % HOURS
        row = int(random.integers(0, rows))
        weight = random.choice([0.5, 0.8, 1.0], len(window)) if random.random() < 0.5 else None
        for channel in random.choice(CHANNELS, int(random.integers(1, 3)), replace=False):
            if len(window):
                nth = int(random.choice([0, 0, random.integers(0, len(window))]))
                found.append(Asked(row, str(channel), window, nth, weight))
    return found


@needs_compiled
@given(st.integers(0, 10_000), st.integers(1, 70), st.sampled_from([1.0, 0.5, 0.6]), st.sampled_from([1.0, 0.5, 0.7]))
@settings(max_examples=12, deadline=None)
def test_compiled_and_numpy_give_the_same_places_and_bits(seed: int, n: int, answers: float, sharpness: float) -> None:
    random, asked = np.random.default_rng(seed), model(seed, answers, sharpness)
    rows: list[CustomerRow | None] = [*stored(random, n), None, *([plain(random)] if n % 2 else [])]
    wanted = asks(random, len(rows))
    curves = {channel: asked.curve(channel) for channel in CHANNELS}
    told = (asked.presence, asked.sharpness, asked.level_prior, curves, rows, wanted)
    assert by_c(*told) == by_numpy(*told)
    windows = asked_hours.windows_of(wanted)
    weeks, known_rows = asked_hours.weeks_of_all(rows, CHANNELS, 0.3), np.array([row is not None for row in rows])
    ratio = asked_hours.ratios(asked.presence, asked.sharpness, weeks, known_rows, windows)
    habits = asked.habits_of(rows)
    for window, row in enumerate(windows.row.tolist()):
        part = slice(*windows.start[window : window + 2])
        known = habits[row]
        each = np.ones(part.stop - part.start) if known is None else known.ratio[windows.hours[part]]
        assert ratio[part].tobytes() == each.tobytes()


@pytest.mark.parametrize("choose", [by_numpy, pytest.param(by_c, marks=needs_compiled)])
def test_places_are_those_that_ranking_gives(choose: Any) -> None:
    """One by one and all at once; of equal hours the first comes first."""
    random, asked = np.random.default_rng(3), SendTimeModel.untrained()
    rows = [*stored(random, 6), plain(random)]
    start = np.arange(30, 130)
    times = [NOW + timedelta(hours=int(hour)) for hour in start]
    wanted = [
        Asked(row, channel, start, nth) for row in range(len(rows)) for channel in CHANNELS for nth in (0, 1, 7, 99)
    ]
    curves = {channel: asked.curve(channel) for channel in CHANNELS}
    told = asked.presence, asked.sharpness, asked.level_prior, curves
    together = choose(*told, rows, wanted)
    for one, place in zip(wanted, together, strict=True):
        ranked = asked.rank(rows[one.row], one.channel, "UTC", times[0], times[-1] + timedelta(hours=1), 100)
        assert ranked[one.nth].start == times[place]
        assert choose(*told, [rows[one.row]], [one._replace(row=0)]) == [place]


@pytest.mark.parametrize("choose", [by_numpy, pytest.param(by_c, marks=needs_compiled)])
def test_hours_count_by_their_weight(choose: Any) -> None:
    asked, hours = model(5), np.arange(20, 90)
    curves = {"email": asked.curve("email")}
    told = asked.presence, asked.sharpness, asked.level_prior, curves, [None]
    (best,) = choose(*told, [Asked(0, "email", hours)])
    weight = np.ones(len(hours))
    weight[best] = 0.01
    (second,) = choose(*told, [Asked(0, "email", hours, nth=1)])
    assert choose(*told, [Asked(0, "email", hours, weight=weight)]) == [second]
    assert choose(*told, [Asked(0, "email", hours, weight=np.full(len(hours), 0.3))]) == [best]


@pytest.mark.parametrize(
    ("asked", "why"), [(Asked(0, "email", np.arange(3), 3), "hour 3 of 3"), (Asked(0, "email", np.arange(0)), "0 of 0")]
)
def test_an_hour_that_there_is_not(asked: Asked, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        model(1).places([None], [asked])
    assert model(1).places([], []) == []

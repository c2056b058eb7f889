"""What send-time training may learn from and be judged by: what was answered in time, and whatever people do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.event_log import EventLog
from features.tables import EVENTS
from models.channel_curves import ChannelCurve
from models.load import load
from models.presence import Presence
from models.send_time import SendTimeModel
from models.week import HOURS
from training.datasets import Period, period
from training.send_time import Floats, Units, Week, fit, gather, known, probabilities, units
from training.tracking import Tracking, champion
from training.train import Job, train
from training.week_fit import met
from training.week_hours import DRAWN, RESPONSE_WITHIN, ChannelGrid, Grids, counts_as_of, grids, moments, recent_sends

END = datetime(2026, 5, 4, 21, tzinfo=UTC)
DAY, HOUR = timedelta(days=1), timedelta(hours=1)


def event(kind: str, name: str, at: datetime, customer: str) -> dict[str, object]:
    """Told at once."""
    told = {"message_id": f"{name}-{at.isoformat()}-{customer}", "type": kind, "event": name, "customer_id": customer}
    return {**told, "timestamp": at, "received_at": at, "properties": "{}", "machine": False}


def mailings(days: int) -> Week:
    """A mail to everybody at 20 each evening, which all open three hours later; the log ends at 21."""
    found = []
    for day in range(days):
        sent = END - HOUR - day * DAY
        for number in range(20):
            found.append(event("track", "Email Delivered", sent, f"c{number}"))
            if sent + 3 * HOUR < END:
                found.append(event("track", "Email Opened", sent + 3 * HOUR, f"c{number}"))
    events, names = EVENTS.conform(pl.DataFrame(found)), [f"c{number}" for number in range(20)]
    cuts = (END - 10 * DAY, END)
    held = {cut: grids(counts_as_of(events, pl.Series(names), cut), names) for cut in cuts}
    return Week(moments(events, pl.Series(names)), held, Period(END - days * DAY, END, END, 0), len(names))


def test_sends_that_could_not_be_answered_yet_are_no_silence() -> None:
    """Trained each evening at 21, all mails of 20 o'clock of that day would count against that hour."""
    week = mailings(20)
    assert week.moments.filter(pl.col("timestamp") >= END - DAY)["worth"].sum() == 0
    judged = units(week, "send", END - 10 * DAY, END)
    assert judged.time.min() >= np.datetime64((END - 10 * DAY).replace(tzinfo=None))
    assert judged.time.max() < np.datetime64((END - RESPONSE_WITHIN).replace(tzinfo=None))
    assert (judged.worth > 0).all()
    assert fit(week, END, None).trained["sends"] == 20 * 18


def test_a_twin_knows_no_answer_that_came_after_it() -> None:
    week = mailings(20)
    until = END - 10 * DAY
    later = (pl.col("timestamp") >= until) | (pl.col("delay") * HOUR + pl.col("timestamp") >= until)
    without = week.moments.filter(~later.fill_null(False))
    assert without.height < week.moments.filter(pl.col("timestamp") < until).height, "the last evening's"
    for moments_known in (week.moments, without):
        known = Week(moments_known, week.as_of, week.covered, week.customers)
        assert fit(known, until, None).channels["email"].usual == fit(week, until, None).channels["email"].usual


def test_an_order_long_after_a_send_is_no_answer_to_its_hour() -> None:
    """Else a twin would know, of sends that had had their two days, orders of after it."""
    sent, within = END - 20 * DAY, RESPONSE_WITHIN
    found = []
    for name, after in (("soon", within), ("late", within + timedelta(microseconds=1)), ("never", None)):
        decision = {"decision_id": f"d-{name}"}
        found.append(event("track", "Email Delivered", sent, name) | decision)
        if after is not None:
            found.append(event("track", "Order Completed", sent + after, name) | decision)
    names = pl.Series(["soon", "late", "never"])
    sends = moments(EVENTS.conform(pl.DataFrame(found)), names).filter(pl.col("kind") == "send")
    assert dict(sends.select("customer_id", "worth").iter_rows()) == {"soon": 1.0, "late": 0.0, "never": 0.0}


def test_an_answer_counts_for_two_days_and_an_hour_was_drawn_as_its_delivery_says() -> None:
    """Where the delivery says nothing of that, as the log of decisions does."""
    sent, moment = END - 20 * DAY, timedelta(microseconds=1)
    found, said = [], {"drawn": '{"send_at_probability": 0.125}', "logged": "{}"}
    for name, after in (("drawn", RESPONSE_WITHIN), ("logged", RESPONSE_WITHIN + moment)):
        found.append(event("track", "Email Delivered", sent, name) | {"decision_id": name, "properties": said[name]})
        found.append(event("track", "Email Link Clicked", sent + after, name))
    log = pl.DataFrame(
        {"decision_id": list(said), "channel": "email", "send_at": [sent] * 2, "send_at_probability": 0.25},
        schema=DRAWN,
    )
    sends = moments(EVENTS.conform(pl.DataFrame(found)), pl.Series(list(said)), log).filter(pl.col("kind") == "send")
    told = sends.sort("customer_id").select("customer_id", "worth", "drawn").rows()
    assert told == [("drawn", 1.0, 0.125), ("logged", 0.0, 0.25)]


def test_messages_of_just_a_week_ago_are_still_recent() -> None:
    times = [END - 7 * DAY - timedelta(microseconds=1), END - 7 * DAY, END - DAY, END]
    sends = pl.DataFrame({"customer_id": [*["a"] * 4, *["b"] * 2], "timestamp": [*times, END - DAY, END]})
    assert recent_sends(sends, 7 * DAY).tolist() == [0, 1, 2, 2, 0, 1]


def test_where_nobody_orders_hours_are_judged_by_visits(tmp_path: Path) -> None:
    """A game: people open the app at hours of their own, and buy nothing."""
    random = np.random.default_rng(2)
    found = [
        event("track", "Application Opened", END - (day + 1) * DAY + (number % 2 * 9 + int(random.integers(3))) * HOUR
              + timedelta(minutes=int(random.integers(60))), f"c{number}")
        for number in range(60) for day in range(60) if random.random() < 0.5
    ]  # fmt: skip
    EventLog(tmp_path / "events").append(EVENTS.conform(pl.DataFrame(found)), "p1")
    result = train(["send-time"], tmp_path, f"sqlite:///{tmp_path / 'mlflow.db'}", END)[0]
    assert result.promoted, result.verdict
    assert "in log-likelihood of visit hours" in result.verdict
    found = champion(Tracking.at(f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path), "send-time")
    assert found is not None
    covered = period(EventLog(tmp_path / "events"), END)
    assert covered is not None
    learnt = {"": covered.end, "twin": covered.end - (covered.end - covered.first) / 4}  # judged by what came since
    for place, until in learnt.items():
        assert load(found[1] / place).trained["until"] == until.isoformat()
    assert result.metrics["visit_log_likelihood"] > result.rivals["overall_best_hours"]["visit_log_likelihood"]


def test_what_arrived_after_the_time_asked_about_is_not_learnt_from(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    late = event("track", "Order Completed", END - DAY, "late") | {"received_at": END + DAY}
    log.append(EVENTS.conform(pl.DataFrame([event("track", "Order Completed", END - DAY, "c"), late])), "p")
    job = Job(tmp_path, log, Tracking("unread"), END, lambda what, share: None)
    week = gather(job, Period(END - 9 * DAY, END, END, 1), (END - 2 * DAY, END - DAY, END))
    assert week.moments["customer_id"].to_list() == ["c"]


@pytest.mark.parametrize("seed", range(5))
def test_a_send_is_judged_by_the_chance_that_is_served(seed: int) -> None:
    """Training's arrays and a customer's row give the same probability, at each hour and on each channel."""
    random = np.random.default_rng(seed)

    def counts(mean: float) -> Floats:
        return random.poisson(mean, (12, HOURS)) * random.random((12, 1)) * (np.arange(12)[:, None] > 1)

    def curve(engagement: float) -> ChannelCurve:
        return ChannelCurve(random.random(HOURS) * 0.2 + 0.01, 0.1, engagement, 10)

    profiles = random.random((3, HOURS))
    days = np.array([[1.1, 0.8], [0.9, 1.2], [1.0, 1.0]]) if seed % 2 else None
    presence = Presence(profiles / profiles.sum(axis=1, keepdims=True), np.array([0.5, 0.3, 0.2]), 20.0,
                        np.array([0.6, 0.4] + [0.0] * 22), 0.5, 0.25, days)  # fmt: skip
    model = SendTimeModel({"email": curve(0.3), "sms": curve(0.0)}, presence, 0.75, 20.0)
    channels = {name: ChannelGrid(counts(0.1), counts(0.02), counts(0.03)) for name in ("email", "push")}
    grid = Grids({f"c{number}": number for number in range(12)}, counts(0.05), counts(0.2), channels)
    ratio, _ = met(model.presence, model.sharpness, *known(grid, model.presence))
    unread = np.full(HOURS, np.nan)
    for channel in ("email", "sms", "push", "web"):
        for name, number in grid.place.items():
            sends = Units("send", np.full(HOURS, number), np.arange(HOURS), np.array([channel] * HOURS), unread, unread,
                          np.zeros(HOURS, "datetime64[us]"))  # fmt: skip
            served, _ = model.probabilities(grid.row(name, END), channel)
            np.testing.assert_allclose(probabilities(model, grid, sends, ratio), served, rtol=1e-9)

"""Fitting hours: types are found again, response is corrected for exposure, later data judge."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from features.tables import EVENTS
from models.presence import Presence, type_weights
from models.send_time import SendTimeModel
from models.week import HOURS
from training.week_fit import (
    GIVE_OR_TAKE,
    TIRING,
    fit_channel,
    fit_days,
    fit_lag,
    fit_own_gain,
    fit_presence,
    fit_tiring,
    people,
)
from training.week_hours import OPEN_WORTH, chosen, counts_as_of, grids, moments, read_drawn, recent_sends

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)  # Monday noon


def event(name: str, at: datetime, customer: str = "c1", **more: object) -> dict[str, object]:
    base = {
        "message_id": f"{name}-{at.isoformat()}-{customer}",
        "type": "track",
        "event": name,
        "customer_id": customer,
    }
    return {**base, "timestamp": at, "received_at": at, "properties": "{}", "machine": False, **more}


def frame(*events: dict[str, object]) -> pl.DataFrame:
    return EVENTS.conform(pl.DataFrame(list(events), infer_schema_length=None))


def test_sends_are_worth_what_came_of_them() -> None:
    hour = timedelta(hours=1)
    found = moments(
        frame(
            event("Email Delivered", NOW, timezone="Asia/Tokyo"),
            event("Email Opened", NOW + hour),
            event("Email Delivered", NOW + 72 * hour),
            event("Email Opened", NOW + 73 * hour, machine=True),
            event("Email Delivered", NOW + 144 * hour),
            event("Email Opened", NOW + 145 * hour),
            event("Email Link Clicked", NOW + 146 * hour),
            event("SMS Delivered", NOW + 147 * hour, decision_id="d1"),
            event("Order Completed", NOW + 150 * hour, decision_id="d1"),
            event("Email Delivered", NOW + 200 * hour, customer="c2"),
            event("Email Link Clicked", NOW + 260 * hour, customer="c2"),
        ),
        pl.Series(["c1", "c2"]),
    )
    sends = found.filter(pl.col("kind") == "send").sort("timestamp")
    assert sends["worth"].to_list() == [OPEN_WORTH, 0.0, 1.0, 1.0, 0.0]
    assert sends["hour"].to_list()[0] == 21
    assert sends["delay"].to_list()[0] == 1.0
    orders = found.filter(pl.col("kind") == "order")
    assert orders.height == 1


def test_a_send_tells_with_which_probability_its_hour_was_drawn(tmp_path: Path) -> None:
    hour = timedelta(hours=1)
    (tmp_path / "tables").mkdir()
    log = {
        "decision_id": ["d1", "d2", "d3"], "channel": ["email"] * 3, "send_at": [NOW, NOW + 24 * hour, None],
        "send_at_probability": [0.95, 0.001, None], "rank": [1, 1, None],
    }  # fmt: skip
    schema = {"send_at": pl.Datetime("us", "UTC"), "send_at_probability": pl.Float64}
    pl.DataFrame(log, schema_overrides=schema).write_parquet(tmp_path / "tables" / "decisions.parquet")
    found = moments(
        frame(
            event("Email Delivered", NOW + hour / 2, decision_id="d1"),
            event("Email Delivered", NOW + 26 * hour, decision_id="d2"),  # at another hour than the one chosen
            event("Email Delivered", NOW + 50 * hour, properties='{"a": 1, "send_at_probability":4.5e-04}'),
        ),
        pl.Series(["c1"]),
        read_drawn(tmp_path),
    )
    assert found.sort("timestamp")["drawn"].to_list() == [0.95, None, 4.5e-4]
    assert read_drawn(tmp_path / "nowhere").height == 0


def test_counts_are_those_of_customers_rows() -> None:
    events = frame(
        event("Order Completed", NOW),
        event("Email Delivered", NOW),
        event("Email Opened", NOW + timedelta(hours=2)),
        event("Email Link Clicked", NOW + timedelta(hours=3)),
        event("Email Opened", NOW + timedelta(hours=4), machine=True),
        event("Product Viewed", NOW + timedelta(hours=5)),
    )
    held = grids(counts_as_of(events, pl.Series(["c1"]), NOW + timedelta(days=1)), ["c1"])
    assert held.orders[0, 12] == 1
    assert held.sends[0, 12] == 1
    assert held.responses[0, 14:17].tolist() == [OPEN_WORTH, 1.0, 0.0]  # a machine's open is none
    assert held.visits[0, 17] == 1
    assert grids(counts_as_of(events, pl.Series(["c1"]), NOW), ["c1"]).orders.sum() == 0


def test_a_fixed_choice_of_customers() -> None:
    names = pl.Series([f"c{number}" for number in range(500)])
    assert chosen(names, 50).to_list() == chosen(names.reverse(), 50).to_list()
    assert len(chosen(names, 50)) == 50
    assert len(chosen(names, 600)) == 500


@pytest.fixture(scope="module")
def week() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """400 customers of two kinds, few orders each; their kinds and later orders."""
    random = np.random.default_rng(5)
    kinds = random.integers(0, 2, 400)
    profiles = np.stack([np.tile(np.exp(-0.5 * ((np.arange(24) - peak) / 1.5) ** 2) + 0.01, 7) for peak in (8, 20)])
    profiles /= profiles.sum(axis=1, keepdims=True)
    orders = np.stack([random.multinomial(5, profiles[kind]) for kind in kinds]).astype(float)
    later = np.array([random.choice(HOURS, p=profiles[kind]) for kind in kinds])
    return orders, kinds, later


def test_kinds_of_weeks_are_found_again(week: tuple[np.ndarray, np.ndarray, np.ndarray]) -> None:
    orders, kinds, later = week
    none = np.zeros_like(orders)
    presence = fit_presence(orders, none, none, fit_lag(np.zeros(0)))
    assert presence.profiles.sum(axis=1) == pytest.approx(np.ones(len(presence.shares)))
    own, _ = fit_own_gain(presence, (orders, none, none), np.arange(400), later)
    known = people(Presence(presence.profiles, presence.shares, own, presence.lag), orders, none, none)
    days = known.reshape(400, 7, 24).sum(axis=1)
    early = days[:, 5:12].sum(axis=1) > days[:, 17:24].sum(axis=1)
    assert (early == (kinds == 0)).mean() > 0.97
    gain = np.log(known[np.arange(400), later]) - np.log(presence.everyone[later])
    assert gain.mean() > 0.4


def test_a_handful_of_customers_has_one_kind_of_week() -> None:
    orders = np.zeros((3, HOURS))
    orders[:, 12] = 5
    presence = fit_presence(orders, orders * 0, orders * 0, fit_lag(np.zeros(0)))
    assert presence.profiles.shape == (1, HOURS)
    assert int(np.argmax(presence.everyone)) == 12


def test_a_channels_rate_is_per_send() -> None:
    """Ten times as many sends at noon, at a third of the rate: the evening is better all the same."""
    random = np.random.default_rng(2)
    hour = np.concatenate([np.full(5000, 36), np.full(500, 44)])
    worth = np.concatenate([random.random(5000) < 0.05, random.random(500) < 0.15]).astype(float)
    presence = SendTimeModel.untrained().presence
    curve = fit_channel(hour, worth, np.zeros(len(hour)), presence, 0.1)
    assert curve.rate[44] > curve.rate[36]
    assert curve.rate[36] == pytest.approx(0.05, abs=0.02)
    old = fit_channel(hour, worth, np.full(len(hour), 1200.0), presence, 0.1)
    assert abs(old.rate[44] - old.usual) < abs(curve.rate[44] - curve.usual)


def test_many_glances_do_not_outvote_orders() -> None:
    """Opens follow presence weakly: taken at full weight, those of well-filled evenings would name the wrong type."""
    profiles = np.stack([np.tile(np.exp(-0.5 * ((np.arange(24) - peak) / 1.5) ** 2) + 0.01, 7) for peak in (8, 20)])
    profiles /= profiles.sum(axis=1, keepdims=True)
    lag = fit_lag(np.zeros(0))
    orders, answers = np.zeros((1, HOURS)), np.zeros((1, HOURS))
    orders[0, 8::24][:4] = 1
    answers[0, [9, 20, 21, 33, 44]] = 1
    exposed = np.full((1, HOURS), 1 / HOURS)
    weights = {
        how: type_weights(Presence(profiles, np.full(2, 0.5), 40.0, lag, how), orders, answers, exposed)[0]
        for how in (1.0, 0.25)
    }
    assert weights[0.25][0] > weights[1.0][0]
    plain = type_weights(Presence(profiles, np.full(2, 0.5), 40.0, lag, 0.25), orders, 0 * answers, exposed)[0]
    assert 0.5 < weights[0.25][0] <= plain[0]


def test_types_are_made_of_orders_where_there_are_enough() -> None:
    """Everybody was written to at noon and answered then; orders alone say when people are there."""
    random = np.random.default_rng(3)
    profile = np.tile(np.exp(-0.5 * ((np.arange(24) - 20) / 1.5) ** 2) + 0.01, 7)
    profile /= profile.sum()
    orders = random.multinomial(3, profile, 200).astype(float)
    sends, answers = np.zeros((200, HOURS)), np.zeros((200, HOURS))
    sends[:, 12] = 10
    answers[:, 12] = 4
    presence = fit_presence(orders, sends, answers, np.eye(24)[0])
    assert int(np.argmax(presence.everyone.reshape(7, 24).sum(axis=0))) in (19, 20, 21)


def test_without_activity_types_are_made_of_response_rates() -> None:
    """Ten times as many messages at noon, where both kinds answer a little: rates of sends tell them apart."""
    random = np.random.default_rng(4)
    kinds, day = random.integers(0, 2, 300), np.arange(24)
    sent = random.poisson(np.where((day >= 8) & (day <= 20), np.where(day == 12, 2.0, 0.2), 0.0), (300, 7, 24))
    rate = np.stack([0.03 + 0.5 * np.exp(-0.5 * ((day - peak) / 1.5) ** 2) for peak in (9, 18)])
    answers = random.binomial(sent, rate[kinds][:, None, :]).reshape(300, HOURS).astype(float)
    sends, none, lag = sent.reshape(300, HOURS).astype(float), np.zeros((300, HOURS)), np.eye(24)[0]
    presence = fit_presence(none, sends, answers, lag)
    assert presence.answers == 1.0
    whole = presence.everyone.reshape(7, 24).sum(axis=0)
    assert whole[12] < min(whole[9], whole[18])
    days = people(presence, none, sends, answers).reshape(300, 7, 24).sum(axis=1)
    early = days[:, 8:11].sum(axis=1) > days[:, 17:20].sum(axis=1)
    assert (early == (kinds == 0)).mean() > 0.9


def test_on_which_days_types_answer_is_told_by_what_came_of_sends() -> None:
    """The second type answers twice as often at weekends as its presence says, and half as often in all."""
    random, n = np.random.default_rng(9), 40_000
    hour, kind = random.integers(0, HOURS, n), random.integers(0, 2, n)
    types, expected, weekend = np.eye(3)[kind], random.uniform(0.1, 0.3, n), hour >= 5 * 24
    true = expected * np.where(kind == 1, np.where(weekend, 0.8, 0.4), 1.0)
    came = (random.random(n) < true).astype(np.float64)
    everyone, days = fit_days(came, expected, hour, types)
    both = np.array([came[weekend == part].sum() / expected[weekend == part].sum() for part in (False, True)])
    assert everyone[1] / everyone[0] == pytest.approx(both[1] / both[0], abs=0.05)
    assert everyone[1] * days[0, 1] / (everyone[0] * days[0, 0]) == pytest.approx(1.0, abs=0.1)
    assert everyone[1] * days[1, 1] / (everyone[0] * days[1, 0]) == pytest.approx(2.0, abs=0.2)
    assert days[2].tolist() == [1.0, 1.0]  # nobody is of that type: everyone's answers hold
    few = fit_days(came[:100], expected[:100], hour[:100], types[:100])
    assert max(np.abs(one - 1.0).max() for one in few) < 0.1


def test_how_much_messages_tire_is_told_by_what_came_of_sends() -> None:
    random = np.random.default_rng(8)
    expected, recent = random.uniform(0.05, 0.4, 60_000), random.integers(0, 4, 60_000).astype(np.float64)
    for slope in (0.0, 0.3):
        came = (random.random(60_000) < 0.8 * expected * np.exp(-slope * recent)).astype(np.float64)
        assert fit_tiring(came, expected, recent) == pytest.approx(slope, abs=0.03)
    grows = (random.random(60_000) < 0.3 * expected * np.exp(0.3 * recent)).astype(np.float64)
    assert fit_tiring(grows, expected, recent) == 0.0
    assert fit_tiring(came[:5], expected[:5], recent[:5]) == pytest.approx(TIRING, abs=0.02)
    # who answers much and is sent much is expected to
    eager = random.random(60_000) < 0.5
    often, much = np.where(eager, 3.0, 1.0), np.where(eager, 0.4, 0.1)
    often += random.integers(0, 2, 60_000)
    assert fit_tiring((random.random(60_000) < much).astype(np.float64), much, often) == pytest.approx(0.0, abs=0.03)


def test_how_much_messages_tire_lies_between_what_is_usual_and_what_few_sends_say() -> None:
    """At the top of the posterior, as a search over level and slope finds it."""
    random = np.random.default_rng(9)
    expected, recent = random.uniform(0.05, 0.4, 400), random.integers(0, 4, 400).astype(np.float64)
    came = (random.random(400) < expected * np.exp(-0.6 * recent)).astype(np.float64)
    slopes, levels = np.linspace(0, 1, 201), np.linspace(-1, 1, 201)
    logs = np.log(expected) + levels[:, None, None] - slopes[:, None] * recent
    prior = ((slopes - TIRING) / GIVE_OR_TAKE) ** 2 / 2
    likely = (came * logs - np.exp(logs)).sum(axis=2).max(axis=0)
    alone, both = slopes[likely.argmax()], slopes[(likely - prior).argmax()]
    assert TIRING + 0.05 < both < alone - 0.05
    assert fit_tiring(came, expected, recent) == pytest.approx(both, abs=0.01)


def test_messages_of_the_days_before_a_send() -> None:
    day = timedelta(days=1)
    sends = pl.DataFrame(
        {
            "customer_id": ["a", "a", "a", "a", "b", "b"],
            "timestamp": [NOW, NOW + day, NOW + 6 * day, NOW + 20 * day, NOW + 7 * day, NOW + 7.5 * day],
        }
    )
    assert recent_sends(sends, 7 * day).tolist() == [0, 1, 2, 0, 0, 1]

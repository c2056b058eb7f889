"""What came of offers shown, outside of decisions and by them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.tables import DECISIONS, EVENTS, OUTCOMES
from training import exposures
from training.exposures import (
    HEAVIEST,
    MATURES,
    SHOWN,
    Exposures,
    delivered,
    exposures_of,
    put_down,
    read_log,
)

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
HORIZON = timedelta(days=14)


Told = tuple[float, str, dict[str, object]]
"""Days from the start, event, other columns."""


def events(*told: Told) -> pl.DataFrame:
    """All of one customer."""
    usual = {"type": "track", "customer_id": "c", "offer_id": "tea", "channel": None, "decision_id": None,
             "machine": False}  # fmt: skip
    times = [START + timedelta(days=day) for day, _, _ in told]
    rows = [
        {**usual, "timestamp": at, "received_at": at, "message_id": f"{name} {at}", "event": name, **more}
        for at, (_, name, more) in zip(times, told, strict=True)
    ]
    schema: dict[str, pl.DataType | type[pl.DataType]] = {
        "channel": pl.String,
        "decision_id": pl.String,
        "timestamp": pl.Datetime("us", "UTC"),
        "received_at": pl.Datetime("us", "UTC"),
    }
    return pl.DataFrame(rows, schema_overrides=schema)


def came(*told: Told) -> list[tuple[str, float, float]]:
    rows = delivered(events(*told), START + timedelta(days=100), HORIZON)
    return list(zip(rows["channel"], rows["clicked"], rows["label"], strict=True))


def test_what_was_shown_while_visitors_were_here_who_are_forgotten_teaches_nothing() -> None:
    told = events((0, "Email Delivered", {}), (5, "Email Delivered", {}))
    history = EVENTS.conform(told.with_columns(properties=pl.lit("{}"), traits=pl.lit("{}"), context=pl.lit("{}")))
    for gone, first, left in ((None, 0, 2), (START + timedelta(days=3), 5, 1)):
        until, none = START + timedelta(days=100), pl.DataFrame(schema=SHOWN)
        shown = exposures_of(history, none, until, HORIZON, np.zeros(0, np.int64), gone).rows
        assert (shown.height, shown["as_of"].min()) == (left, START + timedelta(days=first))


def test_a_click_and_an_order_count_for_their_delivery() -> None:
    clicked: Told = (0.1, "Email Link Clicked", {"channel": "email"})
    ordered: Told = (0.2, "Order Completed", {})
    assert came((0, "Email Delivered", {}), clicked, ordered) == [("email", 1.0, 1.0)]
    assert came((0, "Email Delivered", {}), clicked) == [("email", 1.0, 0.0)]
    assert came((0, "Email Delivered", {}), ordered) == [("email", 0.0, 1.0)]
    assert came((0, "Email Delivered", {})) == [("email", 0.0, 0.0)]


def test_answers_of_machines_other_channels_and_later_times_do_not_count() -> None:
    shown: Told = (0.0, "Email Delivered", {})
    assert came(shown, (0.1, "Email Link Clicked", {"machine": True})) == [("email", 0.0, 0.0)]
    assert came(shown, (0.1, "SMS Link Clicked", {})) == [("email", 0.0, 0.0)]
    assert came(shown, (15, "Email Link Clicked", {}), (15, "Order Completed", {})) == [("email", 0.0, 0.0)]
    assert came(shown, (0.1, "Order Completed", {"offer_id": "coffee"})) == [("email", 0.0, 0.0)]


def test_an_answer_counts_for_the_last_showing_alone() -> None:
    both: list[Told] = [(0.0, "Email Delivered", {}), (5.0, "SMS Delivered", {})]
    assert came(*both, (5.1, "Order Completed", {})) == [("email", 0.0, 0.0), ("sms", 0.0, 1.0)]
    assert came(*both, (4.0, "Order Completed", {})) == [("email", 0.0, 1.0), ("sms", 0.0, 0.0)]
    twice: list[Told] = [(0.0, "Email Delivered", {}), (5.0, "Email Delivered", {})]
    assert came(*twice, (5.1, "Email Link Clicked", {})) == [("email", 0.0, 0.0), ("email", 1.0, 0.0)]


def test_an_answer_to_a_decision_is_none_to_what_came_before_it() -> None:
    shown: Told = (0.0, "Email Delivered", {"channel": "email"})
    told: list[Told] = [(5.1, "Email Link Clicked", {"channel": "email"}), (5.2, "Order Completed", {})]
    answers: list[Told] = [(day, name, {**more, "decision_id": "d"}) for day, name, more in told]
    assert came(shown, (5.0, "Email Delivered", {"decision_id": "d"}), *answers) == [("email", 0.0, 0.0)]
    assert came(shown, *told) == [("email", 1.0, 1.0)]


def test_a_delivery_that_is_told_twice_was_one() -> None:
    """A file that is brought again later, beyond the days for which ids are remembered."""
    again: Told = (0.0, "Email Delivered", {"received_at": START + timedelta(days=30)})
    assert came((0.0, "Email Delivered", {}), again, (0.1, "Email Link Clicked", {})) == [("email", 1.0, 0.0)]


def test_what_was_decided_or_is_too_new_is_left_out() -> None:
    assert came((0, "Email Delivered", {"decision_id": "d"}), (101, "Email Delivered", {})) == []


def decided(home: Path, *outcomes: tuple[str, str], days: float = 0.0) -> list[tuple[str, float, float]]:
    """One decision that put `tea` first: what `read_log` makes of outcomes (offer, kind), refunds after `days`."""
    (home / "tables").mkdir(parents=True)
    decision: dict[str, Any] = {
        "decision_id": "d", "customer_id": "c", "decided_at": START, "placement": "p", "arm": "model",
        "policy": "default", "policy_version": "1", "channel": "email",
    }  # fmt: skip
    ranks = [{"offer_id": "tea", "rank": 1, "chosen": True, "propensity": 0.5},
             {"offer_id": "coffee", "rank": 2, "chosen": False, "propensity": 0.5}]  # fmt: skip
    outcome: dict[str, Any] = {"decision_id": "d", "customer_id": "c", "channel": "email", "machine": False}
    told = [
        {**outcome, "offer_id": offer, "kind": kind, "message_id": f"m{number}",
         "at": START + timedelta(hours=1, days=days if kind == "refunded" else 0.0)}
        for number, (offer, kind) in enumerate(outcomes)
    ]  # fmt: skip
    candidates = DECISIONS.conform(pl.DataFrame([{**decision, **rank} for rank in ranks]))
    candidates.write_parquet(home / "tables" / "decisions.parquet")
    OUTCOMES.conform(pl.DataFrame(told, schema=OUTCOMES.schema)).write_parquet(home / "tables" / "outcomes.parquet")
    rows = read_log(home, START + timedelta(days=100))
    return list(zip(rows["offer_id"], rows["clicked"], rows["label"], strict=True))


def test_what_came_of_another_offer_of_the_decision_is_no_answer_to_the_first(tmp_path: Path) -> None:
    assert decided(tmp_path / "own", ("tea", "clicked"), ("tea", "converted")) == [("tea", 1.0, 1.0)]
    assert decided(tmp_path / "other", ("coffee", "clicked"), ("coffee", "converted")) == [("tea", 0.0, 0.0)]


def test_an_order_that_was_given_back_is_no_answer_from_then_on(tmp_path: Path) -> None:
    """What is learnt as of a time knows of no later refund; that something was ordered proves that it was shown."""
    back = ("tea", "returned"), ("tea", "refunded")
    assert decided(tmp_path / "by then", *back, days=113) == [("tea", 0.0, 0.0)]
    assert decided(tmp_path / "later", *back, days=114) == [("tea", 0.0, 1.0)]
    assert decided(tmp_path / "in part", ("tea", "converted"), ("tea", "refunded"), days=1) == [("tea", 0.0, 1.0)]


def test_what_was_never_delivered_was_not_shown_where_deliveries_are_told(tmp_path: Path) -> None:
    """A week of e-mails whose deliveries are told, one in which they are not, and a placement that never tells any."""
    (tmp_path / "tables").mkdir()
    made = [("told", "p", 8.0, ("delivered",)), ("proven", "p", 8.5, ("clicked",)), ("held", "p", 9.0, ()),
            ("machine", "p", 9.5, ("opened",)), ("mute", "p", 30.0, ()), ("answered", "p", 31.0, ("clicked",)),
            ("site", "q", 8.0, ())]  # fmt: skip
    decisions = [
        {"decision_id": name, "customer_id": "c", "decided_at": START + timedelta(days=day), "placement": placement,
         "arm": "model", "policy": "default", "policy_version": "1", "channel": "email", "offer_id": "tea", "rank": 1,
         "chosen": True, "propensity": 0.5}
        for name, placement, day, _ in made
    ]  # fmt: skip
    outcomes = [
        {"decision_id": name, "customer_id": "c", "channel": "email", "machine": name == "machine", "offer_id": "tea",
         "kind": kind, "at": START + timedelta(days=day, hours=1), "message_id": f"{name}-{kind}"}
        for name, _, day, kinds in made for kind in kinds
    ]  # fmt: skip
    DECISIONS.conform(pl.DataFrame(decisions)).write_parquet(tmp_path / "tables" / "decisions.parquet")
    OUTCOMES.conform(pl.DataFrame(outcomes)).write_parquet(tmp_path / "tables" / "outcomes.parquet")
    rows = read_log(tmp_path, START + timedelta(days=100))
    days = sorted((row["as_of"] - START) / timedelta(days=1) for row in rows.iter_rows(named=True))
    assert days == [8.0, 8.0, 8.5, 9.5, 30.0, 31.0]


def first_offers(
    home: Path, made: list[dict[str, Any]], outcomes: list[dict[str, Any]], matured: datetime
) -> pl.DataFrame:
    """What `read_log` makes of decisions that put `tea` first, each with what is said of it, and of their outcomes."""
    (home / "tables").mkdir(parents=True)
    usual: dict[str, Any] = {
        "customer_id": "c", "decided_at": START, "placement": "p", "arm": "model", "policy": "default",
        "policy_version": "1", "channel": "email", "offer_id": "tea", "rank": 1, "chosen": True, "propensity": 0.5,
    }  # fmt: skip
    DECISIONS.conform(pl.DataFrame([usual | one for one in made])).write_parquet(home / "tables" / "decisions.parquet")
    came = {"customer_id": "c", "channel": "email", "machine": False, "offer_id": "tea"}
    told = [{**came, "message_id": f"m{number}", **one} for number, one in enumerate(outcomes)]
    OUTCOMES.conform(pl.DataFrame(told, schema=OUTCOMES.schema)).write_parquet(home / "tables" / "outcomes.parquet")
    return read_log(home, matured)


def test_a_showing_is_judged_by_its_fortnight_once_that_is_over(tmp_path: Path) -> None:
    """To the microsecond: what comes as the fortnight ends is too late, and so is a decision of just then."""
    moment, now = timedelta(microseconds=1), START + timedelta(days=50)
    times = {"late": MATURES, "soon": MATURES - moment}
    made = [{"decision_id": name} for name in times] + [
        {"decision_id": name, "decided_at": at} for name, at in (("young", now), ("old", now - moment))
    ]
    outcomes = [
        {"decision_id": name, "kind": kind, "at": START + after}
        for name, after in times.items() for kind in ("clicked", "converted")
    ]  # fmt: skip
    outcomes += [{"decision_id": name, "kind": "delivered", "at": now} for name in ("old", "young")]
    rows = first_offers(tmp_path, made, outcomes, now)
    told = sorted(rows.select("as_of", "label", "clicked").iter_rows())
    assert told == [(START, 0.0, 0.0), (START, 1.0, 1.0), (now - moment, 0.0, 0.0)]


def test_a_showing_stands_for_all_that_could_have_been_shown_in_its_place(tmp_path: Path) -> None:
    """By one over its propensity, as far as one showing may count; who was sent nothing was shown nothing."""
    made = [
        {"decision_id": "even", "propensity": 0.5}, {"decision_id": "rare", "propensity": 0.04},
        {"decision_id": "sure", "propensity": 1.0}, {"decision_id": "never", "propensity": 0.0},
        {"decision_id": "held", "arm": "holdout"}, {"decision_id": "second", "chosen": False},
        {"decision_id": "nothing", "offer_id": None, "channel": None},
    ]  # fmt: skip
    rows = first_offers(tmp_path, made, [], START + timedelta(days=50))
    assert sorted(rows["weight"]) == [1.0, 2.0, HEAVIEST]


def test_what_a_machine_clicked_is_no_answer_to_a_decision(tmp_path: Path) -> None:
    """It proves that the message came; whoever clicks after it counts."""
    scanned = [{"decision_id": name, "kind": "clicked", "at": START, "machine": True} for name in ("bot", "both")]
    read = {"decision_id": "both", "kind": "clicked", "at": START + timedelta(hours=1)}
    rows = first_offers(
        tmp_path, [{"decision_id": "bot"}, {"decision_id": "both"}], [*scanned, read], START + 2 * MATURES
    )
    assert sorted(rows["clicked"]) == [0.0, 1.0]


def test_of_all_customers_showings_the_newest_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of the customers who happen to be read last."""
    monkeypatch.setattr(exposures, "ROWS", 2)
    parts = []
    for days in ((1, 9), (2, 3), (4, 8)):
        told = events(*((day, "Email Delivered", {}) for day in days)).with_columns(customer_id=pl.lit(f"c{days[0]}"))
        history = EVENTS.conform(told.with_columns(properties=pl.lit("{}"), traits=pl.lit("{}"), context=pl.lit("{}")))
        until, none = START + timedelta(days=100), pl.DataFrame(schema=SHOWN)
        parts.append(exposures_of(history, none, until, HORIZON, np.zeros(0, np.int64)))
    kept = Exposures.joined(parts).rows
    assert kept["as_of"].to_list() == [START + timedelta(days=day) for day in (8, 9)]
    assert kept["customer_id"].to_list() == ["c4", "c1"]


@pytest.mark.parametrize(("told", "shown"), [(1, 100), (3, 3)])
def test_a_week_in_which_hardly_any_delivery_is_told_tells_none(tmp_path: Path, told: int, shown: int) -> None:
    made = [{"decision_id": f"d{number}", "customer_id": f"c{number}"} for number in range(100)]
    outcomes = [{"decision_id": f"d{number}", "kind": "delivered", "at": START} for number in range(told)]
    assert first_offers(tmp_path, made, outcomes, START + timedelta(days=50)).height == shown


def test_what_the_service_put_down_to_a_decision_is_told_by_its_log_alone(tmp_path: Path) -> None:
    told = events(
        (0, "Email Delivered", {"message_id": "ours"}),
        (1, "Email Delivered", {"message_id": "theirs"}),
        (2, "Email Delivered", {"message_id": "said", "decision_id": "d9"}),
    )
    assert put_down(told, tmp_path)["decision_id"].to_list() == [None, None, "d9"]
    outcome = {"kind": "delivered", "at": START}
    found = [{**outcome, "decision_id": name, "message_id": message} for name, message in (("d1", "ours"), ("d2", "x"))]
    found.append({**outcome, "decision_id": "d1", "message_id": "ours", "offer_id": "coffee"})  # of two offers
    first_offers(tmp_path, [{"decision_id": "d1"}], found, START)
    again = put_down(told, tmp_path)
    assert again["message_id"].to_list() == ["ours", "theirs", "said"]
    assert again["decision_id"].to_list() == ["d1", None, "d9"]
    assert delivered(again, START + timedelta(days=100), HORIZON).height == 1

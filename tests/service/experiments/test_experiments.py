"""Declaring, assigning, exposing, counting and reading experiments, on SQLite and on Postgres."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import orjson
import pytest
from pydantic import ValidationError
from sqlalchemy import select

from service.customers.identity_store import Link, set_owners
from service.customers.keep_refunds import keep_refunds
from service.errors import Conflict, Invalid, NotFound
from service.experiments.assign_customer import assign
from service.experiments.assignment import Plan, assign_variant
from service.experiments.define_experiment import define_experiment, get_experiment
from service.experiments.experiment_store import find_experiment, find_exposures, save_experiment, values
from service.experiments.read_results import read_results
from service.experiments.record_outcomes import (
    apply_outcomes,
    erase_subject,
    exported,
    withdraw_outcomes,
)
from service.experiments.schemas import ExperimentIn
from service.storage.database import Database
from tests.fakes.plans import plans_of, sqlite_at

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
COUNT = count()
PLAIN: dict[str, Any] = {"variants": ["A", "B"], "metric": {"event": "Order Completed"}, "guardrails": []}


def declare(database: Database, experiment_id: str = "x", now: datetime = NOW, **changes: Any) -> dict[str, Any]:
    body = ExperimentIn.model_validate({**PLAIN, **changes})
    with database.write() as connection:
        return define_experiment(connection, experiment_id, body, now)[0]


def expose_many(database: Database, count: int, experiment_id: str = "x") -> dict[str, list[str]]:
    arms: dict[str, list[str]] = {}
    with database.write() as connection:
        for number in range(count):
            variant = assign(connection, experiment_id, f"c{number}", NOW)
            arms.setdefault(str(variant), []).append(f"c{number}")
    return arms


def event(customer_id: str, name: str = "Order Completed", **changes: Any) -> Mapping[str, Any]:
    base = {"message_id": f"m{next(COUNT)}", "type": "track", "event": name, "customer_id": customer_id}
    base |= dict.fromkeys(("order_id", "revenue_cents", "currency", "products"))
    return {**base, "timestamp": NOW + timedelta(hours=1), "machine": False, "properties": "{}", **changes}


def results(database: Database, experiment_id: str = "x") -> dict[str, Any]:
    with database.read() as connection:
        return read_results(connection, experiment_id, NOW)


def apply(database: Database, *events: Mapping[str, Any], now: datetime = NOW) -> None:
    with database.write() as connection:
        keep_refunds(connection, events)
        apply_outcomes(connection, events, now)


def join(database: Database, former: str, customer_id: str) -> None:
    with database.write() as connection:
        set_owners(connection, [Link(former, customer_id, NOW)])
    apply(database, event(customer_id, None, type="identify", anonymous_id=former))


def test_a_definition_is_completed_and_versioned(database: Database) -> None:
    first = declare(database, variants={"A": 1, "B": 3})
    assert [variant["weight"] for variant in first["variants"]] == [0.25, 0.75]
    assert first["version"] == 1
    assert declare(database, variants={"A": 1, "B": 3})["version"] == 1
    assert declare(database, variants={"A": 1, "B": 3}, coverage=0.5)["version"] == 2
    with database.read() as connection, pytest.raises(NotFound):
        get_experiment(connection, "other")


@pytest.mark.parametrize(
    "wrong",
    [
        {"variants": ["A"]}, {"variants": ["A", "A"]}, {"variants": {"A": 0, "B": 0}}, {"control": "C"},
        {"coverage": 2},
        {"metric": {"event": "e", "kind": "sum"}}, {"metric": {"event": "e", "kind": "ratio"}}, {"surprise": 1},
        {"starts_at": "2026-01-02T00:00:00Z", "ends_at": "2026-01-01T00:00:00Z"},
        {"guardrails": [{"event": "Order Completed"}]}, {"metric": {"event": "e", "window_days": 0}},
    ],
)  # fmt: skip
def test_wrong_definitions_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ExperimentIn.model_validate({**PLAIN, **wrong})


def test_the_first_assignment_sticks(database: Database) -> None:
    declare(database)
    arms = expose_many(database, 40)
    again = expose_many(database, 40)
    assert arms == again
    assert set(arms) == {"A", "B"}
    assert results(database)["exposures"] == 40
    expected = assign_variant(Plan("x", ("A", "B"), (0.5, 0.5)), "c7")
    assert "c7" in arms[str(expected)]


def test_who_takes_part_stays_in_when_fewer_do(database: Database) -> None:
    declare(database)
    arms = expose_many(database, 20)
    declare(database, coverage=0.0)
    assert expose_many(database, 20) == arms
    with database.write() as connection:
        assert assign(connection, "x", "newcomer", NOW) is None


def test_what_would_mix_two_experiments_is_a_conflict(database: Database) -> None:
    declare(database)
    expose_many(database, 1)
    with pytest.raises(Conflict, match="variants, metric"):
        declare(database, variants={"A": 1, "B": 9}, metric={"event": "Other"})
    declare(database, coverage=0.3, description="may change")


def test_what_a_guardrail_counts_stays_the_same_under_its_name(database: Database) -> None:
    rail = {"name": "refunds", "event": "Order Refunded"}
    declare(database, guardrails=[rail])
    declare(database, guardrails=[{**rail, "event": "Refund Asked"}])  # nobody is exposed yet
    declare(database, guardrails=[rail])
    expose_many(database, 1)
    apply(database, event("c0", name="Order Refunded"))
    for change in ({"event": "Refund Asked"}, {"kind": "count"}, {"window_days": 3}, {"where": "event.name == 'x'"}):
        with pytest.raises(Conflict, match="guardrail 'refunds'"):
            declare(database, guardrails=[{**rail, **change}])
    declare(database, guardrails=[{**rail, "harm": "decrease", "margin": 0.1}, {"event": "Unsubscribed"}])
    declare(database, guardrails=[])
    with pytest.raises(Conflict, match="guardrail 'refunds'"):  # what was counted before is still there
        declare(database, guardrails=[{**rail, "event": "Refund Asked"}])
    declare(database, guardrails=[{**rail, "name": "asked", "event": "Refund Asked"}])


def test_who_takes_no_part_gets_none_and_is_not_counted(database: Database) -> None:
    declare(database, status="draft")
    assert set(expose_many(database, 5)) == {"None"}
    declare(database, starts_at=(NOW + timedelta(days=1)).isoformat())
    assert set(expose_many(database, 5)) == {"None"}
    declare(database, coverage=0)
    assert set(expose_many(database, 5)) == {"None"}
    assert results(database)["sentence"] == "Nobody was exposed yet."
    with database.write() as connection, pytest.raises(NotFound):
        assign(connection, "nothing", "c", NOW)


def test_a_stopped_experiment_ships_one_variant_to_all(database: Database) -> None:
    declare(database)
    expose_many(database, 20)
    declare(database, status="stopped", ship="B")
    assert set(expose_many(database, 30)) == {"B"}
    declare(database, status="stopped")
    assert set(expose_many(database, 30)) == {"A"}
    assert results(database)["exposures"] == 20


def test_results_stand_as_of_the_stop(database: Database) -> None:
    stop = NOW + timedelta(hours=2)
    declare(database)
    arms = expose_many(database, 20)
    declare(database, now=stop, status="stopped", ship="B")
    declare(database, now=stop + timedelta(days=1), status="stopped", ship="B", description="shipped")
    a, b = arms["A"][0], arms["B"][0]
    apply(database, event(a), event(b, timestamp=stop), event(b, timestamp=stop + timedelta(days=1)))
    got = results(database)
    assert [arm["total"] for arm in got["arms"]] == [1, 0]  # what came late happened before the stop
    assert got["stopped_at"] == stop
    declare(database, now=stop + timedelta(days=2))
    apply(database, event(b, timestamp=stop + timedelta(days=2)))
    got = results(database)
    assert [arm["total"] for arm in got["arms"]] == [1, 1]
    assert got["stopped_at"] is None


def test_only_human_events_in_the_window_after_exposure_count(database: Database) -> None:
    declare(database, metric={"event": "Order Completed", "window_days": 2})
    arms = expose_many(database, 20)
    someone = arms["A"][0]
    late, early = NOW + timedelta(days=2), NOW - timedelta(seconds=1)
    apply(
        database,
        event(someone, timestamp=late), event(someone, timestamp=early), event(someone, machine=True),
        event("stranger"), event(someone, name="Product Viewed"),
    )  # fmt: skip
    assert [arm["total"] for arm in results(database)["arms"]] == [0, 0]
    apply(database, event(someone, timestamp=NOW), event(someone), event(arms["B"][0]))
    apply(database, event(someone))
    assert [arm["total"] for arm in results(database)["arms"]] == [1, 1]


def test_clicks_that_turned_out_to_be_a_machine_s_count_no_more(database: Database) -> None:
    click, order = "Email Link Clicked", event("c1")
    declare(database, metric={"event": click})
    declare(database, "y", metric={"event": "Order Completed", "kind": "ratio", "denominator": click})
    for name in ("x", "y"):
        expose_many(database, 2, name)
    before = NOW - timedelta(hours=1)
    clicks = [event("c1", name=click), event("c1", name=click), event("c1", name=click, timestamp=before)]
    apply(database, order, *clicks)
    for taken, left, ratio in ((clicks[1:], 1, 1.0), (clicks[:1], 0, 0.0)):
        with database.write() as connection:
            withdraw_outcomes(connection, taken)
        assert sum(arm["total"] for arm in results(database)["arms"]) == left
        assert max(arm["value"] or 0.0 for arm in results(database, "y")["arms"]) == ratio


def test_a_page_of_an_events_name_is_no_such_event(database: Database) -> None:
    declare(database)
    declare(database, "pages", metric={"event": "page", "where": "event.name == 'Pricing'"})
    expose_many(database, 1)
    expose_many(database, 1, "pages")
    apply(database, event("c0", type="page"))
    apply(database, event("c9", "Experiment Viewed", type="screen", properties={"experiment_id": "x"}))
    with database.read() as connection:
        assert find_exposures(connection, ["c9"]) == []
    apply(database, event("c0", "Pricing"), event("c0", "Pricing", type="page"), event("c0", None, type="page"))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 0
    assert sum(arm["total"] for arm in results(database, "pages")["arms"]) == 1
    apply(database, event("c0"))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 1


def test_a_condition_of_a_metric_is_checked_and_old_goals_stay_the_same(database: Database) -> None:
    with pytest.raises(ValidationError, match="where"):
        ExperimentIn.model_validate({**PLAIN, "metric": {"event": "page", "where": "event.name =="}})
    declare(database)
    expose_many(database, 1)
    with database.write() as connection:  # as it was stored before metrics had conditions
        stored = dict(find_experiment(connection, "x") or {})
        del stored["definition"]["metric"]["where"]
        save_experiment(connection, stored)
    assert declare(database, description="may change")["description"] == "may change"
    apply(database, event("c0"))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 1


def test_sums_counts_and_ratios(database: Database) -> None:
    for name, metric in {
        "sum": {"event": "Order Completed", "kind": "sum", "value": "revenue_cents"},
        "count": {"event": "Order Completed", "kind": "count"},
        "property": {"event": "Order Completed", "kind": "sum", "value": "points"},
        "revenue": {"event": "Order Completed", "kind": "sum", "value": "revenue"},
        "ratio": {"event": "Order Completed", "kind": "ratio", "denominator": "Product Viewed"},
    }.items():
        declare(database, name, metric=metric)
        arms = expose_many(database, 40, name)
    a = arms["A"][0]
    with database.read() as connection:
        mine = {exposure.experiment_id: exposure.variant for exposure in find_exposures(connection, [a])}
    points = orjson.dumps({"points": 5}).decode()
    views = [event(a, name="Product Viewed") for _ in range(4)]
    apply(database, event(a, revenue_cents=1250, properties=points), *views)
    apply(database, event(a, revenue_cents=750))
    abroad = orjson.dumps({"revenue": 9.99}).decode()
    apply(database, event(a, revenue_cents=999, currency="EUR", properties=abroad))  # no rate: no money of ours
    for name, total in {"sum": 2000, "count": 3, "property": 5, "revenue": 0, "ratio": 3}.items():
        arm = next(arm for arm in results(database, name)["arms"] if arm["key"] == mine[name])
        assert arm["total"] == total
    ratio = next(arm for arm in results(database, "ratio")["arms"] if arm["key"] == mine["ratio"])
    assert ratio["value"] == 0.75


def test_results_do_not_look_up_everybody_who_did_nothing(tmp_path: Path) -> None:
    """Most of those exposed; a lookup for each took a second at a million, for every metric."""
    database = sqlite_at(tmp_path)
    declare(database, guardrails=[{"name": "refunds", "event": "Order Refunded"}])
    expose_many(database, 20)
    apply(database, event("c1"))
    with database.read() as connection:
        lines = plans_of(database, connection, lambda held: read_results(held, "x", NOW))
    assert [line for line in lines if "LEFT-JOIN" in line] == []
    assert any("experiment_values" in line for line in lines)
    database.close()


def test_a_ratio_of_nothing_is_not_surely_worse(database: Database) -> None:
    ratio = {"event": "Order Completed", "kind": "ratio", "value": "revenue_cents", "denominator": "Product Viewed"}
    declare(database, metric=ratio)
    buyers = expose_many(database, 400)["A"][:30]
    apply(database, *[event(who, revenue_cents=1_000 + n) for n, who in enumerate(buyers)])
    apply(database, *[event(who, name="Product Viewed") for who in buyers])
    told = results(database)
    assert (told["winner"], told["effect"]["absolute"]) == (None, None)
    assert [arm["value"] for arm in told["arms"]] == [pytest.approx(1014.5), None]
    assert "B with nothing" in told["sentence"]


def test_an_arm_in_which_nobody_bought_has_the_spread_of_the_others(database: Database) -> None:
    declare(database, tuning=400, metric={"event": "Order Completed", "kind": "sum", "value": "revenue_cents"})
    buyers = expose_many(database, 400)["B"][:20]
    for some, significant in ((buyers[:12], False), (buyers[12:], True)):
        apply(database, *[event(who, revenue_cents=1_000) for who in some])
        assert results(database)["effect"]["significant"] is significant


def test_a_clear_difference_names_a_winner_in_words(database: Database) -> None:
    declare(database, metric="Order Completed")
    arms = expose_many(database, 800)
    buyers = arms["B"][: int(len(arms["B"]) * 0.5)] + arms["A"][: int(len(arms["A"]) * 0.1)]
    apply(database, *(event(customer) for customer in buyers))
    got = results(database)
    assert got["winner"] == "B"
    assert got["srm"]["passed"]
    assert got["effect"]["arm"] == "B"
    assert got["effect"]["absolute"]["low"] > 0.2
    assert got["effect"]["absolute"]["high"] < 0.6
    assert got["sentence"].endswith("B wins.")
    assert "Order Completed: B 50.00%" in got["sentence"] or "Order Completed: B 49" in got["sentence"]


@pytest.mark.parametrize(("buyers_of", "winner"), [("B", "B"), ("A", "A")])
def test_an_arm_that_gets_nobody_holds_no_winner_up(database: Database, buyers_of: str, winner: str) -> None:
    declare(database, variants={"A": 1, "B": 1, "C": 0})
    arms = expose_many(database, 800)
    apply(database, *(event(customer) for customer in arms[buyers_of][:300]))
    assert results(database)["winner"] == winner


def test_a_broken_split_withholds_the_winner(database: Database) -> None:
    declare(database)
    arms = expose_many(database, 800)
    apply(database, *(event(customer) for customer in arms["B"][:300]))
    with database.write() as connection:
        for customer in arms["A"][:200]:
            erase_row(connection, customer)
    got = results(database)
    assert got["srm"]["verdict"] == "failed"
    assert got["winner"] is None
    assert "split is not as planned (sample ratio mismatch, p < 0.001)" in got["winner_withheld"]
    assert "No winner is named" in got["sentence"]


def erase_row(connection: Any, customer_id: str) -> None:
    from service.experiments.experiment_store import remove_exposures

    remove_exposures(connection, customer_id)


def test_a_harmed_guardrail_withholds_the_winner(database: Database) -> None:
    declare(database, guardrails=[{"event": "Unsubscribed"}])
    arms = expose_many(database, 800)
    apply(database, *(event(customer) for customer in arms["B"][:300]))
    apply(database, *(event(customer, name="Unsubscribed") for customer in arms["B"][:150]))
    got = results(database)
    assert got["guardrails"][0]["verdict"] == "harmed"
    assert got["winner"] is None
    assert got["winner_withheld"] == "B does harm (Unsubscribed)"
    assert got["sentence"].count("does harm") == 1


def test_a_guardrail_with_a_margin_knows_harm_that_control_does_not_have_at_all(database: Database) -> None:
    """Relative to nothing there is no change to tell; and a small control has too few to be divided by."""
    declare(database, guardrails=[{"event": "Unsubscribed", "margin": 0.2}])
    arms = expose_many(database, 800)
    apply(database, *(event(customer, name="Unsubscribed") for customer in arms["B"][:150]))
    rail = results(database)["guardrails"][0]
    assert (rail["verdict"], rail["relative"]) == ("harmed", None)
    apply(database, *(event(customer, name="Unsubscribed") for customer in arms["A"][:140]))
    assert results(database)["guardrails"][0]["verdict"] == "watching"


def test_harm_is_said_while_no_difference_is_proven(database: Database) -> None:
    declare(database, guardrails=[{"event": "Unsubscribed"}])
    arms = expose_many(database, 800)
    apply(database, *(event(customer) for arm in "AB" for customer in arms[arm][:60]))
    apply(database, *(event(customer, name="Unsubscribed") for customer in arms["B"][:150]))
    got = results(database)
    assert got["winner"] is None
    told = "No difference is proven yet. B does harm (Unsubscribed): stop it, or find out why."
    assert got["sentence"].endswith(told)


def test_a_worse_treatment_leaves_control(database: Database) -> None:
    declare(database)
    arms = expose_many(database, 800)
    apply(database, *(event(customer) for customer in arms["A"][:300]))
    assert results(database)["winner"] == "A"


def test_a_split_exposes_nobody_where_events_do(database: Database) -> None:
    """Who came to it counted from then on, though what tells who saw it is the client's event."""
    declare(database, exposed_by="event")
    with database.write() as connection:
        given = assign(connection, "x", "c1", NOW)
        assert given in {"A", "B"}
        assert find_exposures(connection, ["c1"]) == []
    apply(database, event("c1", "Experiment Viewed", properties=orjson.dumps({"experiment_id": "x"}).decode()))
    with database.read() as connection:
        [exposure] = find_exposures(connection, ["c1"])
    assert exposure.variant == given


def test_cuped_by_a_feature_that_there_is_not_is_refused(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It took nothing out, and said so nowhere. One whose feature was taken away may still be changed, and stopped."""
    with pytest.raises(Invalid, match="cuped: there is no feature 'ordres_90d'; do you mean orders_90d"):
        declare(database, cuped="ordres_90d")
    monkeypatch.setattr("service.experiments.define_experiment.FEATURE_NAMES", ("mine",))
    declare(database, cuped="mine")
    monkeypatch.setattr("service.experiments.define_experiment.FEATURE_NAMES", ())
    assert declare(database, cuped="mine", status="stopped")["status"] == "stopped"


def test_cuped_uses_the_value_before_exposure(database: Database) -> None:
    declare(database, metric={"event": "Order Completed", "kind": "count"}, cuped="orders_90d")
    before = {f"c{number}": float(number % 7) for number in range(300)}

    def orders_before(who: str, feature: str, at: datetime) -> float | None:
        return before[who] if (feature, at) == ("orders_90d", NOW) else None

    with database.write() as connection:
        for customer in before:
            assign(connection, "x", customer, NOW, orders_before)
        assign(connection, "x", "unknown", NOW, lambda who, feature, at: None)
    apply(database, *(event(customer) for customer, orders in before.items() for _ in range(int(orders))))
    got = results(database)
    assert got["cuped"]["used"]
    assert got["cuped"]["variance_reduction"] > 0.9
    assert got["exposures"] == 301


def test_experiment_viewed_exposes(database: Database) -> None:
    declare(database, exposed_by="event")
    seen = {"event": "Experiment Viewed", "properties": orjson.dumps({"experiment_id": "x"}).decode()}
    apply(database, {**event("c1"), **seen}, {**event("c1"), **seen}, event("c1", timestamp=NOW + timedelta(hours=2)))
    got = results(database)
    assert got["exposures"] == 1
    assert sum(arm["total"] for arm in got["arms"]) == 1


@pytest.mark.parametrize("properties", [{"experiment_id": "of_another_tool"}, {}])
def test_what_another_tool_s_experiments_show_is_passed_over(database: Database, properties: dict[str, str]) -> None:
    declare(database)
    expose_many(database, 1)
    apply(database, event("c0", "Experiment Viewed", properties=orjson.dumps(properties).decode()), event("c0"))
    got = results(database)
    assert (got["exposures"], sum(arm["total"] for arm in got["arms"])) == (1, 1)


@pytest.mark.parametrize(("channel", "counted"), [(None, 2), ("email", 1), ("sms", 0)])
def test_a_metric_counts_its_channel_or_all(database: Database, channel: str | None, counted: int) -> None:
    declare(database, metric={"event": "Message Opened", "kind": "count", "channel": channel})
    expose_many(database, 1)
    apply(database, *(event("c0", "Message Opened", channel=one) for one in ("email", "push")))
    assert sum(arm["total"] for arm in results(database)["arms"]) == counted


SEEN_LATE: dict[str, Any] = {"exposed_by": "event", "metric": {"event": "Order Completed", "kind": "sum",
                             "value": "revenue_cents", "window_days": 2}}  # fmt: skip


def order(customer_id: str, number: int, cents: int, **changes: Any) -> Mapping[str, Any]:
    return event(customer_id, message_id=f"o{number}", revenue_cents=cents, **changes)


def test_a_goal_that_comes_before_the_event_that_tells_its_exposure_counts(database: Database) -> None:
    declare(database, **SEEN_LATE)
    seen = event("c1", name="Experiment Viewed", timestamp=NOW, properties={"experiment_id": "x"})
    before, after = NOW - timedelta(seconds=1), NOW + timedelta(days=2)
    apply(database, order("c1", 1, 100, timestamp=before), order("c1", 2, 10), order("c1", 3, 1, timestamp=after))
    apply(database, order("c2", 4, 5_000), order("c1", 5, 7, machine=True))
    assert results(database)["exposures"] == 0
    apply(database, seen)
    apply(database, seen, order("c1", 6, 30))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 40


def test_early_goals_count_for_the_goal_that_they_were_kept_for(database: Database) -> None:
    rail = {"event": "Order Refunded"}
    declare(database, **SEEN_LATE, guardrails=[rail])
    apply(database, order("c1", 1, 100), event("c1", name="Order Refunded", message_id="r1"))
    declare(database, exposed_by="event", metric={**SEEN_LATE["metric"], "value": "discount_cents"}, guardrails=[rail])
    apply(database, order("c1", 2, 10, discount_cents=3))
    apply(database, event("c1", name="Experiment Viewed", timestamp=NOW, properties={"experiment_id": "x"}))
    with database.read() as connection:
        counted = {row.metric: (row.times, row.total) for row in connection.execute(select(values))}
    assert counted == {"Order Completed": (1, 3.0), "Order Refunded": (1, 0.0)}


def test_early_goals_follow_a_person_and_are_erased_withdrawn_and_forgotten(database: Database) -> None:
    declare(database, **SEEN_LATE)
    apply(database, order("c2", 1, 1), order("c3", 2, 2), order("c4", 3, 4), order("cookie", 4, 8))
    with database.write() as connection:
        erase_subject(connection, "c2")
        withdraw_outcomes(connection, [order("c3", 2, 2)])
    join(database, "cookie", "c5")
    late = NOW + timedelta(days=7, hours=2)
    apply(database, *[event(f"c{n}", name="Experiment Viewed", timestamp=NOW, properties={"experiment_id": "x"})
                      for n in (2, 3, 5)])  # fmt: skip
    assert sum(arm["total"] for arm in results(database)["arms"]) == 8
    apply(database, order("c6", 5, 16, timestamp=NOW), now=late)  # whatever waits for a week goes
    apply(database, event("c4", name="Experiment Viewed", timestamp=NOW, properties={"experiment_id": "x"}))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 8
    apply(database, event("cookie2", name="Experiment Viewed", timestamp=NOW, properties={"experiment_id": "x"}))
    join(database, "cookie2", "c6")
    assert sum(arm["total"] for arm in results(database)["arms"]) == 24


def test_an_exposure_of_before_the_stop_that_is_told_late_counts(database: Database) -> None:
    declare(database, **SEEN_LATE)
    declare(database, **SEEN_LATE, status="stopped", ship="B", now=NOW + timedelta(hours=3))
    for name, at in (("c1", timedelta()), ("c2", timedelta(hours=3))):
        seen = {"timestamp": NOW + at, "properties": {"experiment_id": "x"}}
        apply(database, event(name, name="Experiment Viewed", **seen), order(name, 1, 10))
    assert results(database)["exposures"] == 1
    assert sum(arm["total"] for arm in results(database)["arms"]) == 10
    apply(database, order("c3", 3, 5), order("c3", 4, 500, timestamp=NOW + timedelta(hours=3)))
    apply(database, event("c3", name="Experiment Viewed", timestamp=NOW, properties={"experiment_id": "x"}))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 15


def test_a_merged_person_has_one_exposure_the_earlier(database: Database) -> None:
    declare(database)
    with database.write() as connection:
        early = assign(connection, "x", "anonymous-1", NOW)
    with database.write() as connection:
        assign(connection, "x", "known-1", NOW + timedelta(minutes=5))
    apply(database, event("anonymous-1"))
    known = event("known-1", None, type="identify", anonymous_id="anonymous-1")
    apply(database, known)  # which joined nobody: the id is a user's own
    with database.read() as connection:
        assert len(find_exposures(connection, ["anonymous-1"])) == 1
    with database.write() as connection:
        set_owners(connection, [Link("anonymous-1", "known-1", NOW)])
    apply(database, known)
    with database.read() as connection:
        assert find_exposures(connection, ["anonymous-1"]) == []
        kept = find_exposures(connection, ["known-1"])
    assert [(each.variant, each.at) for each in kept] == [(early, NOW)]
    assert sum(arm["total"] for arm in results(database)["arms"]) == 1
    join(database, "nobody", "known-1")
    assert results(database)["exposures"] == 1


def test_erasing_keeps_the_aggregate_without_the_person(database: Database) -> None:
    declare(database)
    expose_many(database, 10)
    apply(database, event("c3"))
    before = results(database)
    with database.write() as connection:
        assert len(exported(connection, "c3")) == 1
        assert erase_subject(connection, "c3") == 1
        assert exported(connection, "c3") == []
    assert results(database) == before

"""Exposures and goals in whatever order they come, and units that saw more than one variant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import permutations
from typing import Any

import pytest
from sqlalchemy import select

from service.experiments.assign_customer import assign
from service.experiments.assignment import Plan, assign_variant
from service.experiments.experiment_store import Exposure, find_exposures, values
from service.experiments.record_outcomes import apply_outcomes
from service.storage.database import Database
from tests.service.experiments.test_experiments import NOW, apply, declare, event, join, results

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
REVENUE = {"event": "Order Completed", "kind": "sum", "value": "revenue_cents", "window_days": 2}


def seen(customer: str, at: datetime, **told: Any) -> Any:
    return event(customer, "Experiment Viewed", timestamp=at, properties={"experiment_id": "x", **told})


def bought(customer: str, at: datetime, cents: int) -> Any:
    return event(customer, timestamp=at, revenue_cents=cents)


def order(customer: str, order_id: str, at: datetime) -> Any:
    return event(customer, timestamp=at, revenue_cents=1_000, order_id=order_id)


def back(customer: str, order_id: str, at: datetime, cents: int | None = None) -> Any:
    return event(customer, "Order Refunded", timestamp=at, order_id=order_id, revenue_cents=cents)


def by_arm(database: Database) -> dict[str, tuple[int, float]]:
    return {arm["key"]: (arm["exposures"], arm["total"]) for arm in results(database)["arms"]}


def exposure(database: Database, customer: str) -> Exposure:
    with database.read() as connection:
        return find_exposures(connection, [customer])[0]


def one_called(variant: str, but: Sequence[str] = ()) -> str:
    """Somebody to whom assignment gives a variant."""
    plan = Plan("x", ("A", "B"), (0.5, 0.5))
    return next(name for n in range(99) if (name := f"p{n}") not in but and assign_variant(plan, name) == variant)


def test_every_order_in_which_exposures_and_goals_come_gives_the_same(database: Database) -> None:
    """Two exposures an hour apart; goals before, between, after both, and behind the window of the first alone."""
    declare(database, exposed_by="event", metric=REVENUE)
    first, second = NOW, NOW + HOUR
    for number, sequence in enumerate(permutations(range(5))):
        who = f"c{number}"
        told = [
            seen(who, first), seen(who, second),
            bought(who, first - HOUR, 1_000), bought(who, first + HOUR / 2, 200), bought(who, first + 2 * DAY, 30),
        ]  # fmt: skip
        for place in sequence:
            apply(database, told[place])
        assert exposure(database, who).at == first
        with database.read() as connection:
            total = connection.execute(select(values.c.total).where(values.c.customer_id == who)).scalar_one()
        assert total == 200, sequence


def test_an_earlier_exposure_has_its_own_covariate(database: Database) -> None:
    declare(database, exposed_by="event", metric=REVENUE, cuped="orders_90d")
    known = {NOW + HOUR: 2.0, NOW: 1.0}
    for at in known:
        with database.write() as connection:
            apply_outcomes(connection, [seen("c1", at)], NOW, lambda _who, _feature, when: known[when])
    assert (exposure(database, "c1").at, exposure(database, "c1").covariate) == (NOW, 1.0)


@pytest.mark.parametrize("first_told", [0, 1])
def test_of_two_variations_that_one_unit_saw_the_first_counts_and_the_report_says_so(
    database: Database, first_told: int
) -> None:
    declare(database, exposed_by="event", metric=REVENUE)
    who, steady = one_called("A"), one_called("B")
    told = [seen(who, NOW, variation_id="B"), seen(who, NOW + HOUR, variation_name="A")]
    apply(database, told[first_told])
    apply(database, bought(who, NOW + HOUR / 2, 100), bought(who, NOW + 2 * HOUR, 10))
    apply(database, told[1 - first_told])
    apply(database, seen(steady, NOW, variation_id="B"), seen(steady, NOW + HOUR, variation_id="of another tool"))
    assert by_arm(database) == {"A": (0, 0), "B": (2, 110)}
    assert results(database)["crossovers"] == 1


def test_the_variation_that_a_page_showed_is_the_one_that_counts(database: Database) -> None:
    """A client that buckets by itself, by another id: its split is the one to be checked."""
    declare(database, exposed_by="event", metric=REVENUE)
    for number in range(60):
        apply(database, seen(f"c{number}", NOW, variation_id="A"))
    assert by_arm(database)["A"] == (60, 0)
    assert results(database)["srm"]["verdict"] == "failed"
    with database.write() as connection:
        assert assign(connection, "x", one_called("B", but=[]), NOW) in {"A", "B"}
        assert assign(connection, "x", "c1", NOW) == "A"


def test_where_using_a_flag_exposes_an_event_moves_nothing(database: Database) -> None:
    declare(database, metric=REVENUE)
    with database.write() as connection:
        assign(connection, "x", one_called("A"), NOW)
    apply(database, seen(one_called("A"), NOW - HOUR), bought(one_called("A"), NOW - HOUR / 2, 100))
    assert by_arm(database)["A"] == (1, 0)
    assert results(database)["crossovers"] == 0


def test_what_is_seen_after_the_stop_is_no_second_variant(database: Database) -> None:
    declare(database, exposed_by="event", metric=REVENUE)
    apply(database, seen("c1", NOW, variation_id="A"))
    declare(database, exposed_by="event", metric=REVENUE, status="stopped", ship="B", now=NOW + HOUR)
    apply(database, seen("c1", NOW + 2 * HOUR, variation_id="B"))
    assert results(database)["crossovers"] == 0


@pytest.mark.parametrize("late", [False, True])
def test_nothing_of_a_pause_counts_however_late_it_is_told(database: Database, late: bool) -> None:
    """Between a stop and the next start everybody gets what ships."""
    stop, start = NOW + HOUR, NOW + 5 * HOUR
    declared: dict[str, Any] = {"exposed_by": "event", "metric": REVENUE}
    declare(database, **declared)
    before, refund = order("c1", "o1", NOW + HOUR / 2), back("c1", "o1", stop + HOUR)
    apply(database, seen("c1", NOW, variation_id="A"), before)
    declare(database, **declared, status="stopped", ship="B", now=stop)
    meanwhile = [
        order("c1", "o2", stop), refund, seen("c1", stop + HOUR, variation_id="B"),
        seen("c2", stop + 2 * HOUR, variation_id="B"), order("c2", "o3", stop + 3 * HOUR),
    ]  # fmt: skip
    if not late:
        apply(database, *meanwhile)
    declare(database, **declared, now=start)
    declare(database, **declared, description="as before", now=start + HOUR)
    if late:
        apply(database, *meanwhile)
    apply(database, order("c1", "o4", start), back("c1", "o1", start + HOUR, 250), seen("c1", start, variation_id="A"))
    assert by_arm(database) == {"A": (1, 1_750), "B": (0, 0)}
    assert results(database)["pauses"] == [{"start": stop, "end": start}]
    assert results(database)["crossovers"] == 0


@pytest.mark.parametrize("first", ["A", "B"])
def test_a_person_known_under_two_ids_counts_once_where_they_were_first(database: Database, first: str) -> None:
    """With what they did under either: whom the second id falls to is no matter of chance that the first shares."""
    declare(database, metric=REVENUE)
    other = "B" if first == "A" else "A"
    cookie, user = one_called(first), one_called(other)
    with database.write() as connection:
        assert assign(connection, "x", cookie, NOW) == first
        assert assign(connection, "x", user, NOW + DAY) == other
    apply(database, bought(user, NOW + HOUR, 1_000), bought(cookie, NOW + HOUR, 200))
    apply(database, bought(user, NOW + DAY + HOUR, 30), bought(user, NOW + 2 * DAY, 4))
    assert by_arm(database) == {first: (1, 200), other: (1, 34)}
    join(database, cookie, user)
    assert by_arm(database) == {first: (1, 1_230), other: (0, 0)}  # and nothing behind the window of the first
    assert results(database)["crossovers"] == 1
    assert exposure(database, user).variant == first

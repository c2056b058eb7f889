"""What an order counts for in experiments goes back with its refund, whenever either comes."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import select

from service.experiments.experiment_store import values
from service.experiments.goals_store import forget_goals, goals
from service.experiments.record_outcomes import erase_subject
from service.storage.database import Database
from tests.fakes.plans import plans_of, sqlite_at
from tests.service.experiments.test_experiments import NOW, apply, declare, event, expose_many, join, results

DAY = timedelta(days=1)
METRICS: dict[str, dict[str, Any]] = {
    "conversion": {"event": "Order Completed"},
    "count": {"event": "Order Completed", "kind": "count"},
    "revenue": {"event": "Order Completed", "kind": "sum", "value": "revenue_cents"},
    "units": {"event": "Order Completed", "kind": "sum", "value": "revenue"},
    "points": {"event": "Order Completed", "kind": "sum", "value": "points"},
    "basket": {"event": "Order Completed", "kind": "ratio", "value": "revenue_cents", "denominator": "Order Completed"},
    "refunds": {"event": "Order Refunded", "kind": "sum", "value": "revenue_cents"},
}


def order(order_id: str, cents: int | None, customer: str = "c0", **changes: Any) -> Any:
    told = {} if cents is None else {"revenue": cents / 100}
    properties = orjson.dumps({"points": 7, **told}).decode()
    return event(customer, order_id=order_id, revenue_cents=cents, properties=properties, **changes)


def refund(order_id: str, cents: int | None, customer: str = "c0", at: Any = NOW + DAY, **changes: Any) -> Any:
    return event(customer, "Order Refunded", order_id=order_id, revenue_cents=cents, timestamp=at, **changes)


def declare_all(database: Database) -> None:
    for name, metric in METRICS.items():
        declare(database, name, metric=metric)
        expose_many(database, 1, name)


def counted(database: Database) -> dict[str, float]:
    """What each experiment has counted in all arms; of `basket`, the mean."""
    told = {}
    for name in METRICS:
        arms = results(database, name)["arms"]
        told[name] = max(arm["value"] or 0.0 for arm in arms) if name == "basket" else sum(arm["total"] for arm in arms)
    return told


ALL = {"conversion": 1, "count": 2, "revenue": 5000, "units": 50, "points": 14, "basket": 2500, "refunds": 0}


@pytest.mark.parametrize(
    ("refunds", "left"),
    [
        ([refund("o1", 4000)],
         {"conversion": 1, "count": 1, "revenue": 1000, "units": 10, "points": 7, "basket": 1000, "refunds": 4000}),
        ([refund("o1", None)],
         {"conversion": 1, "count": 1, "revenue": 1000, "units": 10, "points": 7, "basket": 1000, "refunds": 0}),
        ([refund("o1", 1000)],
         {"conversion": 1, "count": 2, "revenue": 4000, "units": 40, "points": 14, "basket": 2000, "refunds": 1000}),
        ([refund("o1", 1000), refund("o1", 3000, at=NOW + 90 * DAY), refund("o2", 1000)],
         {"conversion": 0, "count": 0, "revenue": 0, "units": 0, "points": 0, "basket": 0, "refunds": 2000}),
        ([refund("o9", 1000), refund("o1", 1000, customer="c9")], ALL | {"refunds": 1000}),
    ],
)  # fmt: skip
def test_what_is_refunded_is_taken_back_in_whatever_order_it_comes(
    database: Database, refunds: list[Any], left: dict[str, float]
) -> None:
    declare_all(database)
    apply(database, order("o1", 4000), order("o2", 1000))
    assert counted(database) == ALL
    for each in refunds:
        for _ in range(2):  # once more: nothing twice, but in a metric of the refunds themselves
            apply(database, each)
    assert counted(database) == pytest.approx(left)


def test_of_an_order_without_a_price_only_a_refund_of_all_takes_it_back(database: Database) -> None:
    declare(database)
    expose_many(database, 1)
    for told, total in ((order("o1", None), 1), (refund("o1", 1000), 1), (refund("o1", None), 0)):
        apply(database, told)
        assert sum(arm["total"] for arm in results(database)["arms"]) == total


def test_every_order_of_arrival_gives_the_same(database: Database) -> None:
    declare(database, metric=METRICS["revenue"])
    told = [("o", 4000), ("r", 1000), ("r", 500), ("again", 4000)]
    for number, sequence in enumerate(permutations(range(4))):
        who = f"c{number}"
        expose_many(database, number + 1)
        events = [
            order("o1", None, who) if name == "o"
            else refund("o1", cents, who) if name == "r"
            else order("o1", cents, who, name="Order Repeated")
            for name, cents in told
        ]  # fmt: skip
        if sequence.index(0) > sequence.index(3):
            continue  # what is told again comes behind what was told first: the applier sees to that
        for place in sequence:
            apply(database, events[place])
        with database.read() as connection:
            row = connection.execute(select(values).where(values.c.customer_id == who)).one()
        assert (row.times, row.total) == (1, 2500), sequence


def test_a_refund_in_the_portion_of_its_order_stands_in_any_place(database: Database) -> None:
    declare_all(database)
    apply(database, refund("o1", 4000), order("o1", 4000), order("o2", 1000))
    assert counted(database)["revenue"] == 1000


def test_lines_of_a_table_are_parts_of_one_order(database: Database) -> None:
    declare_all(database)
    apply(database, order("o1", 3000), order("o1", 1000))
    apply(database, refund("o1", 1000))
    assert counted(database)["revenue"] == 3000
    apply(database, refund("o1", 3000, at=NOW + 2 * DAY))
    assert (counted(database)["conversion"], counted(database)["count"]) == (0, 0)


def test_a_refund_after_the_stop_changes_no_result(database: Database) -> None:
    declare(database, metric=METRICS["revenue"])
    expose_many(database, 1)
    apply(database, order("o1", 4000), order("o2", 1000))
    declare(database, metric=METRICS["revenue"], status="stopped", now=NOW + DAY)
    apply(database, refund("o1", 4000), refund("o2", 1000, at=NOW + timedelta(hours=23)))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 4000


def test_orders_wait_for_their_refund_longer_than_other_goals(database: Database) -> None:
    declare(database, metric=METRICS["conversion"], guardrails=[{"event": "Email Link Clicked"}])
    expose_many(database, 2)
    apply(database, order("o1", 4000), event("c0", "Email Link Clicked"))
    apply(database, order("o2", 1000, "c1"), now=NOW + 8 * DAY)
    with database.read() as connection:
        assert connection.execute(select(goals.c.order_id)).scalars().all() == ["o1", "o2"]
    apply(database, refund("o1", 4000, at=NOW + 90 * DAY))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 1
    apply(database, order("o3", 1000, "c1"), now=NOW + 181 * DAY)
    with database.read() as connection:
        assert connection.execute(select(goals.c.order_id)).scalars().all() == ["o3"]


def test_what_is_kept_no_longer_is_found_by_an_index(tmp_path: Path) -> None:
    """At every portion of events."""
    database = sqlite_at(tmp_path)
    with database.write() as connection:
        lines = plans_of(database, connection, lambda held: forget_goals(held, NOW))
    assert [line for line in lines if "ix_experiment_goals_kept_until" in line]
    database.close()


def test_a_refund_under_another_id_of_the_person_finds_the_order_and_a_second_telling_counts_once(
    database: Database,
) -> None:
    """As in outcomes of decisions, of an order told under both ids the customer's counts."""
    declare(database, metric=METRICS["revenue"])
    expose_many(database, 2)
    apply(database, order("o1", 4000, "c0"), order("o1", 4100, "c1"), order("o2", 500, "c0"), refund("o2", 200, "c1"))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 8600
    join(database, "c0", "c1")
    assert sum(arm["total"] for arm in results(database)["arms"]) == 4100 + 300


def test_nothing_of_an_erased_person_s_orders_is_kept_but_the_sums(database: Database) -> None:
    declare(database, metric=METRICS["revenue"])
    expose_many(database, 1)
    apply(database, order("o1", 4000))
    with database.write() as connection:
        erase_subject(connection, "c0")
        assert connection.execute(select(goals)).all() == []
    apply(database, refund("o1", 4000))
    assert sum(arm["total"] for arm in results(database)["arms"]) == 4000

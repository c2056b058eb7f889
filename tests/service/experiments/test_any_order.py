"""In whatever order and portions events come, results are those of the whole history, computed here at once."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from service.customers.identity_store import Link, set_owners
from service.storage.database import Database
from tests.fakes.plans import sqlite_at
from tests.service.experiments.test_experiments import NOW, apply, declare, event, results

WINDOW = timedelta(days=3)
REVENUE = {"event": "Order Completed", "kind": "sum", "value": "revenue_cents", "window_days": 3}
Event = Mapping[str, Any]


def history(draw: random.Random) -> tuple[list[Event], dict[str, str]]:
    """Events of users and of visitors, and which visitor turned out to be which user. No two at one time."""
    owners = {f"visitor{n}": f"user{n}" for n in range(4) if draw.random() < 0.7}
    events: list[Event] = []
    for number in range(36):
        who = f"{draw.choice(('user', 'visitor'))}{draw.randrange(4)}"
        at = NOW + timedelta(hours=draw.randrange(120), seconds=number)
        if draw.random() < 0.4:
            seen = {"experiment_id": "x", "variation_id": draw.choice("AB")}
            events.append(event(who, "Experiment Viewed", timestamp=at, properties=seen))
            continue
        cents, order = draw.randrange(100, 5_000), {"order_id": f"o{number}"}
        events.append(event(who, timestamp=at, revenue_cents=cents, **order))
        for _ in range(draw.choice((0, 0, 1, 2))):
            back = {"revenue_cents": draw.choice((None, cents, cents // 2, cents // 4)), **order}
            events.append(event(who, "Order Refunded", timestamp=at + timedelta(hours=5), **back))
    return events, owners


def expected(events: list[Event], owners: Mapping[str, str]) -> tuple[dict[str, int], dict[str, float], int]:
    """Exposures and net revenue by variant, and how many saw both."""
    first: dict[str, Event] = {}
    saw: dict[str, set[str]] = {}
    for each in sorted(events, key=lambda each: each["timestamp"]):
        if each["event"] == "Experiment Viewed":
            person = owners.get(each["customer_id"], each["customer_id"])
            first.setdefault(person, each)
            saw.setdefault(person, set()).add(each["properties"]["variation_id"])
    exposures, revenue = {"A": 0, "B": 0}, {"A": 0.0, "B": 0.0}
    for each in first.values():
        exposures[each["properties"]["variation_id"]] += 1
    for each in events:
        exposure = first.get(owners.get(each["customer_id"], each["customer_id"]))
        if each["event"] != "Order Completed" or exposure is None:
            continue
        if exposure["timestamp"] <= each["timestamp"] < exposure["timestamp"] + WINDOW:
            told = [one for one in events if one["event"] == "Order Refunded" and one["order_id"] == each["order_id"]]
            back = sum(each["revenue_cents"] if one["revenue_cents"] is None else one["revenue_cents"] for one in told)
            revenue[exposure["properties"]["variation_id"]] += max(each["revenue_cents"] - back, 0)
    return exposures, revenue, sum(len(variants) > 1 for variants in saw.values())


def tell(database: Database, draw: random.Random, events: list[Event], owners: Mapping[str, str]) -> None:
    """All of it, shuffled, a few at a time; whoever is known by then is told under their own id."""
    told: list[Event | tuple[str, str]] = [*events, *owners.items()]
    draw.shuffle(told)
    known: dict[str, str] = {}
    while told:
        size = draw.randrange(1, 4)
        portion, told = told[:size], told[size:]
        known |= {one[0]: one[1] for one in portion if isinstance(one, tuple)}
        with database.write() as connection:
            for visitor, user in known.items():
                set_owners(connection, [Link(visitor, user, NOW)])
        apply(
            database,
            *(
                event(one[1], None, type="identify", anonymous_id=one[0])
                if isinstance(one, tuple)
                else {**one, "customer_id": known.get(one["customer_id"], one["customer_id"])}
                for one in portion
            ),
        )


@pytest.mark.parametrize("seed", range(10))
def test_results_are_those_of_the_whole_history(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    events, owners = history(draw)
    database = sqlite_at(tmp_path)
    declare(database, exposed_by="event", metric=REVENUE)
    tell(database, draw, events, owners)
    got = results(database)
    exposures, revenue, crossovers = expected(events, owners)
    assert {arm["key"]: arm["exposures"] for arm in got["arms"]} == exposures
    assert {arm["key"]: arm["total"] for arm in got["arms"]} == pytest.approx(revenue)
    assert got["crossovers"] == crossovers
    database.close()

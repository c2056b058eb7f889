"""Which decisions checks look at."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta

from service.decisions.decision_store import decisions
from service.decisions.skew_store import any_between, ids_between
from service.storage.database import Database
from tests.fakes.decisions import NOON

WEEK = timedelta(days=7)


def decided(database: Database, times: list[datetime]) -> None:
    with database.write() as connection:
        connection.execute(
            decisions.insert(),
            [{"decision_id": f"d{n}", "customer_id": f"c{n % 50}", "decided_at": at, "placement": "web", "arm": "model",
              "policy": "default", "policy_version": "1", "candidates": b"", "record": b""}
             for n, at in enumerate(times)],
        )  # fmt: skip


def test_of_a_busy_week_decisions_of_all_of_it_are_looked_at(database: Database) -> None:
    decided(database, [NOON - WEEK + timedelta(minutes=2 * n) for n in range(5_000)])
    with database.read() as connection:
        found = ids_between(connection, NOON - WEEK, NOON, 1_000, seed=3)
        again = ids_between(connection, NOON - WEEK, NOON, 1_000, seed=3)
        assert any_between(connection, NOON - timedelta(hours=2), NOON)
    times = [at for _, _, at in found]
    assert found == again
    assert times == sorted(times, reverse=True)
    assert len({decision for decision, _, _ in found}) == len(found)
    assert 900 <= len(found) <= 1_100
    days = Counter((NOON - at).days for at in times)
    assert min(days[day] for day in range(7)) > 100


def test_a_campaign_of_one_minute_does_not_push_out_the_week(database: Database) -> None:
    burst = [NOON - timedelta(days=2, microseconds=n) for n in range(3_000)]
    decided(database, [*burst, *(NOON - timedelta(minutes=10 * n) for n in range(900))])
    with database.read() as connection:
        for seed in range(20):
            found = ids_between(connection, NOON - WEEK, NOON, 200, seed)
            assert sum(at <= burst[0] and at >= burst[-1] for _, _, at in found) <= 20
            assert len(found) > 20


def test_of_few_all_are_looked_at(database: Database) -> None:
    decided(database, [NOON - timedelta(hours=n) for n in range(1, 400)])
    with database.read() as connection:
        found = ids_between(connection, NOON - WEEK, NOON, 1_000)
        assert [decision for decision, _, _ in found] == [f"d{n}" for n in range(168)]
        assert not any_between(connection, NOON, NOON + WEEK)

"""Two ids became one: the log and the features follow, without the turn being lost on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from features.event_log import EventLog, bucket_of
from service.customers.identity_store import read_merges
from service.customers.join_histories import JoinHistories
from service.customers.link_identities import LinkedIdentities
from service.customers.update_customers import update_customers
from service.events import inbox_store
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.rebuild_store import asked_for
from service.events.run_events import EventsRunner
from service.storage.database import Database
from tests.fakes.events import FakeFeatures, FixedClock, row


def test_the_turn_is_kept_between_buckets(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large log all of them took longer than a lease: two processes took it from each other, and none came to an
    end, so that no history was joined and no event went to the log.
    """
    log, clock, lease, features = EventLog(tmp_path), FixedClock(), EventsLease(database), FakeFeatures()
    applier = Applier(database, clock, lease, [update_customers], features, LinkedIdentities())
    runner = EventsRunner(applier, Flusher(database, log, clock, lease), lease)
    visitors = [name for name in (f"v{number}" for number in range(500)) if bucket_of(name) == 3][:6]
    owners = [f"c{number}" for number in range(6)]

    def put(*rows: dict[str, Any]) -> None:
        with database.write() as connection:
            inbox_store.add_events(connection, rows, clock.now())
        runner.finish()

    put(*(row(f"page-{name}", None, anonymousId=name) for name in visitors))
    pairs = zip(owners, visitors, strict=True)
    put(*(row(f"is-{owner}", owner, None, type="identify", anonymousId=name) for owner, name in pairs))
    steps: list[str] = []
    rebuild_all, keep = FakeFeatures.rebuild_all, EventsLease.keep
    monkeypatch.setattr(FakeFeatures, "rebuild_all", lambda *told: (steps.append("made"), rebuild_all(*told))[1])
    monkeypatch.setattr(EventsLease, "keep", lambda lease: (steps.append("kept"), keep(lease))[1])
    assert JoinHistories(database, log, lease, features, clock)()
    buckets = len({bucket_of(owner) for owner in owners})
    assert steps[-2 * buckets :] == ["kept", "made"] * buckets
    assert features.taken == {f"c{n}": {f"is-c{n}", f"page-{name}"} for n, name in enumerate(visitors)}


def test_many_who_become_known_together_are_joined_in_few_turns_and_parts(database: Database, tmp_path: Path) -> None:
    """Each history was a part of its own, some thirty a turn: 25,000 visitors of a file took hours. An order that one
    person told under two ids of such a turn counts once, the one that came first.
    """
    log, clock, lease, features = EventLog(tmp_path, 2), FixedClock(), EventsLease(database), FakeFeatures()
    applier = Applier(database, clock, lease, [update_customers], features, LinkedIdentities())
    runner = EventsRunner(applier, Flusher(database, log, clock, lease), lease)
    people = range(150)

    def put(*rows: dict[str, Any]) -> None:
        with database.write() as connection:
            inbox_store.add_events(connection, rows, clock.now())
        runner.finish()

    def ordered(message_id: str, visitor: str) -> dict[str, Any]:
        return row(message_id, None, "Order Completed", anonymousId=visitor, properties={"order_id": "o1"})

    visitors = {f"{kind}{number}": f"c{number}" for kind in "vw" for number in people}
    put(*(ordered(f"order-{name}", name) for name in visitors))
    put(*(row(f"is-{name}", of, None, type="identify", anonymousId=name) for name, of in visitors.items()))
    turns = 0
    join = JoinHistories(database, log, lease, features, clock)
    while join():
        turns += 1
    assert turns == len({bucket_of(name, 2) for name in visitors})
    assert 0 < len([path for path in log.root.rglob("*.parquet") if "joined-" in path.name]) <= 2 * 2 * 2
    told = log.scan().collect()
    assert set(told["customer_id"]) == set(visitors.values())
    counted = told.filter(event="Order Completed")
    assert sorted(counted["customer_id"]) == sorted(set(visitors.values()))
    assert set(counted["message_id"]) == {f"order-v{number}" for number in people}
    with database.read() as connection:
        assert read_merges(connection, 1) == {}
        assert asked_for(connection, list(visitors.values())) == set(visitors.values())
    assert not features.taken.keys() & visitors.keys()

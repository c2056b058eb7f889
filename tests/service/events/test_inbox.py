"""The inbox: durable once answered, each message once, effects in order, the log idempotent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import select

from features.event_log import EventLog
from features.row_stores import StoreAway
from service.errors import Unavailable
from service.events import apply_events, flush_events, inbox_store
from service.events.apply_events import TRIES, Applier
from service.events.events_lease import EventsLease, LostLease
from service.events.flush_events import Flusher
from service.events.inbox_writer import InboxWriter
from service.events.record_events import record_events
from service.events.run_events import EventsRunner
from service.storage.database import Connection, Database
from tests.fakes.events import FakeFeatures, FixedClock, row

CLOCK = FixedClock()


class Effects:
    """A handler that remembers, and fails for some messages."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.broken: set[str] = set()
        self.drafts: list[str] = []

    def __call__(self, connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        for event in events:
            if event["message_id"] in self.broken:
                raise ValueError(f"poison {event['message_id']}")
        self.seen += [event["message_id"] for event in events]


@pytest.fixture
def effects() -> Effects:
    return Effects()


@pytest.fixture
def features() -> FakeFeatures:
    return FakeFeatures()


@pytest.fixture
def applier(database: Database, effects: Effects, features: FakeFeatures) -> Applier:
    return Applier(database, CLOCK, EventsLease(database), [effects], features)


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events")


@pytest.fixture
def runner(database: Database, effects: Effects, features: FakeFeatures, log: EventLog) -> EventsRunner:
    lease = EventsLease(database)
    applier = Applier(database, CLOCK, lease, [effects], features)
    return EventsRunner(applier, Flusher(database, log, CLOCK, lease), lease)


def put(database: Database, *rows: Mapping[str, Any]) -> int:
    with database.write() as connection:
        return inbox_store.add_events(connection, rows, CLOCK.now())


def held(database: Database) -> tuple[int, int]:
    with database.read() as connection:
        return inbox_store.backlog(connection)[0], inbox_store.size(connection)


def test_a_message_is_taken_once(database: Database) -> None:
    assert put(database, row("m1"), row("m2"), row("m1")) == 2
    assert put(database, row("m2"), row("m3")) == 1
    with database.read() as connection:
        events = inbox_store.waiting(connection, 10)
    assert [event["message_id"] for event in events] == ["m1", "m2", "m3"]
    assert events[0]["timestamp"] == CLOCK.now()


def test_a_message_is_known_for_at_least_seven_days(database: Database) -> None:
    put(database, row("m1"))
    with database.write() as connection:
        inbox_store.remove(connection, [1])
        assert inbox_store.forget_ids(connection, CLOCK.now() - timedelta(days=7), 10) == 0
    assert put(database, row("m1")) == 0
    with database.write() as connection:
        assert inbox_store.forget_ids(connection, CLOCK.now() + timedelta(seconds=1), 10) == 1
    assert put(database, row("m1")) == 1


def test_old_message_ids_go_a_few_in_each_transaction(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, *(row(f"m{number}") for number in range(5)))
    later, gone = FixedClock(CLOCK.now() + flush_events.KEEP_IDS + timedelta(seconds=1)), list[int]()
    with database.write() as connection:
        inbox_store.add_events(connection, [row("new")], later.now())

    def forget(*asked: Any) -> int:
        gone.append(inbox_store.forget_ids(*asked))
        return gone[-1]

    monkeypatch.setattr(flush_events, "forget_ids", forget)
    monkeypatch.setattr(flush_events, "FORGOTTEN_AT_ONCE", 2)
    monkeypatch.setattr(flush_events, "TIDY_EVERY_S", 0.0)
    Flusher(database, EventLog(tmp_path / "log"), later, EventsLease(database)).flush_due()
    assert gone == [2, 2, 1]
    with database.read() as connection:
        assert list(connection.execute(select(inbox_store.message_ids.c.message_id)).scalars()) == ["new"]


def test_requests_that_meet_share_a_transaction(database: Database) -> None:
    commits = []
    writer = InboxWriter(database, CLOCK, lambda: commits.append(1))
    with database.write():  # holds the writer up, so that all of them wait together
        futures = [writer.submit([row(f"m{number}")]) for number in range(300)]
        assert not any(future.done() for future in futures)
    for future in futures:
        future.result(timeout=30)
    writer.close()
    assert held(database) == (300, 300)
    assert len(commits) < 300 or not database.is_sqlite
    with pytest.raises(Unavailable):
        writer.submit([row("late")])


def test_a_request_that_cannot_be_stored_fails_alone(database: Database) -> None:
    writer = InboxWriter(database, CLOCK)
    with database.write():
        good = writer.submit([row("m1")])
        bad = writer.submit([{**row("m2"), "customer_id": None}])
        other = writer.submit([row("m3")])
    good.result(30)
    other.result(30)
    with pytest.raises(Unavailable):
        bad.result(30)
    writer.close()
    assert held(database) == (2, 2)


def test_while_the_database_is_away_one_more_try_tells_it_to_all(caplog: pytest.LogCaptureFixture) -> None:
    """Each try may take half a minute, and whoever sent events waits for it."""
    under_way, go_on = threading.Event(), threading.Event()
    tries: list[int] = []

    class Away:
        def write(self) -> Any:
            under_way.set()
            go_on.wait()
            tries.append(1)
            raise Unavailable("away")

    writer = InboxWriter(cast(Database, Away()), CLOCK)
    futures = [writer.submit([row("m0")])]
    under_way.wait()
    futures += [writer.submit([row(f"m{number}")]) for number in range(1, 9)]
    go_on.set()
    for future in futures:
        with pytest.raises(Unavailable):
            future.result(30)
    writer.close()
    assert len(tries) == 3  # the first alone, the others together, one of them once more
    assert caplog.text == ""  # a trace for each request would fill the disk that may be what is full


def test_a_writer_that_breaks_fails_who_waits_and_goes_on(database: Database) -> None:
    """Nobody would start its thread again, and everyone who sends events would wait for good."""

    class Panic(BaseException):
        """As libraries in Rust raise it: no Exception."""

    breaks = [True]

    def on_commit() -> None:
        if breaks:
            raise Panic(breaks.pop())

    class Breaking:
        def write(self) -> Any:
            if breaks:
                raise Panic(breaks.pop())
            return database.write()

    for writer in (InboxWriter(cast(Database, Breaking()), CLOCK), InboxWriter(database, CLOCK, on_commit)):
        first = writer.submit([row("m1")])
        with suppress(Unavailable):
            first.result(30)
        writer.submit([row("m2")]).result(30)
        writer.close()
        breaks.append(True)


def test_closing_waits_for_no_database_that_hangs() -> None:
    go_on = threading.Event()

    class Hangs:
        def write(self) -> Any:
            go_on.wait(30)
            raise Unavailable("it hung")

    writer = InboxWriter(cast(Database, Hangs()), CLOCK)
    waiting = writer.submit([row("m1")])
    writer.close(0.1)
    assert not waiting.done()
    go_on.set()
    with pytest.raises(Unavailable):
        waiting.result(30)


def test_while_the_online_store_is_away_effects_do_not_wait_for_it(
    database: Database, applier: Applier, effects: Effects, features: FakeFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each failure there is a pause of some seconds: a portion in each is less than comes in."""

    def away(events: Sequence[Mapping[str, Any]]) -> None:
        raise StoreAway("the online store is away")

    monkeypatch.setattr(features, "apply", away)
    put(database, *(row(f"m{number:04d}") for number in range(1200)))
    with pytest.raises(StoreAway):
        applier.run_pass()
    assert len(effects.seen) == 1200


def test_a_chore_that_fails_keeps_no_other_from_its_turn(
    database: Database, effects: Effects, features: FakeFeatures, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An erasure was never ended, and the inbox never emptied, while something else about events failed."""
    monkeypatch.setattr(flush_events, "EVERY_S", 0.0)
    done: list[str] = []

    def broken() -> bool:
        raise ValueError("a history that cannot be joined")

    def erase() -> bool:
        done.append("erased")
        return True

    lease = EventsLease(database)
    applier = Applier(database, CLOCK, lease, [effects], features)
    runner = EventsRunner(applier, Flusher(database, log, CLOCK, lease), lease, [broken, erase])
    put(database, row("m1"))
    with pytest.raises(ValueError, match="cannot be joined"):
        runner.run_pass()
    assert done == ["erased"]
    assert held(database)[1] == 0
    assert log.scan().collect()["message_id"].to_list() == ["m1"]


def test_effects_are_made_once_and_in_order(
    database: Database, applier: Applier, effects: Effects, features: FakeFeatures
) -> None:
    put(database, *(row(f"m{number:04d}") for number in range(1200)))
    applier.drain()
    assert effects.seen == [f"m{number:04d}" for number in range(1200)]
    assert len(features.taken["c1"]) == 1200
    assert not applier.run_pass()


def test_a_poisonous_event_is_set_aside_and_the_rest_goes_on(
    database: Database, applier: Applier, effects: Effects
) -> None:
    effects.broken = {"m2"}
    put(database, row("m1"), row("m2"), row("m3"))
    for _ in range(TRIES + 1):
        applier.run_pass()
    assert effects.seen == ["m1", "m3"]
    with database.read() as connection:
        assert inbox_store.quarantined(connection) == 1
    effects.broken = set()
    with database.write() as connection:
        assert inbox_store.requeue(connection, CLOCK.now()) == 1
    applier.drain()
    assert effects.seen == ["m1", "m3", "m2"]


def test_an_event_that_features_refuse_is_set_aside_but_keeps_its_effects(
    database: Database, applier: Applier, effects: Effects, features: FakeFeatures
) -> None:
    features.broken = {"m2"}
    put(database, row("m1"), row("m2"), row("m3"))
    for _ in range(TRIES):
        try:
            applier.run_pass()
        except ValueError:
            continue
    applier.run_pass()
    assert effects.seen == ["m1", "m2", "m3"]
    assert features.taken["c1"] == {"m1", "m3"}
    features.broken = set()
    with database.write() as connection:
        assert inbox_store.requeue(connection, CLOCK.now()) == 1
    applier.drain()
    assert features.taken["c1"] == {"m1", "m2", "m3"}
    assert effects.seen == ["m1", "m2", "m3"]


def test_a_store_that_is_down_blames_no_event(
    database: Database, applier: Applier, effects: Effects, features: FakeFeatures
) -> None:
    features.down = True
    put(database, *(row(f"m{number}") for number in range(5)))
    for _ in range(TRIES + 2):
        with pytest.raises(ConnectionError):
            applier.run_pass()
    features.down = False
    applier.drain()
    assert len(features.taken["c1"]) == 5
    assert len(effects.seen) == 5
    with database.read() as connection:
        assert inbox_store.quarantined(connection) == 0


def test_an_outage_sets_no_event_aside_though_it_waits_alone(database: Database) -> None:
    """One event cannot be told from a store that is down by its neighbours; the kind of failure tells it."""
    outages: list[Exception] = [Unavailable("the database is away")] * 5 + [StoreAway("the online store is away")] * 5

    class Away(FakeFeatures):
        def apply(self, events: Sequence[Mapping[str, Any]]) -> None:
            if outages:
                raise outages.pop()
            super().apply(events)

    def fail(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        if len(outages) > 5:
            raise outages.pop()

    features = Away()
    applier = Applier(database, CLOCK, EventsLease(database), [fail], features)
    put(database, row("m1"))
    while outages:
        with pytest.raises((Unavailable, StoreAway)):
            applier.run_pass()
    applier.drain()
    with database.read() as connection:
        assert inbox_store.quarantined(connection) == 0
    assert features.taken["c1"] == {"m1"}


def test_only_the_holder_of_the_lease_applies(
    database: Database, applier: Applier, effects: Effects, features: FakeFeatures
) -> None:
    put(database, row("m1"))
    other = EventsLease(database)
    with database.write() as connection:
        other.hold(connection)
    assert not applier.run_pass()
    assert effects.seen == []
    other.release()
    applier.run_pass()
    assert effects.seen == ["m1"]


def test_applied_events_move_to_the_log(database: Database, runner: EventsRunner, log: EventLog) -> None:
    put(database, row("m1"), row("m2", "c2", timestamp="2026-02-01T00:00:00Z"))
    assert runner.finish() == 2
    assert held(database) == (0, 0)
    logged = log.scan().collect()
    assert sorted(logged["message_id"]) == ["m1", "m2"]
    assert logged.filter(message_id="m2")["timestamp"].dt.month().to_list() == [2]
    assert runner.finish() == 0


class KilledError(Exception):
    """Stands for a kill at this point."""


def test_a_kill_between_any_two_steps_of_a_flush_repeats_nothing(
    database: Database, runner: EventsRunner, log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, row("m1"))
    for place in ("assign_part", "of_part", "drop_part"):
        with monkeypatch.context() as patch:
            real = getattr(inbox_store, place)

            def killed(*arguments: Any, real: Any = real, place: str = place) -> Any:
                if place == "drop_part":
                    raise KilledError
                real(*arguments)
                raise KilledError

            patch.setattr(f"service.events.flush_events.{place}", killed)
            with pytest.raises(KilledError):
                runner.finish()
        put(database, row(f"after-{place}"))
    runner.finish()
    expected = ["after-assign_part", "after-drop_part", "after-of_part", "m1"]
    files = [path for bucket in range(16) for path in log.files(bucket)]
    import polars as pl

    stored = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in files])
    assert sorted(stored["message_id"]) == expected
    assert held(database) == (0, 0)


def test_events_of_our_own_go_the_same_way(database: Database, applier: Applier, effects: Effects) -> None:
    message = {"type": "track", "event": "Email Delivered", "userId": "c1", "messageId": "send-1"}
    with database.write() as connection:
        assert record_events(connection, [message], CLOCK.now()) == 1
    with database.write() as connection:
        assert record_events(connection, [message], CLOCK.now()) == 0
    applier.drain()
    assert effects.seen == ["send-1"]


@pytest.fixture
def racing(database: Database) -> Iterator[list[InboxWriter]]:
    writers = [InboxWriter(database, CLOCK) for _ in range(3)]
    yield writers
    for writer in writers:
        writer.close()


def test_writers_that_meet_on_the_same_messages_keep_each_once(database: Database, racing: list[InboxWriter]) -> None:
    def send(writer: InboxWriter, order: list[int]) -> None:
        for number in order:
            writer.submit([row(f"m{number}"), row(f"m{(number + 1) % 60}")]).result(30)

    orders = [list(range(60)), list(reversed(range(60))), list(range(30, 60)) + list(range(30))]
    threads = [threading.Thread(target=send, args=pair) for pair in zip(racing, orders, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert held(database) == (60, 60)


def test_work_beside_the_applier_needs_the_lease(database: Database, runner: EventsRunner) -> None:
    def work() -> bool:
        raise LostLease

    other = EventsLease(database)
    other.claim()
    with pytest.raises(LostLease):
        runner.finish()
    other.release()
    assert runner.finish() == 0
    assert not runner.exclusively(work)
    assert runner.exclusively(lambda: True)


def test_an_order_that_two_messages_tell_counts_once_and_is_kept(
    database: Database, applier: Applier, features: FakeFeatures
) -> None:
    def order(message_id: str, order_id: str | None, customer: str = "c1", event: str = "Order Completed") -> Any:
        return row(message_id, customer, event, properties={"order_id": order_id} if order_id else {})

    put(database, order("m1", "o1"), order("m2", "o1"), order("m3", "o2"), order("m4", None), order("m5", None))
    applier.drain()
    put(database, order("m6", "o1"), order("m7", "o1", "c2"), order("m8", "o1", event="Order Refunded"))
    put(database, order("m9", "o1", event="Order Refunded"))  # in parts
    applier.drain()
    with database.read() as connection:
        told = {event["message_id"]: event["event"] for event in inbox_store.of_customers(connection, ["c1", "c2"])}
    again = {name for name, event in told.items() if event == "Order Repeated"}
    assert again == {"m2", "m6"}
    assert len(told) == 9
    assert features.taken["c1"] == set(told) - {"m7"}


def test_an_order_whose_effects_failed_is_still_the_first(
    database: Database, applier: Applier, effects: Effects
) -> None:
    first = row("m1", event="Order Completed", properties={"order_id": "o1"})
    effects.broken = {"m1"}
    put(database, first)
    for _ in range(TRIES):
        applier.run_pass()
    with database.write() as connection:
        assert inbox_store.requeue(connection, CLOCK.now()) == 1
    effects.broken = set()
    applier.drain()
    with database.read() as connection:
        assert [event["event"] for event in inbox_store.of_customers(connection, ["c1"])] == ["Order Completed"]


def test_a_slow_postgres_gets_no_fewer_events_at_once(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits for the network at each statement: the fewer events a transaction had, the fewer came through."""
    database = Database(postgres_url.replace(":", "+psycopg:", 1))
    database.create_tables()
    at, portions = [0.0], list[int]()

    def handler(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        portions.append(len(events))
        at[0] += 0.5

    monkeypatch.setattr(apply_events, "monotonic", lambda: at[0])
    put(database, *(row(f"m{number}") for number in range(400)))
    Applier(database, CLOCK, EventsLease(database), [handler]).drain()
    assert portions == [50] * 8
    database.close()


def test_events_that_take_long_are_applied_in_short_transactions(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Decisions wait for who writes: five hundred answers to a newsletter kept them waiting for half a second."""
    at, portions = [0.0], list[int]()

    def handler(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        portions.append(len(events))
        at[0] += sum(0.001 if event["message_id"].startswith("slow") else 0.00001 for event in events)

    monkeypatch.setattr(apply_events, "monotonic", lambda: at[0])
    applier = Applier(database, CLOCK, EventsLease(database), [handler])
    put(database, *(row(f"quick{number}") for number in range(900)))
    applier.drain()
    assert max(portions) > 250  # commits are paid by many
    portions.clear()
    put(database, *(row(f"slow{number}") for number in range(1_200)))
    applier.drain()
    assert sum(portions) == 1_200
    fitting = round((apply_events.HOLD_S if database.is_sqlite else apply_events.HOLD_ON_POSTGRES_S) * 1000)
    assert {min(portions[1:-1]), max(portions[1:-1])} <= {fitting - 1, fitting}
    assert held(database)[0] == 0

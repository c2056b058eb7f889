"""Online features follow files, corrections and new features by themselves, however often a process is killed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from sqlalchemy import delete

from features.build import compute
from features.catalogue import CATALOGUE, FEATURE_NAMES
from features.declare import Events, Feature
from features.event_log import EventLog
from features.feature_set import FeatureSet
from features.rows import OnlineFeatures
from service.customers.link_identities import LinkedIdentities
from service.errors import Unavailable
from service.events import ingest_files, read_files
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease, LostLease
from service.events.flush_events import Flusher
from service.events.inbox_store import add_events, erase_customers
from service.events.ingest_files import FileIngest
from service.events.mapping import ColumnMapping, mapping_from
from service.events.normalize import Rules
from service.events.rebuild_features import QueueOutdated, RebuildFeatures
from service.events.rebuild_store import asked_for, changed_since, how_many_wait
from service.events.run_events import EventsRunner
from service.storage.database import Database
from service.storage.lease import leases
from tests.fakes.events import FixedClock, row
from tests.fakes.row_store import MemoryRows

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class KilledError(BaseException):
    """Stands for a kill at this point."""


class House:
    """What one installation keeps, and a service over it that may be killed and made anew."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database, self.folder, self.clock = database, folder, FixedClock(NOW)
        self.log, self.rows = EventLog(folder / "events"), MemoryRows()
        self.start()

    def start(self, features: FeatureSet = CATALOGUE) -> None:
        self.online = OnlineFeatures(self.rows, features)
        lease = EventsLease(self.database)
        lease._holder = "the service"
        self.rebuild = RebuildFeatures(self.database, self.log, self.clock, lease, self.online)
        outdated = QueueOutdated(self.database, self.clock, lease, self.online, "store", self.log.buckets)
        applier = Applier(
            self.database, self.clock, lease, [], self.online, LinkedIdentities(), forget_strangers=self.forget
        )
        flusher = Flusher(self.database, self.log, self.clock, lease)
        self.runner = EventsRunner(applier, flusher, lease, [outdated, self.rebuild])

    def forget(self, ids: Sequence[str]) -> None:
        for one in {"gone"}.intersection(ids):
            self.online.erase(one)

    def settle(self) -> None:
        for _ in range(100):
            if not self.runner.run_pass():
                return

    def ingest(self, path: Path, mapping: ColumnMapping | None = None) -> None:
        FileIngest(self.database, self.log, self.clock, Rules(), identities=LinkedIdentities()).ingest([path], mapping)

    def send(self, *rows: dict[str, Any]) -> None:
        with self.database.write() as connection:
            add_events(connection, rows, NOW)

    def waiting(self) -> tuple[int, int]:
        with self.database.read() as connection:
            return how_many_wait(connection)

    def assert_right(self, *customers: str, features: FeatureSet = CATALOGUE) -> None:
        """What is served equals what the whole log gives."""
        self.runner.finish()
        at = NOW + timedelta(minutes=1)
        schema = {"as_of": pl.Datetime("us", "UTC")}
        cuts = pl.DataFrame({"customer_id": customers, "as_of": [at] * len(customers)}, schema_overrides=schema)
        told = compute(self.log.scan().collect(), cuts, features)
        for served, line in zip(self.online.read(customers, at), told.iter_rows(named=True), strict=True):
            assert served is not None
            assert {k: repr(v) for k, v in served.values.items()} == {k: repr(line[k]) for k in features.names}


@pytest.fixture
def house(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> House:
    monkeypatch.setattr(read_files, "CHUNK_ROWS", 10)
    return House(database, tmp_path)


def order(number: int, customer: str) -> dict[str, Any]:
    return {
        "type": "track", "event": "Order Completed", "userId": customer, "messageId": f"m{number}",
        "timestamp": f"2026-02-{1 + number % 27:02d}T10:00:00Z", "properties": {"revenue": number},
    }  # fmt: skip


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "events.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"\n".join(orjson.dumps(order(number, f"c{number % 7}")) for number in range(35)))
    return path


def test_customers_of_a_file_get_their_features(house: House, source: Path) -> None:
    house.send(row("live", "c1", "Order Completed"))
    house.settle()
    house.ingest(source)
    assert house.waiting() == (7, 0)
    house.settle()
    assert house.waiting() == (0, 0)
    house.assert_right(*(f"c{number}" for number in range(7)))
    with house.database.read() as connection:
        assert changed_since(connection, ["c1", "nobody"]) == {"c1": NOW}


def test_events_beside_the_making_are_neither_lost_nor_counted_twice(house: House, source: Path) -> None:
    house.ingest(source)
    house.rebuild.at_once = 2
    for number in range(12):
        house.send(row(f"live{number}", f"c{number % 7}", "Order Completed"))
        house.runner.run_pass()
    house.settle()
    house.assert_right(*(f"c{number}" for number in range(7)))


@pytest.mark.parametrize("step", ["before_rows", "after_rows"])
def test_a_killed_making_is_done_again(house: House, source: Path, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    house.ingest(source)
    original = house.online.rebuild_all

    def killed(ids: Any, events: Any) -> None:
        if step == "after_rows":
            original(ids, events)
        raise KilledError

    monkeypatch.setattr(house.online, "rebuild_all", killed)
    with pytest.raises(KilledError):
        house.runner.run_pass()
    assert house.waiting() == (7, 0)
    house.start()
    house.settle()
    house.assert_right("c1", "c6")


def test_who_is_asked_for_again_meanwhile_is_made_again(
    house: House, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ingest(source)
    original = house.online.rebuild_all
    late = source.with_name("late.jsonl")
    late.write_bytes(orjson.dumps(order(99, "c3")))
    again = iter([lambda: house.ingest(late)])

    def meanwhile(ids: Any, events: Any) -> None:
        original(ids, events)
        next(again, lambda: None)()

    monkeypatch.setattr(house.online, "rebuild_all", meanwhile)
    while how_many_before(house):
        house.rebuild()
    house.assert_right("c3")


def how_many_before(house: House) -> int:
    return house.waiting()[0]


def test_another_process_that_took_over_makes_them_again(
    house: House, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ingest(source)
    holds: list[Callable[[], Any]] = [lambda: None]

    def hold(_: Any) -> None:
        if not holds:
            raise LostLease
        holds.pop()

    monkeypatch.setattr(house.rebuild._lease, "hold", hold)
    with pytest.raises(LostLease):
        house.rebuild()
    assert house.waiting() == (7, 0)


@pytest.mark.parametrize("at", ["made", "fed"])
def test_who_stood_still_for_longer_than_a_lease_leaves_no_old_features(
    house: House, source: Path, at: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was paused writes what it had read before, over what the next process has made since."""
    other = House(house.database, house.folder)
    other.log, other.rows = house.log, house.rows
    other.start()
    other.rebuild._lease._holder = "another"
    original = OnlineFeatures.apply if at == "fed" else OnlineFeatures.rebuild_all

    def stood_still(online: OnlineFeatures, *told: Any) -> Any:
        if online is house.online and not paused:
            paused.append(True)
            with house.database.write() as connection:
                connection.execute(delete(leases))  # its time is over
            if at == "fed":
                other.send(row("e2", "c1", "Order Completed"))
            other.settle()
            if at == "made":
                other.send(row("e2", "c1", "Order Completed"))
            else:  # who was erased meanwhile
                with house.database.write() as connection:
                    erase_customers(connection, ["gone"])
                other.online.erase("gone")
            other.settle()
        return original(online, *told)

    paused: list[bool] = []
    monkeypatch.setattr(OnlineFeatures, original.__name__, stood_still)
    if at == "made":
        house.ingest(source)
    else:
        house.send(row("e1", "c1", "Order Completed"), row("g1", "gone", "Order Completed"))
    house.runner.run_pass()
    assert paused
    other.settle()
    other.assert_right("c1")
    assert other.online.read(["gone"], NOW + timedelta(minutes=1)) == [None]


def test_a_mended_mapping_takes_the_wrong_events_from_those_who_had_them(house: House, tmp_path: Path) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("customer,shop,at\n" + "".join(f"c{n},s{n % 3},2026-02-2{n % 9}\n" for n in range(25)))
    fields = {"type": "=track", "event": "=Order Completed", "timestamp": "at"}
    house.ingest(path, mapping_from({**fields, "userId": "shop"}, "wrong.toml"))
    house.settle()
    assert house.online.read(["s1"], NOW)[0] is not None
    house.ingest(path, mapping_from({**fields, "userId": "customer"}, "right.toml"))
    house.settle()
    assert house.online.read(["s0", "s1", "s2"], NOW) == [None, None, None]
    house.assert_right("c1", "c24")


def test_a_mended_mapping_that_is_killed_on_its_way_ends_in_the_same(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("customer,shop,at\n" + "".join(f"c{n},s{n % 3},2026-02-2{n % 9}\n" for n in range(25)))
    fields = {"type": "=track", "event": "=Order Completed", "timestamp": "at"}
    right = mapping_from({**fields, "userId": "customer"}, "right.toml")
    house.ingest(path, mapping_from({**fields, "userId": "shop"}, "wrong.toml"))
    house.settle()
    original, left = house.log.append, [1, 1]

    def append(frame: pl.DataFrame, part: str) -> None:
        if not left:
            raise KilledError
        left.pop()
        original(frame, part)

    with monkeypatch.context() as patch, contextlib.suppress(KilledError):
        patch.setattr(house.log, "append", append)
        house.ingest(path, right)
    house.settle()
    with house.database.read() as connection:
        assert asked_for(connection, ["s0", "s1", "s2"]) == {"s0", "s1", "s2"}  # they wait for the file's end
    house.ingest(path, right)
    house.settle()
    assert house.online.read(["s0", "s1", "s2"], NOW) == [None, None, None]
    house.assert_right("c1", "c24")


def test_the_parts_of_a_file_are_joined_and_stay_by_themselves(house: House, source: Path) -> None:
    house.ingest(source)
    house.send(row("live", "c1", "Order Completed"))
    house.runner.finish()
    names = {path.name for bucket in range(house.log.buckets) for path in house.log.files(bucket)}
    assert sorted(name.split("-")[1] for name in names) == ["file", "inbox"]
    before = house.log.scan().sort("message_id").collect()
    for bucket in range(house.log.buckets):
        house.log.compact(bucket)
    assert house.log.scan().sort("message_id").collect().equals(before)
    assert names == {path.name for bucket in range(house.log.buckets) for path in house.log.files(bucket)}


def test_a_file_waits_for_a_busy_service_only_to_take_back_what_was_wrong(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "orders.csv"
    path.write_text("customer,shop,at\n" + "".join(f"c{n},s{n % 3},2026-02-2{n % 9}\n" for n in range(25)))
    fields = {"type": "=track", "event": "=Order Completed", "timestamp": "at"}
    house.ingest(path, mapping_from({**fields, "userId": "shop"}, "wrong.toml"))
    monkeypatch.setattr(ingest_files, "LEASE_S", 0.1)
    house.rebuild._lease.claim()
    right = mapping_from({**fields, "userId": "customer"}, "right.toml")
    ingest = FileIngest(house.database, house.log, house.clock, Rules(), lease=EventsLease(house.database))
    with pytest.raises(Unavailable, match="run the same command again"):
        ingest.ingest([path], right)
    house.rebuild._lease.release()
    ingest.ingest([path], right)
    assert set(house.log.scan().collect()["customer_id"]) == {f"c{n}" for n in range(25)}


def test_other_features_make_every_row_anew_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.send(*(row(f"m{n}", f"c{n}", "Played") for n in range(5)))
    house.settle()
    played = Feature("played_30d", "count", "Plays", "{played_30d:.0f}", "plays", Events(("Played",)), window_days=30)
    more = FeatureSet((*CATALOGUE.features, played))
    house.start(more)
    assert house.online.read(["c1"], NOW) == [None]
    house.settle()
    house.assert_right("c0", "c4", features=more)
    served = house.online.read(["c1"], NOW + timedelta(minutes=1))[0]
    assert served is not None
    assert served.values["played_30d"] == 1
    assert set(served.values) > set(FEATURE_NAMES)
    house.start(more)
    monkeypatch.setattr(house.online, "outdated", lambda: pytest.fail("looked through again"))
    house.settle()


def test_a_customer_whose_features_fail_does_not_stop_the_rest(
    house: House, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.ingest(source)
    original = house.online.rebuild_all

    def picky(ids: Any, events: Any) -> None:
        if "c2" in ids:
            raise ValueError("not this one")
        original(ids, events)

    with monkeypatch.context() as patch:
        patch.setattr(house.online, "rebuild_all", picky)
        house.rebuild._tried_failed = True
        house.settle()
        assert house.waiting() == (0, 1)
    house.start()
    house.settle()
    assert house.waiting() == (0, 0)
    house.assert_right("c2", "c3")

"""Served features against the event log: equal, or told what differs, what was behind, what cannot be checked."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from features.rows import CustomerRow
from service.commands import skew_command
from service.decisions.decision_store import every_decision
from service.decisions.read_decision import DecisionReader
from service.decisions.write_decisions import DecisionWriter
from service.events.inbox_store import add_events
from service.events.ingest_files import FileIngest
from service.events.normalize import normalize
from service.telemetry import exposition
from service.wiring.data_watch import DataWatch
from tests.fakes.decisions import damage
from tests.fakes.house import House


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "home")
    made.settle()
    made.forward(5)
    yield made
    made.parts.close()


def test_what_was_served_is_what_the_log_gives(house: House) -> None:
    for number in range(6):
        house.send(number, f"c{number % 2}")
        house.decide(f"c{number % 2}")
        if number == 3:
            house.parts.events.finish()  # some events stand in the log, some still in the inbox
    house.decide("nobody")
    report = house.check()
    assert report["checked"]["decisions"] == 6
    assert report["checked"]["values"] > 6 * 60
    assert report["mismatches"] == {"decisions": 0, "values": 0, "by_feature": {}, "examples": []}
    assert report["behind"] == {"decisions": 0, "worst_seconds": 0.0}
    assert report["skipped"] == {"without_features": 1}
    assert report["nulls"]["orders_30d"] == 0
    assert skew_command(house.settings, 10)


def test_a_value_that_differs_is_named(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.send(1, "c1")
    original = house.parts.online.read

    def wrong(ids: Any, at: datetime) -> list[CustomerRow | None]:
        rows = original(ids, at)
        return [row and replace(row, values={**row.values, "orders_30d": 7.0}) for row in rows]

    with monkeypatch.context() as patch:
        patch.setattr(type(house.parts.online), "read", lambda _, ids, at: wrong(ids, at))
        decision = house.decide("c1")
    found = house.check()["mismatches"]
    assert (found["decisions"], found["by_feature"]) == (1, {"orders_30d": 1})
    example = {"decision_id": decision, "feature": "orders_30d", "served": 7.0, "computed": 1.0}
    assert found["examples"] == [example]
    assert not skew_command(house.settings, 10)


def test_a_row_that_lacked_the_newest_events_is_behind_not_wrong(house: House) -> None:
    house.send(1, "c1")
    house.send(2, "c1", apply=False)
    house.decide("c1")
    house.settle()
    report = house.check()
    assert report["mismatches"]["values"] == 0
    assert report["behind"] == {"decisions": 1, "worst_seconds": 5.0}


def test_an_event_known_only_later_changes_nothing(house: House) -> None:
    house.send(1, "c1")
    house.decide("c1")
    house.send(2, "c1")
    assert house.check()["mismatches"]["values"] == 0


def test_decisions_before_an_import_cannot_be_made_again(house: House, tmp_path: Path) -> None:
    house.send(1, "c1")
    house.decide("c1")
    path = tmp_path / "old.jsonl"
    message = {"type": "track", "event": "Order Completed", "userId": "c1", "timestamp": "2026-02-01T00:00:00Z"}
    path.write_bytes(orjson.dumps({**message, "messageId": "old"}))
    parts = house.parts
    FileIngest(parts.database, parts.event_log, parts.clock, parts.rules).ingest([path])
    house.forward(1)
    assert house.check()["skipped"] == {"history_changed": 1}  # it waits
    house.settle()
    house.forward(1)
    assert house.check()["skipped"] == {"history_changed": 1}  # it was made anew
    house.decide("c1")
    report = house.check()
    assert (report["checked"]["decisions"], report["mismatches"]["values"]) == (1, 0)


def test_decisions_for_another_time_are_left_out(house: House) -> None:
    house.send(1, "c1")
    house.decide("c1", at=house.now - timedelta(seconds=1))
    assert house.check()["skipped"] == {"asked_for_another_time": 1}


def test_an_order_told_twice_is_one_order_online_and_in_the_log(house: House) -> None:
    house.send(1, "c1")
    message = {"type": "track", "event": "Order Completed", "userId": "c1", "messageId": "again",
               "properties": {"revenue": 1, "order_id": "1"}}  # fmt: skip
    with house.parts.database.write() as connection:
        add_events(connection, [normalize(message, house.parts.rules, house.parts.clock.now())], house.now)
    house.settle()
    house.parts.events.finish()
    house.forward(5)
    row = house.parts.online.read(["c1"], house.now)[0]
    assert row is not None
    assert row.values["orders_30d"] == 1
    house.decide("c1")
    report = house.check()
    assert (report["checked"]["decisions"], report["mismatches"]["values"]) == (1, 0)


def test_a_decision_that_takes_longer_than_an_erasure_brings_nobody_back(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = house.parts
    message = {"type": "identify", "userId": "c1", "messageId": "i1", "traits": {"email": "c1@example.com"}}
    with parts.database.write() as connection:
        add_events(connection, [normalize(message, parts.rules, parts.clock.now())], house.now)
    house.send(1, "c1")
    original, waiting = DecisionWriter.write, [True]

    def late(writer: DecisionWriter, *args: Any) -> set[str]:
        if waiting.pop() if waiting else False:
            parts.eraser.erase("c1", parts.events.exclusively)
        return original(writer, *args)

    monkeypatch.setattr(DecisionWriter, "write", late)
    made = house.decide("c1")
    told = DecisionReader(parts.database, parts.models).read(made)
    assert (told["degraded"], told["features"], told["customer"]["traits"]) == (["unknown_customer"], None, {})
    with parts.database.read() as connection:
        assert [row.decision_id for rows in every_decision(connection) for row in rows] == [made]


def test_a_damaged_record_stops_no_check_and_is_named(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    house.send(1, "c1")
    house.decide("c1")
    broken = house.decide("c1")
    damage(house.parts.database, broken)
    report = house.check()
    assert (report["checked"]["decisions"], report["damaged"]) == (1, [broken])
    assert skew_command(house.settings, 10)
    assert f"left out: 1 decisions whose records are damaged ({broken})" in capsys.readouterr().out


def test_the_service_checks_by_itself_and_tells_metrics(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = DataWatch(house.parts.database, house.parts.skew)
    watch.run_pass()
    assert house.parts.skew.latest() is None
    house.send(1, "c1")
    house.decide("c1")
    watch.run_pass()
    first = house.parts.skew.latest()
    assert first is not None
    assert first["checked"]["decisions"] == 1
    text = exposition().decode()
    assert "opportune_skew_checked_decisions 1.0" in text
    assert "opportune_skew_mismatched_values 0.0" in text
    assert 'opportune_feature_null_share{feature="orders_30d"} 0.0' in text
    house.decide("c1")
    watch.run_pass()
    assert house.parts.skew.latest() == first  # an hour has not gone by

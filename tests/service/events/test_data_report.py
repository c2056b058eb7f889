"""Counts of what came in: as it comes in, once each, and read back as the report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from features.event_log import EventLog
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.inbox_store import add_events, requeue
from service.events.inbox_writer import InboxWriter
from service.events.ingest_files import FileIngest
from service.events.mapping import mapping_from
from service.events.normalize import Rules, normalize
from service.events.quality_store import add_counts, money_not_counted
from service.events.read_report import read_report
from service.events.tally import Key, tally
from service.storage.database import Connection, Database
from tests.fakes.events import FixedClock, row

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
CLOCK = FixedClock(NOW)


def message(number: int, **fields: Any) -> dict[str, Any]:
    return normalize(
        {"type": "track", "event": "Played", "userId": f"c{number}", "messageId": f"m{number}", **fields}, Rules(), NOW
    )


def report_of(database: Database, days: int = 30) -> dict[str, Any]:
    with database.read() as connection:
        return read_report(connection, NOW, days)


def test_a_page_and_a_group_have_a_meaning_whatever_their_names(database: Database) -> None:
    rows = [
        message(1, type="page", event=None, name="Home"),
        message(2, type="screen", event=None, name="Basket", properties={"url": "https://shop.example/basket"}),
        message(3, type="group", event=None, groupId="acme"),
        message(4, type="alias", event=None, previousId="visitor"),
    ]
    with database.write() as connection:
        add_counts(connection, "api", tally(rows))
    told = report_of(database)
    assert {one["event"]: one["known"] for one in told["by_event"]} == dict.fromkeys(
        ("page", "screen", "group", "alias"), True
    )
    assert {"event": "page", "field": "url", "count": 1, "share": 1.0} in told["nulls"]


def test_what_is_told_of_events() -> None:
    opened = {"event": "Email Opened", "properties": {"machine": True}, "context": {"timezone": "Mars/Base"}}
    rows = [
        message(1, event="Order Completed", properties={"revenue": 3}),
        message(2, **opened),
        message(3, timestamp="2026-02-28T00:00:00Z"),
        message(4, timestamp="2026-03-01T10:00:00Z", sentAt="2026-03-01T12:30:00Z"),
        message(5, timestamp="2026-03-01T13:00:00Z"),
    ]
    told = tally(rows)
    day = "2026-03-01"
    assert told[Key(day, "event", "Order Completed")] == 1
    assert told[Key(day, "null", "Order Completed.products")] == 1
    assert told[Key(day, "null", "Order Completed.revenue_cents")] == 0
    assert (told[Key(day, "engagement", "Email Opened")], told[Key(day, "machine", "Email Opened")]) == (1, 1)
    assert told[Key("2026-02-28", "late", "")] == 1
    assert {key.name: count for key, count in told.items() if key.kind == "note"} == {
        "bad_timezone": 1, "clock_skew": 1, "future_time": 1,
    }  # fmt: skip


def test_events_over_http_are_counted_once(database: Database) -> None:
    writer = InboxWriter(database, CLOCK)
    for _ in range(2):
        writer.submit([row("m1"), row("m2", event="Order Completed"), row("m3", event="Order Completd")]).result(10)
    writer.close()
    applier = Applier(database, CLOCK, EventsLease(database), [])
    applier.drain()
    report = report_of(database)
    assert (report["events"], report["duplicates_dropped"]) == (3, 3)
    events = {one["event"]: (one["count"], one["known"], one["like"]) for one in report["by_event"]}
    assert events == {
        "Order Completed": (1, True, None), "Order Completd": (1, False, "Order Completed"), "Played": (1, False, None),
    }  # fmt: skip
    assert report["by_day"] == [{"day": "2026-03-01", "events": 3, "late_share": 0.0, "machine_share": None}]


def test_an_event_that_is_set_aside_is_named_and_comes_in_again(database: Database) -> None:
    mended = False

    def handler(_: Connection, events: Any) -> None:
        if not mended and any(event["message_id"] == "m2" for event in events):
            raise ValueError("no such thing")

    with database.write() as connection:
        add_events(connection, [row("m1"), row("m2")], NOW)
    applier = Applier(database, CLOCK, EventsLease(database), [handler])
    applier.drain()
    report = report_of(database)
    assert (report["events"], report["quarantine"]["events"]) == (1, 1)
    [reason] = report["quarantine"]["by_reason"]
    assert (reason["stage"], reason["reason"], reason["count"]) == ("effects", "ValueError('no such thing')", 1)
    mended = True
    with database.write() as connection:
        assert requeue(connection, NOW) == 1
    applier.drain()
    report = report_of(database)
    assert (report["events"], report["quarantine"]["events"]) == (2, 0)


def test_money_that_is_counted_nowhere_is_named(database: Database) -> None:
    money = [{"revenue": 3}, {"revenue": 4, "currency": "USD"}, {"revenue": 5, "currency": "jpy"}]
    rows = [message(place, event="Order Completed", properties=one) for place, one in enumerate(money)]
    assert rows[2]["revenue_cents"] == 5  # kept as it was said
    with database.write() as connection:
        add_counts(connection, "api", tally(rows))
    assert report_of(database)["currencies"] == [
        {"currency": "USD", "events": 2, "counted": True, "rate": 1.0},
        {"currency": "JPY", "events": 1, "counted": False, "rate": None},
    ]
    with database.read() as connection:
        assert money_not_counted(connection, "2026-02-01") == {"JPY": 1}


def test_old_days_are_left_out(database: Database) -> None:
    with database.write() as connection:
        add_events(connection, [message(1, timestamp=(NOW - timedelta(days=40)).isoformat()), message(2)], NOW)
    Applier(database, CLOCK, EventsLease(database), []).drain()
    assert report_of(database)["events"] == 1
    assert report_of(database, 41)["events"] == 2


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    return tmp_path / "in"


def test_a_file_tells_what_it_refused_and_repeated(database: Database, tmp_path: Path, folder: Path) -> None:
    lines: list[Any] = [
        {"type": "track", "event": "Played", "userId": "c1", "messageId": f"m{number % 4}",
         "timestamp": "2026-02-27T10:00:00Z"}
        for number in range(6)
    ]  # fmt: skip
    lines += [{"type": "track", "event": "Played", "messageId": "bad", "timestamp": "2026-02-27T10:00:00Z"}]
    path = folder / "events.jsonl"
    path.write_bytes(b"\n".join([*map(orjson.dumps, lines), b"{broken"]))
    ingest = FileIngest(database, EventLog(tmp_path / "log"), CLOCK, Rules())
    for _ in range(2):
        ingest.ingest([path])
    report = report_of(database)
    assert (report["events"], report["duplicates_dropped"]) == (6, 2)
    assert report["refused_in_files"] == [{"field": "line", "count": 1}, {"field": "userId", "count": 1}]
    [file] = report["files"]
    assert (file["accepted"], file["rejected"], file["rejects"]) == (6, 2, f"{path}.rejects.jsonl")
    assert report["features"] == {"customers_waiting": 1, "customers_failed": 0}


def test_a_file_read_again_by_a_mended_mapping_is_counted_once(
    database: Database, tmp_path: Path, folder: Path
) -> None:
    path = folder / "orders.csv"
    path.write_text("customer,kind,at\na,Bought,2026-02-27\nb,Bought,2026-02-27\n")
    ingest = FileIngest(database, EventLog(tmp_path / "log"), CLOCK, Rules())
    fields = {"type": "=track", "event": "kind", "timestamp": "at"}
    ingest.ingest([path], mapping_from({**fields, "userId": "kind"}, "wrong.toml"))
    assert report_of(database)["events"] == 2
    mended = {**fields, "userId": "customer", "event": "=Order Completed"}
    ingest.ingest([path], mapping_from(mended, "right.toml"))
    report = report_of(database)
    assert {one["event"]: one["count"] for one in report["by_event"]} == {"Order Completed": 2}

"""Bulk files: rejects with reasons, mappings, and the same result however often a run is killed."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest

from features.event_log import EventLog
from service.customers.customer_store import all_profiles
from service.customers.join_histories import JoinHistories
from service.customers.link_identities import LinkedIdentities
from service.customers.update_customers import update_customers
from service.events import file_effects, inbox_store, ingest_files, read_files
from service.events.apply_events import Applier
from service.events.events_lease import EventsLease
from service.events.flush_events import Flusher
from service.events.ingest_files import FileIngest, IngestReport
from service.events.mapping import ColumnMapping, MappingError, mapping_from, read_mapping
from service.events.normalize import Rules
from service.storage.database import Database
from tests.fakes.events import FixedClock, row


class KilledError(BaseException):
    """Stands for a kill at this point."""


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_files, "CHUNK_ROWS", 10)
    monkeypatch.setattr(file_effects, "FEWEST_AT_ONCE", 3)
    monkeypatch.setattr(file_effects, "portion_after", lambda *_: 3)


def database_at(folder: Path) -> Database:
    made = Database(f"sqlite:///{folder / 'state.db'}")
    made.create_tables()
    return made


def ingest_into(
    folder: Path, source: Path, mapping: ColumnMapping | None = None, rules: Rules | None = None
) -> IngestReport:
    database = database_at(folder)
    log = EventLog(folder / "events")
    chore = JoinHistories(database, log, EventsLease(database), None)
    handlers, beside = [update_customers], lambda: True
    ingest = FileIngest(
        database, log, FixedClock(), rules or Rules(), handlers, LinkedIdentities(), [chore], None, beside
    )
    try:
        return ingest.ingest([source], mapping)
    finally:
        database.close()


def result_of(folder: Path) -> tuple[list[Any], list[Any]]:
    database = database_at(folder)
    with database.read() as connection:
        profiles = [repr(profile) for page in all_profiles(connection) for profile in page]
    database.close()
    files = sorted((folder / "events").rglob("*.parquet"))
    rows = pl.concat([pl.read_parquet(path, hive_partitioning=False) for path in files]) if files else pl.DataFrame()
    return profiles, rows.sort("message_id").to_dicts() if rows.width else []


def order(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "type": "track", "event": "Order Completed", "userId": f"c{number % 7}", "messageId": f"m{number}",
        "timestamp": f"2026-0{1 + number % 2}-1{number % 10}T10:00:00Z",
        "properties": {"revenue": number, "products": [{"product_id": "p", "price": number}]}, **fields,
    }  # fmt: skip


def mixed_lines() -> list[bytes]:
    """Orders, visitors who become known in a later chunk, unsubscribes and broken lines."""
    lines: list[Any] = [order(number) for number in range(35)]
    lines[3] = {"type": "page", "anonymousId": "a1", "messageId": "page-1", "timestamp": "2026-01-01T00:00:00Z"}
    lines[4] = b"{broken"
    lines[12] = order(12, userId=None)
    lines[14] = {
        "type": "identify", "userId": "c1", "anonymousId": "a1", "messageId": "who", "traits": {"name": "Ann"},
        "timestamp": "2026-01-05T00:00:00Z",
    }  # fmt: skip
    lines[20] = {**order(20), "event": "Unsubscribed"}
    lines[33] = b"null"
    return [line if isinstance(line, bytes) else orjson.dumps(line) for line in lines]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "events.jsonl"
    path.parent.mkdir()
    path.write_bytes(b"\n".join(mixed_lines()) + b"\n")
    return path


def test_broken_lines_are_set_aside_with_their_reason(tmp_path: Path, source: Path) -> None:
    report = ingest_into(tmp_path, source)
    assert (report.accepted, report.rejected) == (32, 3)
    rejects = [orjson.loads(line) for line in (source.parent / "events.jsonl.rejects.jsonl").read_bytes().splitlines()]
    assert [(one["line"], one["errors"][0]["field"]) for one in rejects] == [(5, ""), (13, "userId"), (34, "")]
    assert rejects[0]["text"] == "{broken"
    assert rejects[1]["message"]["messageId"] == "m12"
    assert sorted(path.name for path in source.parent.iterdir()) == ["events.jsonl", "events.jsonl.rejects.jsonl"]


def test_a_second_run_does_nothing_and_says_so(tmp_path: Path, source: Path) -> None:
    first = ingest_into(tmp_path, source).files[0]
    before = result_of(tmp_path)
    again = ingest_into(tmp_path, source).files[0]
    assert again.already
    assert not first.already
    assert (again.accepted, again.rejected, again.rejects) == (first.accepted, first.rejected, first.rejects)
    assert result_of(tmp_path) == before


def test_history_of_a_visitor_joins_the_customer(tmp_path: Path, source: Path) -> None:
    ingest_into(tmp_path, source)
    profiles, rows = result_of(tmp_path)
    assert {row["message_id"]: row["customer_id"] for row in rows}["page-1"] == "c1"
    assert not any("'a1'" in profile for profile in profiles)
    assert any("'Ann'" in profile and "'c1'" in profile for profile in profiles)
    unsubscribed = next(profile for profile in profiles if "'c6'" in profile)
    assert "'email': {'marketing': False}" in unsubscribed


STEPS: list[tuple[Any, str]] = [
    (EventLog, "append"), (file_effects, "note_applied"), (file_effects, "note_chunk"), (ingest_files, "finish_file"),
    (ingest_files.Rejects, "finish"),
]  # fmt: skip


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("nth", [1, 3, 4])
@pytest.mark.parametrize(("owner", "step"), STEPS)
def test_a_kill_anywhere_and_a_second_run_give_the_same_result(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, owner: Any, step: str, nth: int, before: bool
) -> None:
    undisturbed, disturbed = tmp_path / "whole", tmp_path / "killed"
    for folder in (undisturbed, disturbed):
        folder.mkdir()
    ingest_into(undisturbed, source)
    expected_rejects = (source.parent / "events.jsonl.rejects.jsonl").read_bytes()
    (source.parent / "events.jsonl.rejects.jsonl").unlink()
    with monkeypatch.context() as patch:
        patch.setattr(owner, step, killing(getattr(owner, step), nth, before))
        with contextlib.suppress(KilledError):
            ingest_into(disturbed, source)
    ingest_into(disturbed, source)
    assert result_of(disturbed) == result_of(undisturbed)
    assert (source.parent / "events.jsonl.rejects.jsonl").read_bytes() == expected_rejects


def page(message_id: str, visitor: str) -> dict[str, Any]:
    at = "2026-01-01T00:00:00Z"
    return {"type": "page", "anonymousId": visitor, "messageId": message_id, "timestamp": at}


def claim(message_id: str, visitor: str, user: str, day: int) -> dict[str, Any]:
    return {**page(message_id, visitor), "type": "identify", "userId": user, "timestamp": f"2026-01-0{day}T00:00:00Z"}


@pytest.mark.parametrize("killed_at", [None, 2, 3])
def test_a_device_that_changes_hands_within_a_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int | None
) -> None:
    lines = [page("p1", "a2"), claim("i1", "a2", "u1", 2), page("p2", "a2"), claim("i2", "a2", "u2", 3),
             page("p3", "a2"), *(order(number) for number in range(4))]  # fmt: skip
    source = tmp_path / "device.jsonl"
    source.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    if killed_at is not None:
        with monkeypatch.context() as patch:
            patch.setattr(file_effects, "note_applied", killing(file_effects.note_applied, killed_at, False))
            with pytest.raises(KilledError):
                ingest_into(tmp_path, source)
    ingest_into(tmp_path, source)
    owners = {row["message_id"]: row["customer_id"] for row in result_of(tmp_path)[1]}
    assert {one: owners[one] for one in ("p1", "p2", "p3")} == {"p1": "u1", "p2": "u1", "p3": "u2"}


def test_others_write_while_a_chunk_takes_effect_and_who_becomes_known_meanwhile_keeps_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "visits.jsonl"
    source.write_bytes(b"\n".join(orjson.dumps(page(f"p{number}", f"v{number % 2}")) for number in range(8)))
    between: list[int] = []

    def somebody_becomes_known(*_: object) -> int:
        service = database_at(tmp_path)
        with service.write() as connection:
            LinkedIdentities().give_owners(connection, [row("i", "u1", type="identify", event=None, anonymousId="v1")])
        service.close()
        between.append(1)
        return 3

    monkeypatch.setattr(file_effects, "portion_after", somebody_becomes_known)
    ingest_into(tmp_path, source)
    profiles, rows = result_of(tmp_path)
    assert between == [1, 1]
    assert {row["message_id"]: row["customer_id"] for row in rows} == {
        f"p{number}": "u1" if number % 2 else "v0" for number in range(8)
    }
    assert not any("'v1'" in profile for profile in profiles)


def test_what_could_not_be_read_is_left_nowhere_by_a_run_that_failed(
    tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    day_old = source.with_name(f".{source.name}.rejects.77.tmp")
    day_old.write_text("of a run that was killed")
    os.utime(day_old, (0, 0))
    other = source.with_name(f".{source.name}.rejects.78.tmp")
    other.write_text("of a run beside this one")
    monkeypatch.setattr(file_effects, "note_chunk", killing(file_effects.note_chunk, 3, True))
    with pytest.raises(KilledError):
        ingest_into(tmp_path, source)
    assert sorted(source.parent.glob(".*")) == [other]


def killing(real: Callable[..., Any], nth: int, before: bool) -> Callable[..., Any]:
    calls = 0

    def step(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == nth and before:
            raise KilledError
        answer = real(*arguments)
        if calls == nth:
            raise KilledError
        return answer

    return step


def test_gzip_and_a_stream_that_ends_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_files, "CHUNK_ROWS", 500)
    whole, torn = tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl.gz"
    packed = gzip.compress(b"\n".join(orjson.dumps(order(number)) for number in range(5000)))
    whole.write_bytes(packed)
    torn.write_bytes(packed[: len(packed) // 2])
    assert ingest_into(tmp_path, whole).accepted == 5000
    report = ingest_into(tmp_path, torn)
    assert 0 < report.accepted < 5000
    assert report.rejected >= 1


def test_lines_without_an_id_are_known_by_their_content(tmp_path: Path) -> None:
    message = {key: value for key, value in order(1).items() if key != "messageId"}
    path = tmp_path / "a.jsonl"
    path.write_bytes(orjson.dumps(message) + b"\n\n" + orjson.dumps({**message, "userId": "other"}))
    ingest_into(tmp_path, path)
    ids = [row["message_id"] for row in result_of(tmp_path)[1]]
    assert len(set(ids)) == 2
    assert all(one.startswith("content-") for one in ids)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.xlsx").write_text("")
    with pytest.raises(ValueError, match=r"x\.xlsx"):
        ingest_into(tmp_path, tmp_path / "x.xlsx")
    with pytest.raises(ValueError, match="does not exist"):
        ingest_into(tmp_path, tmp_path / "none.jsonl")
    (tmp_path / "y.parquet").write_text("no parquet")
    mapping = mapping_from({"type": "=track", "timestamp": "t"}, "m.toml")
    with pytest.raises(ValueError, match=r"y\.parquet"):
        ingest_into(tmp_path, tmp_path / "y.parquet", mapping)


def test_a_gap_in_a_column_of_numbers_is_nobody() -> None:
    mapping = mapping_from({"type": "=track", "timestamp": "t", "userId": "who", "properties": {"revenue": "r"}}, "m")
    rows = [{"t": "2026-01-10", "who": 42.0, "r": 1.5}, {"t": "2026-01-10", "who": float("nan"), "r": float("nan")}]
    one, other = (message for _, message, _ in mapping.messages(rows))
    assert (one["userId"], one["properties"]) == ("42", {"revenue": 1.5})
    assert "userId" not in other
    assert not other.get("properties")


MAPPING = """
[mapping]
type = "=track"
event = "=Order Completed"
userId = "customer"
timestamp = "bought"
group_by = "invoice"
timezone = "Europe/Paris"

[mapping.properties]
order_id = "invoice"

[mapping.products]
product_id = "sku"
price = "price"
quantity = "quantity"
"""
CSV = """invoice,customer,bought,sku,price,quantity,ignored
1,007,2026-01-10 10:00:00,a,1.50,2,x
1,007,2026-01-10 10:00:00,b,2.00,1,x
2,008,2026-01-11 10:00:00,a,abc,1,x
3,009,2026-01-12 10:00:00,a,1,1,x
"""


@pytest.fixture
def mapping(tmp_path: Path) -> ColumnMapping:
    path = tmp_path / "mapping.toml"
    path.write_text(MAPPING)
    return read_mapping(path)


def test_a_csv_comes_in_through_a_mapping(tmp_path: Path, mapping: ColumnMapping) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(CSV)
    report = ingest_into(tmp_path, path, mapping)
    assert (report.accepted, report.rejected) == (2, 1)
    rows = {row["customer_id"]: row for row in result_of(tmp_path)[1]}
    assert rows["007"]["revenue_cents"] == 500
    assert [line["product_id"] for line in rows["007"]["products"]] == ["a", "b"]
    assert rows["007"]["timestamp"].isoformat() == "2026-01-10T09:00:00+00:00"
    reject = orjson.loads((tmp_path / "orders.csv.rejects.jsonl").read_bytes())
    assert (reject["line"], reject["errors"][0]["field"]) == (4, "properties.products[0].price")


def test_a_mapping_that_windows_wrote_is_read(tmp_path: Path, mapping: ColumnMapping) -> None:
    (tmp_path / "marked.toml").write_bytes(b"\xef\xbb\xbf" + MAPPING.replace("\n", "\r\n").encode())
    assert read_mapping(tmp_path / "marked.toml").fields == mapping.fields


HEAD = "invoice,customer,bought,sku,price,quantity\n"


def test_rows_of_no_invoice_are_no_invoice_together(tmp_path: Path, mapping: ColumnMapping) -> None:
    (tmp_path / "a.csv").write_text(
        HEAD + ",1,2026-01-10,a,1,1\n,2,2026-01-10,b,1,1\n7,3,2026-01-10,c,1,1\n7,,,d,1,1\n"
    )
    ingest_into(tmp_path, tmp_path / "a.csv", mapping)
    rows = result_of(tmp_path)[1]
    bought = {row["customer_id"]: [line["product_id"] for line in row["products"]] for row in rows}
    assert bought == {"1": ["a"], "2": ["b"], "3": ["c", "d"]}


def test_an_invoice_of_two_customers_is_set_aside(tmp_path: Path, mapping: ColumnMapping) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "7,1,2026-01-10,a,1,1\n7,2,2026-01-10,b,1,1\n8,3,2026-01-10,a,1,1\n")
    [file] = ingest_into(tmp_path, tmp_path / "a.csv", mapping).files
    assert (file.accepted, file.rejected) == (1, 1)
    assert file.rejects is not None
    assert "rows of one invoice have different userIds, '1' and '2'" in file.rejects.read_text()


def test_rows_that_are_not_in_utf_8_are_set_aside(tmp_path: Path, mapping: ColumnMapping) -> None:
    text = HEAD + "1,jür,2026-01-10,a,1,1\n2,jör,2026-01-10,a,1,1\n3,jo,2026-01-10,a,1,1\n"
    (tmp_path / "a.csv").write_bytes(text.encode("latin-1"))
    (tmp_path / "b.csv").write_text(text + "4,j\ufffd,2026-01-10,a,1,1\n", encoding="utf-8")
    [one] = ingest_into(tmp_path, tmp_path / "a.csv", mapping).files
    [other] = ingest_into(tmp_path, tmp_path / "b.csv", mapping).files
    assert (one.accepted, one.rejected) == (1, 2)
    assert one.rejects is not None
    assert "is not in UTF-8" in one.rejects.read_text()
    assert (other.accepted, other.rejected) == (4, 0), "what the file says itself is taken at its word"


def test_a_line_with_too_many_values_is_named(tmp_path: Path, mapping: ColumnMapping) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "1,1,2026-01-10,a,1,1\n2,1,2026-01-10,a,1,1,more\n")
    with pytest.raises(ValueError, match=r"a\.csv cannot be read: .* \(line 3 has 7 values\)"):
        ingest_into(tmp_path, tmp_path / "a.csv", mapping)


def test_a_line_with_too_many_values_is_named_also_where_not_every_column_is_mapped(
    tmp_path: Path, mapping: ColumnMapping
) -> None:
    """A comma in a value without its quotes moves all that follows into the wrong columns."""
    head = HEAD.replace("sku,", "name,sku,")
    (tmp_path / "a.csv").write_text(head + "1,1,2026-01-10,mug,a,1,1\n2,1,2026-01-10,mug, blue,a,1,1\n")
    with pytest.raises(ValueError, match=r"a\.csv cannot be read: .* \(line 3 has 8 values\)"):
        ingest_into(tmp_path, tmp_path / "a.csv", mapping)


def test_a_parquet_comes_in_through_a_mapping(tmp_path: Path, mapping: ColumnMapping) -> None:
    path = tmp_path / "orders.parquet"
    frame = pl.DataFrame(
        {
            "invoice": [1, 1, 2], "customer": [7.0, 7.0, 8.0], "sku": [5, 6, 5],
            "price": [1.5, 2.0, float("nan")], "quantity": [2, 1, 1],
        }
    ).with_columns(bought=pl.datetime(2026, 1, 10, 10))  # fmt: skip
    frame.write_parquet(path)
    assert ingest_into(tmp_path, path, mapping).accepted == 2
    rows = {row["customer_id"]: row for row in result_of(tmp_path)[1]}
    assert rows["7"]["revenue_cents"] == 500
    assert rows["8"]["products"][0]["price_cents"] is None


def test_a_missing_column_names_the_column_and_the_mapping(tmp_path: Path, mapping: ColumnMapping) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(CSV.replace("sku", "article"))
    with pytest.raises(MappingError, match=r"orders\.csv has no column 'sku', which the mapping .*mapping\.toml"):
        ingest_into(tmp_path, path, mapping)
    with pytest.raises(MappingError, match="needs a column mapping"):
        ingest_into(tmp_path, path)


def test_a_value_that_was_written_like_a_column_is_told(tmp_path: Path) -> None:
    path = tmp_path / "customers.csv"
    path.write_text("id,since\nanna,2025-01-01\n")
    written = mapping_from({"type": "identify", "userId": "id", "timestamp": "since"}, "m.toml")
    with pytest.raises(MappingError, match=r"no column 'identify'.*; if it is a value, write type = \"=identify\""):
        ingest_into(tmp_path, path, written)


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"type": "=track"}, "timestamp"),
        ({"type": "=track", "timestamp": "t", "userid": "u"}, "userid"),
        ({"type": "=track", "timestamp": 5}, "timestamp"),
        ({"type": "=track", "timestamp": "t", "timezone": "Mars"}, "Mars"),
        ({"type": "=track", "timestamp": "t", "group_by": "g"}, "products"),
    ],
)
def test_a_wrong_mapping_is_named(table: dict[str, Any], words: str) -> None:
    with pytest.raises(MappingError, match=words):
        mapping_from(table, "m.toml")


def test_a_mended_mapping_replaces_what_the_wrong_one_made(tmp_path: Path, mapping: ColumnMapping) -> None:
    path = tmp_path / "orders.csv"
    path.write_text(CSV.replace("abc", "3"))
    flat = {"type": "=track", "event": "=Order", "userId": "customer", "timestamp": "bought"}
    wrong = mapping_from({**flat, "messageId": "sku"}, "wrong.toml")
    ingest_into(tmp_path, path, wrong)
    ingest_into(tmp_path, path, mapping)
    assert sorted(row["customer_id"] for row in result_of(tmp_path)[1]) == ["007", "008", "009"]


def test_a_folder_is_read_without_its_rejects(tmp_path: Path, source: Path) -> None:
    (source.parent / "more.jsonl").write_bytes(orjson.dumps(order(100)))
    first = ingest_into(tmp_path, source.parent)
    assert [file.path.name for file in first.files] == ["events.jsonl", "more.jsonl"]
    assert [file.path.name for file in ingest_into(tmp_path, source.parent).files] == ["events.jsonl", "more.jsonl"]


def names_told(folder: Path) -> dict[str, str]:
    return {row["message_id"]: row["event"] for row in result_of(folder)[1]}


def test_an_order_that_a_file_tells_again_counts_once(tmp_path: Path) -> None:
    def told(message_id: str, order_id: str | None, day: int, **fields: Any) -> dict[str, Any]:
        properties = {"revenue": 5, **({"order_id": order_id} if order_id else {})}
        times = {"timestamp": f"2026-01-{day:02d}T10:00:00Z", "messageId": message_id}
        return order(1, **{**times, "properties": properties, **fields})

    first = tmp_path / "first.jsonl"
    lines = [told("m1", "o1", 1), told("m2", "o1", 2), told("m3", "o2", 2), told("m4", None, 2), told("m5", None, 2)]
    lines += [told("m6", "o1", 1, userId="c9"), told("m7", "o1", 1, event="Order Refunded"), told("m8", "o1", 31)]
    first.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    ingest_into(tmp_path, first)
    second = tmp_path / "second.jsonl"
    second.write_bytes(orjson.dumps(told("m9", "o2", 3)))
    ingest_into(tmp_path, second)
    names = names_told(tmp_path)
    assert {one for one, name in names.items() if name == "Order Repeated"} == {"m2", "m9"}
    assert names["m7"] == "Order Refunded"


def test_an_order_told_by_a_file_and_then_by_the_api_counts_once(tmp_path: Path) -> None:
    late = {"timestamp": FixedClock().now().isoformat(), "properties": {"revenue": 5, "order_id": "o1"}}
    source = tmp_path / "today.jsonl"
    source.write_bytes(orjson.dumps(order(1, **late)))
    ingest_into(tmp_path, source)
    database = database_at(tmp_path)
    with database.write() as connection:
        inbox_store.add_events(connection, [row("m2", "c1", "Order Completed", **late)], FixedClock().now())
    Applier(database, FixedClock(), EventsLease(database), []).drain()
    with database.read() as connection:
        assert [one["event"] for one in inbox_store.of_customers(connection, ["c1"])] == ["Order Repeated"]
    database.close()


def test_late_orders_of_a_file_that_were_told_before_have_no_second_effect(tmp_path: Path) -> None:
    seen: list[tuple[str, str]] = []
    database = database_at(tmp_path)
    clock, lease = FixedClock(), EventsLease(database)

    def note(_: Any, events: Any) -> None:
        seen.extend((event["message_id"], event["event"]) for event in events)

    def told(message_id: str, order_id: str, days: int = 0) -> dict[str, Any]:
        at = clock.now() - timedelta(days=days)
        fields = {"timestamp": at.isoformat(), "properties": {"order_id": order_id, "revenue": 5}}
        return order(1, **fields, messageId=message_id)

    with database.write() as connection:
        first = row("m1", "c1", "Order Completed", properties={"order_id": "o1"})
        inbox_store.add_events(connection, [first], clock.now())
    Applier(database, clock, lease, [note]).drain()
    source = tmp_path / "late.jsonl"
    lines = [told("m2", "o1"), told("m3", "o2"), told("m4", "o2"), told("m5", "o3", 30), told("m6", "o3", 30)]
    source.write_bytes(b"\n".join(orjson.dumps(line) for line in lines))
    ingest = FileIngest(database, EventLog(tmp_path / "events"), clock, Rules(), [note])
    ingest.ingest([source])
    database.close()
    assert [message for message, event in seen if event == "Order Completed"] == ["m1", "m3", "m5", "m6"]


def test_lines_of_an_order_in_a_table_without_groups_all_count(tmp_path: Path) -> None:
    table = {"type": "=track", "event": "=Order Completed", "userId": "customer", "timestamp": "day",
             "properties": {"order_id": "invoice", "revenue": "amount"}}  # fmt: skip
    source = tmp_path / "lines.csv"
    source.write_text("customer,day,invoice,amount\nc1,2026-01-01,o1,5\nc1,2026-01-01,o1,7\n")
    ingest_into(tmp_path, source, mapping_from(table, "m"))
    again = tmp_path / "again.jsonl"
    again.write_bytes(orjson.dumps(order(1, timestamp="2026-01-01T09:00:00Z", properties={"order_id": "o1"})))
    ingest_into(tmp_path, again)
    assert sorted(names_told(tmp_path).values()) == ["Order Completed", "Order Completed", "Order Repeated"]


def test_an_order_of_a_visitor_and_of_the_user_they_become_counts_once(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events")
    database = database_at(tmp_path)
    lease = EventsLease(database)
    applier = Applier(database, FixedClock(), lease, [update_customers], identities=LinkedIdentities())
    flusher = Flusher(database, log, FixedClock(), lease)

    def tell(*events: Any, flush: bool) -> None:
        with database.write() as connection:
            inbox_store.add_events(connection, events, FixedClock().now())
        applier.drain()
        if flush:
            flusher.flush()

    def told(message_id: str, who: str, order_id: str) -> Any:
        named = {"userId": who} if who == "u1" else {"userId": None, "anonymousId": who}
        return row(message_id, event="Order Completed", properties={"order_id": order_id}, **named)

    tell(told("m1", "a1", "o1"), told("m2", "u1", "o1"), told("m3", "a1", "o2"), told("m0", "a1", "o5"), flush=True)
    tell(told("m9", "u1", "o5"), flush=False)
    tell(told("m4", "a1", "o3"), told("m5", "u1", "o3"), told("m6", "a1", "o4"), flush=False)
    tell(row("who", "u1", type="identify", event=None, anonymousId="a1"), told("m7", "u1", "o4"), flush=False)
    assert JoinHistories(database, log, lease, None, FixedClock())()
    tell(told("m8", "u1", "o2"), flush=True)
    database.close()
    again = {one for one, name in names_told(tmp_path).items() if name == "Order Repeated"}
    assert again == {"m2", "m4", "m7", "m8", "m9"}

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from pyarrow.parquet import ParquetFile

from features import event_log
from features.event_log import EventLog, bucket_of
from features.tables import EVENTS, TableError


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    return EventLog(tmp_path / "events")


@pytest.fixture
def events() -> pl.DataFrame:
    names = [f"c{i % 23}" for i in range(400)]
    return EVENTS.sample(400, 3).with_columns(customer_id=pl.Series(names))


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    return left.sort("message_id").equals(right.sort("message_id"))


def files(log: EventLog) -> list[str]:
    return sorted(str(p.relative_to(log.root)) for p in log.root.rglob("*") if p.is_file())


def test_buckets_are_stable() -> None:
    assert [bucket_of(c) for c in ("c1", "c2", "กขค", "")] == [2, 5, 6, 2]


def test_what_is_appended_is_read(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    assert same(log.scan().collect(), events)
    assert all(f.startswith("bucket=") and "/month=2026-" in f and f.endswith("/part-a.parquet") for f in files(log))


def test_a_part_written_again_replaces_itself(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    before = files(log)
    log.append(events, "a")
    assert files(log) == before
    log.append(events.head(50), "a")
    assert same(log.scan().collect(), events.head(50))


def test_a_repeated_message_is_read_once_the_earliest_received(log: EventLog, events: pl.DataFrame) -> None:
    later = events.with_columns(pl.col("received_at") + timedelta(days=40), url=pl.lit("later"))
    log.append(later, "a")
    log.append(events, "b")
    assert same(log.scan().collect(), events)


def test_one_customer_and_one_time(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    middle = datetime(2026, 4, 1, tzinfo=UTC)
    found = log.scan(customer_id="c7", before=middle).collect()
    assert same(found, events.filter(pl.col("customer_id") == "c7", pl.col("timestamp") < middle))
    assert found.height > 0
    assert log.scan(customer_id="nobody").collect().is_empty()


def test_a_large_file_is_read_in_groups_of_customers(log: EventLog, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "_ROWS_TOGETHER", 30)
    rows = EVENTS.sample(90, 3).with_columns(
        customer_id=pl.Series(["c21", "c2", "c5"] * 30), timestamp=pl.lit(datetime(2026, 4, 1, tzinfo=UTC))
    )
    log.append(rows, "a")
    (path,) = log.files(bucket_of("c2"))
    groups = ParquetFile(path).metadata
    told = [groups.row_group(number).column(3).statistics for number in range(groups.num_row_groups)]
    assert [(one.min, one.max) for one in told] == [("c2", "c2"), ("c21", "c21"), ("c5", "c5")]


def test_erasing_leaves_nothing_of_a_customer(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    gone = events.filter(pl.col("customer_id").is_in(["c1", "c2"]))
    assert log.erase(["c1", "c2", "nobody"]) == gone.height
    assert same(log.scan().collect(), events.filter(~pl.col("customer_id").is_in(["c1", "c2"])))
    assert log.erase(["c1"]) == 0


def test_an_anonymous_history_moves_to_its_customer(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    moved = events.filter(pl.col("customer_id") == "c3").height
    assert log.reassign({"c3": "c4"}) == moved
    expected = events.with_columns(pl.col("customer_id").replace({"c3": "c4"}))
    assert same(log.scan().collect(), expected)
    more = events.head(20).with_columns(
        pl.lit("c3").alias("customer_id"), pl.concat_str(pl.lit("new"), "message_id").alias("message_id")
    )
    log.append(more, "b")
    assert log.reassign({"c3": "c4"}) == 20
    assert log.scan(customer_id="c4").collect().height == expected.filter(customer_id="c4").height + 20


def test_histories_that_move_together_are_taken_out_of_each_file_once(log: EventLog, events: pl.DataFrame) -> None:
    sources = [name for name in (f"v{number}" for number in range(1_000)) if bucket_of(name) == 3][:10]
    owners = {source: f"u{number % 4}" for number, source in enumerate(sources)}
    month = events.filter(pl.col("timestamp").dt.month() == events["timestamp"].dt.month()[0]).head(20)
    theirs = month.with_columns(customer_id=pl.Series(sources * 2).head(month.height))
    log.append(theirs, "a")
    steps: list[None] = []
    assert log.reassign(owners, lambda: steps.append(None)) == theirs.height
    assert same(log.scan().collect(), theirs.with_columns(pl.col("customer_id").replace(owners)))
    several = max(Counter(owners.values()).values())  # histories of one owner, each in a part of its own
    assert len(steps) == several + 1
    goes_to = {bucket_of(owner) for owner in owners.values()}
    assert len(files(log)) <= several * len(goes_to)


def test_a_move_that_was_killed_is_ended_by_the_next_one(log: EventLog, events: pl.DataFrame) -> None:
    """The next one may be of more histories; of those before, some files hold nothing any more."""
    sources = [name for name in (f"v{number}" for number in range(1_000)) if bucket_of(name) == 3][:4]
    owners = {source: f"u{number % 2}" for number, source in enumerate(sources)}
    theirs = events.with_columns(customer_id=pl.Series(sources * events.height).head(events.height))
    for number, some in enumerate(theirs.iter_slices(theirs.height // 3)):
        log.append(some, f"p{number}")
    expected = theirs.with_columns(pl.col("customer_id").replace(owners))

    class Killed(Exception): ...

    for last in range(40):
        steps: list[None] = []

        def step(steps: list[None] = steps, last: int = last) -> None:
            steps.append(None)
            if len(steps) > last:
                raise Killed

        some = dict(list(owners.items())[: 2 + last % 3])
        try:
            log.reassign(some, step)
        except Killed:
            continue
        if some == owners:
            break
    log.reassign(owners)
    assert same(log.scan().collect(), expected)


def test_a_history_goes_to_the_last_of_those_who_became_one(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    log.reassign({"c5": "c3", "c3": "c4"})
    expected = events.with_columns(pl.col("customer_id").replace({"c3": "c4", "c5": "c4"}))
    assert same(log.scan().collect(), expected)


def test_compacting_changes_no_reading(log: EventLog, events: pl.DataFrame) -> None:
    for i in range(5):
        log.append(events[i * 80 : i * 80 + 80], f"p{i}")
    count = len(files(log))
    removed = sum(log.compact(b) for b in range(16))
    assert removed > 0
    assert len(files(log)) < count
    assert same(log.scan().collect(), events)
    assert sum(log.compact(b) for b in range(16)) == 0


def test_drafts_of_a_killed_writer_are_not_read(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    path = log.files(bucket_of("c1"))[0]
    path.with_name(f".{path.name}.12.tmp").write_bytes(b"half")
    assert same(log.scan().collect(), events)


def test_a_wrong_column_is_named(log: EventLog, events: pl.DataFrame) -> None:
    with pytest.raises(TableError, match="customer_id"):
        log.append(events.drop("customer_id"), "a")
    with pytest.raises(ValueError, match="part"):
        log.append(events, "../a")


def test_several_customers_at_once(log: EventLog, events: pl.DataFrame) -> None:
    log.append(events, "a")
    found = log.scan(customer_ids=["c1", "c20", "nobody"]).collect()
    assert same(found, events.filter(pl.col("customer_id").is_in(["c1", "c20"])))
    assert log.customers_of("a") == sorted(events["customer_id"].unique())
    assert log.customers_of("other") == []

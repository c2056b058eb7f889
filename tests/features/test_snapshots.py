"""Tables made day by day from what is new equal tables made from everything, to the bit."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from features.build import compute, snapshot_folder
from features.engines import one_by_one
from features.event_log import EventLog, bucket_of
from features.files import write_parquet
from features.snapshots import BucketReport, build_snapshots, draft_folder
from tests.fakes.daily_orders import order, orders
from tests.fakes.event_streams import START, frame, streams

DAY = timedelta(days=1)
BUCKETS = 3


def table(out: Path, as_of: datetime) -> pl.DataFrame:
    return pl.read_parquet(snapshot_folder(out, as_of) / "*.parquet", hive_partitioning=False).sort("customer_id")


def fresh(log: EventLog, as_of: datetime) -> pl.DataFrame:
    """The table as a run gives it that has nothing to go on but the events."""
    with tempfile.TemporaryDirectory() as folder:
        other = EventLog(Path(folder) / "events", log.buckets)
        other.append(log.scan(repeats=True).collect(), "all")
        build_snapshots(other, [as_of], Path(folder) / "features")
        return table(Path(folder) / "features", as_of)


def same(left: pl.DataFrame, right: pl.DataFrame) -> bool:
    bits = pl.selectors.float().reinterpret(signed=False)
    return left.with_columns(bits).equals(right.with_columns(bits))


@pytest.fixture
def log(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "events", BUCKETS)
    log.append(frame(orders(0, 5)), "first")
    return log


@pytest.fixture
def read_files(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the event files whose events are read from here on."""
    names: list[str] = []
    scan = pl.scan_parquet

    def noted(source: Any, *args: Any, **options: Any) -> pl.LazyFrame:
        paths = [Path(one) for one in (source if isinstance(source, list) else [source])]
        names.extend(path.name for path in paths if path.name.startswith("part-"))
        return scan(source, *args, **options)

    monkeypatch.setattr(pl, "scan_parquet", noted)
    return names


@settings(max_examples=12, deadline=None)
@given(events=streams(40), days=st.lists(st.integers(0, 410), min_size=2, max_size=3, unique=True))
def test_days_from_what_is_new_equal_days_from_everything(events: list[dict[str, Any]], days: list[int]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log, out, taken = EventLog(Path(folder) / "events", BUCKETS), Path(folder) / "features", 0
        for number, day in enumerate(sorted(days)):
            as_of = START + timedelta(days=day, hours=5)
            new = [e for e in events[taken:] if e["received_at"] <= as_of]
            taken += len(new)
            log.append(frame(new), f"n{number}")
            build_snapshots(log, [as_of], out)
            told, whole = table(out, as_of), fresh(log, as_of)
            assert same(told, whole)
            cuts = told.select("customer_id", "as_of", "created")
            assert same(told, compute(log.scan().collect(), cuts))


def test_the_next_day_reads_only_the_new_files(log: EventLog, tmp_path: Path, read_files: list[str]) -> None:
    out = tmp_path / "features"
    build_snapshots(log, [START + 5 * DAY], out)
    assert set(read_files) == {"part-first.parquet"}
    assert len(read_files) == len([path for b in range(BUCKETS) for path in log.files(b)])
    read_files.clear()
    log.append(frame([order(5, "c1", START + 5 * DAY), order(5, "c2", START + 5 * DAY)]), "second")
    reports = build_snapshots(log, [START + 6 * DAY], out)
    touched = {bucket_of("c1", BUCKETS), bucket_of("c2", BUCKETS)}
    assert read_files == ["part-second.parquet"] * len(touched)
    assert {report.bucket for report in reports if report.read} == touched
    assert sum(report.rows for report in reports) == 12
    read_files.clear()
    assert same(table(out, START + 6 * DAY), fresh(log, START + 6 * DAY))
    read_files.clear()
    assert not any(report.rows for report in build_snapshots(log, [START + 6 * DAY], out))
    assert read_files == []


def test_what_changes_old_files_changes_the_tables(log: EventLog, tmp_path: Path) -> None:
    out, as_of = tmp_path / "features", START + 9 * DAY
    log.append(frame(orders(5, 2)), "second")
    build_snapshots(log, [as_of], out)
    changes: list[Callable[[], object]] = [
        lambda: [log.compact(bucket) for bucket in range(BUCKETS)],
        lambda: log.erase(["c3"]),
        lambda: log.reassign({"c4": "c5"}),
        lambda: log.append(frame([order(9, "c6", START)]), "second"),
        lambda: log.append(frame([order(77, "c7", START)]), "late import"),
    ]
    for change in changes:
        change()
        build_snapshots(log, [as_of], out)
        assert same(table(out, as_of), fresh(log, as_of))
    assert not {"c3", "c4"} & set(table(out, as_of)["customer_id"])


def test_nothing_of_an_erased_customer_stays_beside_the_log(log: EventLog, tmp_path: Path) -> None:
    build_snapshots(log, [START + 9 * DAY], tmp_path / "features")
    log.erase(["c3"])
    kept = list(log.root.rglob("*.parquet"))
    assert any(path.name.startswith("numbers-") for path in kept)
    assert all("c3" not in set(pl.read_parquet(path, hive_partitioning=False)["customer_id"]) for path in kept)


@pytest.mark.parametrize("writer", ["features.snapshots", "features.event_numbers"])
def test_who_is_erased_while_tables_are_made_does_not_come_back(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    out, write = tmp_path / "features", sys.modules[writer].write_parquet  # type: ignore[attr-defined]

    def erase_then_write(frame: pl.DataFrame, path: Path, *more: Any) -> None:
        if "c3" in frame["customer_id"]:
            log.erase(["c3"])
        write(frame, path, *more)

    monkeypatch.setattr(f"{writer}.write_parquet", erase_then_write)
    build_snapshots(log, [START + 8 * DAY, START + 9 * DAY], out)
    kept = [*log.root.rglob("*.parquet"), *out.rglob("*.parquet")]
    assert all("c3" not in set(pl.read_parquet(path, hive_partitioning=False)["customer_id"]) for path in kept)
    assert same(table(out, START + 9 * DAY), fresh(log, START + 9 * DAY))


def test_a_log_that_is_rewritten_all_the_time_lets_tables_be_made(
    log: EventLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """People are joined all day."""

    def rewrite_then_write(frame: pl.DataFrame, path: Path, *more: Any) -> None:
        for bucket in range(BUCKETS):
            for part in log.files(bucket):
                os.utime(part)
        write_parquet(frame, path, *more)

    monkeypatch.setattr("features.snapshots.write_parquet", rewrite_then_write)
    build_snapshots(log, [START + 9 * DAY], tmp_path / "features")
    assert same(table(tmp_path / "features", START + 9 * DAY), fresh(log, START + 9 * DAY))


def test_events_received_later_leave_finished_days_alone(log: EventLog, tmp_path: Path) -> None:
    out, days = tmp_path / "features", [START + timedelta(days=d) for d in (3, 4, 5)]
    build_snapshots(log, days, out)
    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    log.append(frame([order(50, "c1", START + DAY, START + 6 * DAY)]), "late")
    build_snapshots(log, [*days, START + 7 * DAY], out)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert table(out, START + 7 * DAY).filter(customer_id="c1")["orders_total"].to_list() == [6.0]
    log.append(frame([order(51, "c1", START + DAY)]), "import")  # known from its own time
    build_snapshots(log, days, out)
    assert table(out, days[0]).filter(customer_id="c1")["orders_total"].to_list() == [4.0]


def stopping(after: int) -> Callable[..., Iterator[BucketReport]]:
    """An engine that dies when it has done some buckets."""

    def engine(function: Callable[[Any], BucketReport], items: Sequence[Any]) -> Iterator[BucketReport]:
        yield from one_by_one(function, items[:after])
        raise KeyboardInterrupt

    return engine


def test_a_backfill_goes_on_where_it_was_stopped(log: EventLog, tmp_path: Path) -> None:
    out, days = tmp_path / "features", [START + timedelta(days=d) for d in range(1, 6)]
    build_snapshots(log, days[:2], out)
    finished = {path: path.stat().st_mtime_ns for path in out.rglob("*.parquet")}
    with pytest.raises(KeyboardInterrupt):
        build_snapshots(log, days, out, engine=stopping(2))  # type: ignore[arg-type]
    assert {path.parent for path in out.rglob("*.parquet")} == {snapshot_folder(out, day) for day in days[:2]}
    begun = {path.relative_to(draft_folder(out)): path.stat().st_mtime_ns for path in draft_folder(out).rglob("*.p*")}
    assert len(begun) == 2 * 3
    reports = build_snapshots(log, days, out)
    assert [report.rows > 0 for report in reports] == [False, False, True]
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    assert {path: (out / path).stat().st_mtime_ns for path in begun} == begun
    assert not draft_folder(out).exists()
    for day in days:
        assert same(table(out, day), fresh(log, day))


def test_other_features_make_the_table_anew(log: EventLog, tmp_path: Path) -> None:
    from features.catalogue import CATALOGUE, FEATURES
    from features.feature_set import FeatureSet

    out, as_of = tmp_path / "features", datetime(2026, 5, 1, tzinfo=UTC)
    fewer = FeatureSet([feature for feature in FEATURES if feature.name in {"orders_30d", "orders_total"}])
    build_snapshots(log, [as_of], out, features=fewer)
    assert table(out, as_of).columns == ["customer_id", "as_of", "created", *fewer.names]
    build_snapshots(log, [as_of], out)
    assert table(out, as_of).columns[3:] == list(CATALOGUE.names)

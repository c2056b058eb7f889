"""Drafts of writers that were killed go; what is being written, and what is no draft, stays."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

from features.leftovers import drop_stale, scratch, sweep

NOW = datetime(2026, 11, 30, tzinfo=UTC)


def made(path: Path, age: timedelta) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"half")
    os.utime(path, ((NOW - age).timestamp(),) * 2)
    return path


def test_what_nobody_touched_for_a_day_goes(tmp_path: Path) -> None:
    old, new = timedelta(days=1, seconds=1), timedelta(hours=23)
    part = made(tmp_path / "tables" / ".decisions-x1.tmp" / "000000000000.parquet", old).parent
    os.utime(part, ((NOW - old).timestamp(),) * 2)
    gone = [
        made(tmp_path / "events" / "bucket=01" / ".part-a.parquet.12345678.tmp", old),
        made(tmp_path / ".mlflow.db.12345678.tmp", old),
        made(tmp_path / ".mlflow.db.12345678.tmp-journal", old),
        part,
    ]
    kept = [
        made(tmp_path / "events" / "bucket=01" / ".part-b.parquet.12345678.tmp", new),
        made(tmp_path / "events" / "bucket=01" / "part-a.parquet", old),
        made(tmp_path / ".train-churn.lock", old),
        made(tmp_path / "notes.tmp", old),
    ]
    assert sweep(tmp_path, NOW) == len(gone)
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in kept)


def test_what_a_killed_training_made_on_the_way_goes_too(tmp_path: Path) -> None:
    with scratch(tmp_path / "home") as made:
        assert Path(made).parent == tmp_path / "home"
        assert sweep(tmp_path / "home", datetime.now(UTC)) == 0
        assert sweep(tmp_path / "home", datetime.now(UTC) + timedelta(days=2)) == 1
        assert not Path(made).exists()


def test_one_that_another_process_swept_is_no_fault(tmp_path: Path) -> None:
    assert drop_stale([tmp_path / ".gone.tmp"], NOW) == 0

"""kill -9 of a command before any step that makes something durable, then again: the same as an undisturbed run."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sqlalchemy import select

from features.event_log import EventLog
from features.rows import open_online
from models.load import load
from service.storage.database import Database, metadata
from service.storage.migrate import import_every_table
from tests.fakes.segment_file import segment_file
from tests.faults.killed_command import Commands, spread
from training.tracking import Tracking, aliases, champion

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
AS_OF = "2026-11-01T00:00:00Z"
AT = datetime(2026, 11, 1, tzinfo=UTC)
FEATURES = ("features", "--as-of", AS_OF)
TRAIN = ("train", "churn", "--as-of", AS_OF)
WHEN_DONE = {
    "started_at",
    "finished_at",
    "seen_at",
    "changed_at",
    "since",
    "path",
}  # when or where it was done, not what
OF_THE_PROCESS = {"heartbeats", "leases", "api_keys", "customer_secrets", "feature_layouts"}


def events_of(home: Path) -> pl.DataFrame:
    return EventLog(home / "state" / "events").scan().collect().sort("message_id")


def state_of(home: Path) -> dict[str, list[str]]:
    """Every row of the state, without when it was written."""
    import_every_table()
    database = Database(f"sqlite:///{home / 'state' / 'state.db'}")
    found: dict[str, list[str]] = {}
    with database.read() as connection:
        for table in metadata.sorted_tables:
            if table.name in OF_THE_PROCESS or table.name.startswith("test_"):
                continue
            columns = [column for column in table.columns if column.name not in WHEN_DONE]
            found[table.name] = sorted(repr(tuple(row)) for row in connection.execute(select(*columns)))
    database.close()
    return found


def online_of(home: Path, customers: list[str]) -> list[Any]:
    online = open_online(str(home / "state" / "online.db"))
    rows = [row and {name: value for name, value in row.values.items() if value == value} for row in
            online.read(customers, AT)]  # fmt: skip
    online.close()
    return rows


def snapshot_of(home: Path) -> pl.DataFrame:
    return pl.read_parquet(home / "state" / "features" / "as_of=*" / "*.parquet").sort("customer_id")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Commands:
    """A home into which enough was read to train on; never disturbed."""
    commands = Commands(tmp_path_factory.mktemp("shop"))
    segment_file(commands.home / "events.jsonl", customers=250, days=500)
    commands.steps("ingest", "events.jsonl")
    return commands


@pytest.fixture
def small_shop(tmp_path: Path) -> Commands:
    """A home with some customers in every bucket, for what would only take longer with more of them."""
    commands = Commands(tmp_path / "small")
    commands.home.mkdir()
    segment_file(commands.home / "events.jsonl", customers=60, days=100)
    commands.steps("ingest", "events.jsonl")
    return commands


def drafts_of(home: Path) -> list[Path]:
    return list((home / "state").rglob(".*.tmp*"))


def copy_of(commands: Commands, home: Path) -> Commands:
    shutil.copytree(commands.home, home)
    return Commands(home)


def test_ingest(tmp_path: Path) -> None:
    whole = Commands(tmp_path / "whole")
    whole.home.mkdir()
    source = segment_file(whole.home / "events.jsonl", customers=30, days=300)
    steps = whole.steps("ingest", "events.jsonl")
    customers = [f"c{number}" for number in range(30)]
    expected = events_of(whole.home)
    assert expected.height > 1000
    for before in spread(steps, 4):
        broken = Commands(tmp_path / f"killed-{before}")
        broken.home.mkdir()
        shutil.copy(source, broken.home)
        broken.killed(before, "ingest", "events.jsonl")
        again = broken.run("ingest", "events.jsonl")
        assert again.returncode == 0, (before, again.stderr)
        assert_frame_equal(events_of(broken.home), expected)
        assert state_of(broken.home) == state_of(whole.home), before
        assert online_of(broken.home, customers) == online_of(whole.home, customers)
        rejects = "events.jsonl.rejects.jsonl"
        assert (broken.home / rejects).read_bytes() == (whole.home / rejects).read_bytes()


def test_features(small_shop: Commands, tmp_path: Path) -> None:
    whole = copy_of(small_shop, tmp_path / "whole")
    steps = whole.steps(*FEATURES)
    expected = snapshot_of(whole.home)
    customers = expected["customer_id"].to_list()
    assert len(customers) == 60
    for before in spread(steps, 3):
        broken = copy_of(small_shop, tmp_path / f"killed-{before}")
        broken.killed(before, *FEATURES)
        for draft in drafts_of(broken.home):
            os.utime(draft, (0, 0))  # as on the next day
        again = broken.run(*FEATURES)
        assert again.returncode == 0, (before, again.stderr)
        assert drafts_of(broken.home) == []
        assert_frame_equal(snapshot_of(broken.home), expected)
        assert online_of(broken.home, customers) == online_of(whole.home, customers)


def test_train(shop: Commands, tmp_path: Path) -> None:
    whole = copy_of(shop, tmp_path / "whole")
    steps = whole.steps(*TRAIN)
    expected = trained(whole.home)
    assert expected["promoted"]
    for before in spread(steps, 4)[1:]:
        broken = copy_of(shop, tmp_path / f"killed-{before}")
        broken.killed(before, *TRAIN)
        again = broken.run(*TRAIN)
        assert again.returncode == 0, (before, again.stderr)
        found = trained(broken.home)
        assert found["metrics"] == pytest.approx(expected["metrics"], rel=1e-6), before
        _check_registry(broken.home)
        assert list(broken.tmp.iterdir()) == [], before


def trained(home: Path) -> dict[str, Any]:
    return dict(orjson.loads((home / "state" / "reports" / "training" / "churn.json").read_bytes()))


def _check_registry(home: Path) -> None:
    """One champion, which loads; nothing is left that looks as if it were still being made."""
    tracking = Tracking.at(f"sqlite:///{home / 'state' / 'mlflow.db'}", home / "state")
    served = champion(tracking, "churn")
    assert served is not None
    assert load(served[1]).name == "churn"
    versions = tracking.client.search_model_versions("name = 'opportune-churn'")
    assert set(aliases(tracking, "churn").values()) <= {str(version.version) for version in versions}
    assert 1 <= len(versions) <= 2
    runs = tracking.client.search_runs([tracking.experiment])
    assert {run.info.status for run in runs} <= {"FINISHED", "KILLED", "FAILED"}
    of_versions = {version.run_id for version in versions}
    assert {run.info.status for run in runs if run.info.run_id in of_versions} == {"FINISHED"}

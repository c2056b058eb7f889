"""Runs, versions and aliases in a real MLflow on SQLite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from matplotlib.figure import Figure

from tests.fakes.databases import sqlite_of_mlflow
from training.gate import Findings, Verdict
from training.tracking import (
    Tracking,
    TrackingError,
    aliases,
    champion,
    log_and_register,
    promote,
    rollback,
    training_lock,
)
from training.train import train

EXAMPLE = pl.DataFrame({"orders": [1.0, None], "channel": ["email", "sms"]})


@pytest.fixture
def tracking(tmp_path: Path) -> Tracking:
    return Tracking.at(sqlite_of_mlflow(tmp_path / "home" / "mlflow.db"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "model"
    made.mkdir()
    (made / "model.json").write_text('{"kind": "propensity"}')
    return made


def _register(
    tracking: Tracking, folder: Path, champion: bool = False, name: str = "churn", card: str = "# the card"
) -> str:
    return log_and_register(
        tracking,
        name,
        folder,
        Findings(
            metrics={"auc": 0.8, "unknown": float("nan")},
            rivals={"recency": {"auc": 0.7}},
            verdict=Verdict(champion, "as asked for"),
            folds=[{"auc": 0.75}, {"auc": 0.8}],
        ),
        params={"rounds": 30},
        tags={"opportune.data": "abc"},
        figures={"calibration.png": Figure()},
        texts={"card.md": card},
        tables={"judged.parquet": EXAMPLE},
        example=EXAMPLE,
        data={"digest": "abc", "rows": 2},
    )


@pytest.mark.slow
def test_a_run_holds_what_was_logged_and_files_stay_at_home(tracking: Tracking, folder: Path, tmp_path: Path) -> None:
    assert _register(tracking, folder, champion=True) == "1"
    version = tracking.client.get_model_version("opportune-churn", "1")
    run = tracking.client.get_run(version.run_id)
    assert run.data.metrics == {"auc": 0.8, "recency.auc": 0.7, "fold.auc": 0.8}
    assert run.data.params == {"rounds": "30"}
    assert run.inputs.dataset_inputs[0].dataset.digest == "abc"
    assert version.description == "# the card"
    assert version.tags["opportune.verdict"] == "as asked for"
    assert version.tags["opportune.data"] == "abc"
    found = champion(tracking, "churn")
    assert found is not None
    assert found[0] == "1"
    assert json.loads((found[1] / "model.json").read_text()) == {"kind": "propensity"}
    assert (tmp_path / "home" / "mlartifacts") in found[1].parents
    assert not Path("mlruns").exists()
    shutil.rmtree(tmp_path / "home" / "mlartifacts")
    assert champion(tracking, "churn") is None  # its files are gone: it can serve nobody


@pytest.mark.slow
def test_a_champion_that_cannot_be_fetched_now_is_not_taken_for_none(
    tracking: Tracking, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(**_: object) -> None:
        raise ConnectionError("the store is away")

    _register(tracking, folder, champion=True)
    tracking.client.create_model_version("opportune-churn", "mlflow-artifacts:/models/m-1")
    promote(tracking, "churn", "2")
    monkeypatch.setattr("mlflow.artifacts.download_artifacts", away)
    with pytest.raises(TrackingError, match="champion 2 of opportune-churn cannot be fetched"):
        champion(tracking, "churn")


@pytest.mark.slow
def test_a_long_card_has_room_in_every_database_of_mlflow(tracking: Tracking, folder: Path) -> None:
    card = "# the card " * 1000
    told = tracking.client.get_model_version("opportune-churn", _register(tracking, folder, card=card)).description
    assert len(told) == 5000
    assert told.startswith("# the card")
    assert told.endswith("among the run's artifacts")


@pytest.mark.slow
def test_a_placement_with_a_dot_has_a_model(tracking: Tracking, folder: Path) -> None:
    assert _register(tracking, folder, champion=True, name="uplift-email.weekly") == "1"
    assert aliases(tracking, "uplift-email.weekly") == {"champion": "1"}
    found = champion(tracking, "uplift-email.weekly")
    assert found is not None
    assert (found[1] / "model.json").exists()


@pytest.mark.slow
def test_aliases_move_forth_and_back(tracking: Tracking, folder: Path) -> None:
    _register(tracking, folder, champion=True)
    _register(tracking, folder)
    assert aliases(tracking, "churn") == {"champion": "1", "challenger": "2"}
    assert promote(tracking, "churn", "2") == "churn: version 2 is champion; before it was 1"
    assert aliases(tracking, "churn") == {"champion": "2"}
    assert promote(tracking.uri, "churn", "2").startswith("churn: version 2")
    assert rollback(tracking, "churn") == "churn: version 1 is champion again, in place of 2"
    assert aliases(tracking, "churn") == {"champion": "1"}
    with pytest.raises(TrackingError, match="nothing to go back to"):
        rollback(tracking, "churn")
    with pytest.raises(TrackingError, match="no version 9; it has 1, 2"):
        promote(tracking, "churn", "9")
    for move in (lambda: promote(tracking, "chrn", "1"), lambda: rollback(tracking, "chrn")):
        with pytest.raises(TrackingError, match="no model chrn is registered; there are churn"):
            move()


def test_going_back_before_anything_was_registered_says_what_does_it(tracking: Tracking) -> None:
    with pytest.raises(TrackingError, match="none is yet; 'opportune train' registers them"):
        rollback(tracking, "churn")


@pytest.mark.slow
def test_going_back_knows_champions_that_were_moved_in_mlflow(tracking: Tracking, folder: Path) -> None:
    def click(version: str) -> None:
        tracking.client.set_registered_model_alias("opportune-churn", "champion", version)

    _register(tracking, folder, champion=True)
    for _ in range(3):
        _register(tracking, folder)
    click("2")
    assert rollback(tracking, "churn") == "churn: version 1 is champion again, in place of 2"
    promote(tracking, "churn", "3")
    promote(tracking, "churn", "1")
    click("4")
    assert rollback(tracking, "churn") == "churn: version 1 is champion again, in place of 4"
    assert rollback(tracking, "churn") == "churn: version 3 is champion again, in place of 1"
    click("4")
    promote(tracking, "churn", "2")
    assert rollback(tracking, "churn") == "churn: version 4 is champion again, in place of 2"
    tracking.client.delete_registered_model_alias("opportune-churn", "champion")
    assert rollback(tracking, "churn") == "churn: version 4 is champion again, in place of none"


def _killed_at(tracking: Tracking, step: str, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]) -> None:
    def kill(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking.client, step, kill)
        with pytest.raises(KeyboardInterrupt):
            act()


@pytest.mark.slow
def test_going_back_is_right_after_a_move_that_was_killed_half_way(
    tracking: Tracking, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alias, tag = "set_registered_model_alias", "set_registered_model_tag"
    _register(tracking, folder, champion=True)
    _register(tracking, folder)
    _killed_at(tracking, alias, monkeypatch, lambda: promote(tracking, "churn", "2"))
    with pytest.raises(TrackingError, match="nothing to go back to"):
        rollback(tracking, "churn")
    promote(tracking, "churn", "2")
    for step in (alias, tag):
        _killed_at(tracking, step, monkeypatch, lambda: rollback(tracking, "churn"))
    assert rollback(tracking, "churn") == "churn: version 1 is champion again, in place of 2"


@pytest.mark.slow
def test_histories_without_the_present_champion_are_understood(tracking: Tracking, folder: Path) -> None:
    """As they were written once."""
    _register(tracking, folder, champion=True)
    _register(tracking, folder)
    tracking.client.set_registered_model_tag("opportune-churn", "opportune.champions", '["2"]')
    assert rollback(tracking, "churn") == "churn: version 2 is champion again, in place of 1"


@pytest.mark.slow
def test_a_training_that_was_killed_leaves_nothing_behind(tracking: Tracking, folder: Path) -> None:
    """Killed after its version was made and before an alias was set."""
    _register(tracking, folder, champion=True)
    client = tracking.client
    run = client.create_run(tracking.experiment, tags={"opportune.model": "churn"})
    orphan = client.create_model_version("opportune-churn", "file:///nowhere", run.info.run_id)
    _register(tracking, folder)
    assert client.get_run(run.info.run_id).info.status == "KILLED"
    left = {version.version for version in client.search_model_versions("name = 'opportune-churn'")}
    assert str(orphan.version) not in {str(version) for version in left}
    assert aliases(tracking, "churn")["champion"] == "1"


@pytest.mark.slow
def test_a_run_that_fails_is_marked_and_registers_nothing(tracking: Tracking, folder: Path) -> None:
    with pytest.raises(TrackingError, match="no place in a model's signature"):
        log_and_register(
            tracking, "churn", folder, Findings({}, {}, Verdict(False, "")), example=pl.DataFrame({"a": [[1]]})
        )
    runs = tracking.client.search_runs([tracking.experiment])
    assert [run.info.status for run in runs] == ["FAILED"]
    assert aliases(tracking, "churn") == {}
    assert champion(tracking, "churn") is None


def test_a_second_training_of_the_same_model_is_told_to_wait(tmp_path: Path) -> None:
    with training_lock(tmp_path, "churn"), training_lock(tmp_path, "lead"):
        program = (
            "from pathlib import Path; from training.tracking import training_lock\n"
            f"with training_lock(Path({str(tmp_path)!r}), 'churn'): pass"
        )
        other = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
        assert "churn is being trained by another process" in other.stderr
    with training_lock(tmp_path, "churn"):
        pass


def test_files_of_a_server_are_fetched_once_and_go_with_the_process() -> None:
    """Without a folder to put them into MLflow makes one for each call, and leaves it behind."""
    code = """
import mlflow.artifacts
from pathlib import Path
from training.tracking import _brought

def download(artifact_uri, dst_path=None, tracking_uri=None):
    assert dst_path is not None
    calls.append(artifact_uri)
    (Path(dst_path) / "model").mkdir()
    if artifact_uri.endswith("bad"):
        raise OSError("away")
    return dst_path

calls, mlflow.artifacts.download_artifacts = [], download
first, again, other = (_brought(f"mlflow-artifacts:/{one}", "http://there") for one in ("m-1", "m-1", "m-2"))
assert first == again != other and (first / "model").is_dir()
for _ in range(2):
    try:
        _brought("mlflow-artifacts:/bad", "http://there")
    except OSError:
        pass
assert len(calls) == 4, calls
print(first.parent)
"""
    asked = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60
    )
    assert asked.returncode == 0, asked.stderr
    assert not Path(asked.stdout.strip()).exists()


def test_mlflow_is_told_to_send_nothing() -> None:
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_a_server_keeps_its_own_files(tmp_path: Path) -> None:
    assert Tracking.at("https://mlflow.example.org", tmp_path).artifacts is None
    assert Tracking.at("postgresql://db/mlflow", tmp_path).artifacts == tmp_path / "mlartifacts"


def test_a_server_that_does_not_answer_is_named_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = "http://user:secret@127.0.0.1:9"
    for ask in (
        lambda: promote(away, "churn", "1"),
        lambda: rollback(away, "churn"),
        lambda: train(["churn"], tmp_path, away),
    ):
        with pytest.raises(TrackingError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer; start it"):
            ask()

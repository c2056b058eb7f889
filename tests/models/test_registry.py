"""Served models: aliases moved in MLflow serve soon; what is wrong is refused, visibly, and the old one serves on."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import mlflow.artifacts
import numpy as np
import polars as pl
import pytest

from models import registry as registry_module
from models import winback
from models.load import ModelError, load, write_golden
from models.propensity import PropensityModel
from models.registry import ServedModels, _verified_as, main, make_database, sync_forever, sync_once
from models.versions import registered_versions
from tests.fakes.databases import sqlite_of_mlflow
from tests.fakes.model_cases import propensity, propensity_rows
from training.gate import Findings, Verdict
from training.tracking import Tracking, champion, log_and_register, promote

ROWS = propensity_rows(11, 20)


def _write(folder: Path, model: PropensityModel) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    model.save(folder)
    write_golden(model, folder, ROWS)
    return folder


def _aim(served: Path, **versions: str) -> None:
    draft = served / "draft"
    draft.write_text(json.dumps({"churn": versions}))
    draft.replace(served / "aliases.json")


class Registry:
    """A tracking server of its own, with one way to register a model."""

    def __init__(self, home: Path) -> None:
        self.uri = sqlite_of_mlflow(home / "mlflow.db")
        self.tracking = Tracking.at(self.uri)
        self.scratch = home / "scratch"

    def register(self, model: PropensityModel, champion: bool = True, spoil: bool = False, name: str = "churn") -> str:
        folder = _write(self.scratch, model)
        if spoil:
            _spoil(folder)
        version = log_and_register(
            self.tracking, name, folder, Findings({}, {}, Verdict(champion, "as asked for")), example=ROWS.head(2)
        )
        shutil.rmtree(folder)
        return version

    def repair(self) -> None:
        """Makes the golden rows of the champion's files right, where they lie."""
        folder = self._files()
        write_golden(load(folder), folder, ROWS)

    def spoil(self) -> None:
        _spoil(self._files())

    def _files(self) -> Path:
        found = champion(self.tracking, "churn")
        assert found is not None
        return found[1]


class Ailing:
    """A server that answers everything with 503, and counts."""

    def __init__(self) -> None:
        self.asked = 0
        ailing = self

        class Answer(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                ailing.asked += 1
                self.send_error(503)

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.port = self._server.server_port

    def __enter__(self) -> Ailing:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _spoil(folder: Path) -> None:
    golden = pl.read_parquet(folder / "golden.parquet")
    golden.with_columns(pl.col("golden_expected") / 2).write_parquet(folder / "golden.parquet")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path)


def test_nothing_served_is_no_trouble(tmp_path: Path) -> None:
    models = ServedModels(tmp_path / "served")
    assert models.refresh() is True or models.get("churn") is None
    assert models.get("churn") is None
    assert models.status() == []


def test_a_moved_alias_is_taken_up_and_an_unmoved_one_costs_nothing(tmp_path: Path) -> None:
    _write(tmp_path / "churn" / "1", propensity(mix=1.0))
    _write(tmp_path / "churn" / "2", propensity(mix=0.0))
    models = ServedModels(tmp_path)
    _aim(tmp_path, champion="1")
    assert models.refresh()
    assert not models.refresh()
    first = models.get("churn")
    assert first is not None
    assert first.version == "1"
    _aim(tmp_path, champion="2", challenger="1")
    assert models.refresh()
    assert (models.get("churn").version, models.get("churn", "challenger").version) == ("2", "1")  # type: ignore[union-attr]
    assert models.get("churn", "challenger") is first  # not loaded a second time


def test_a_version_that_does_not_load_leaves_the_old_one_serving(tmp_path: Path) -> None:
    _write(tmp_path / "churn" / "1", propensity())
    models = ServedModels(tmp_path)
    _aim(tmp_path, champion="1")
    models.refresh()
    assert not models.stands_in("churn")
    broken = _write(tmp_path / "churn" / "2", propensity())
    (broken / "model.txt").write_text("tree\n")
    _aim(tmp_path, champion="2")
    assert not models.refresh()
    assert models.get("churn").version == "1"  # type: ignore[union-attr]
    (entry,) = models.status()
    assert (entry["version"], entry["wanted"]) == ("1", "2")
    assert "version 2 is refused" in entry["problem"]
    assert models.stands_in("churn")
    _aim(tmp_path, champion="1")
    models.refresh()
    assert not models.stands_in("churn")


def test_what_does_not_load_is_told_without_its_content(tmp_path: Path) -> None:
    text = _write(tmp_path / "churn" / "1", propensity()) / "model.txt"
    text.write_bytes(text.read_bytes().replace(b"num_leaves=", b"num_\xff="))
    _aim(tmp_path, champion="1")
    models = ServedModels(tmp_path)
    models.refresh()
    (entry,) = models.status()
    assert "UnicodeDecodeError" in entry["problem"]
    assert "feature_names" not in entry["problem"]


def test_what_this_process_could_not_load_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path / "churn" / "1", propensity())
    files, models = tmp_path / "churn" / "1" / "golden.parquet", ServedModels(tmp_path)
    files.rename(tmp_path / "away")
    _aim(tmp_path, champion="1")
    models.refresh()
    (tmp_path / "away").rename(files)
    assert not models.refresh()  # not at once
    monkeypatch.setattr("models.registry.ANEW_S", 0.0)
    assert models.refresh()
    assert models.get("churn").version == "1"  # type: ignore[union-attr]
    assert not models.refresh()


def test_readers_never_see_a_mixture(tmp_path: Path) -> None:
    for version, mix in (("1", 1.0), ("2", 0.0)):
        _write(tmp_path / "churn" / version, propensity(mix=mix))
    models = ServedModels(tmp_path)
    _aim(tmp_path, champion="1", challenger="1")
    models.refresh()
    missing: list[str] = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            if models.get("churn") is None or models.get("churn", "challenger") is None:
                missing.append("gap")

    reader = threading.Thread(target=read)
    reader.start()
    for turn in range(6):
        _aim(tmp_path, champion=str(turn % 2 + 1), challenger=str(turn % 2 + 1))
        models.refresh()
    stop.set()
    reader.join()
    assert missing == []


@pytest.mark.slow
def test_a_home_that_was_moved_or_copied_has_its_models(tmp_path: Path) -> None:
    """MLflow names files by their whole path; a copy must neither miss them nor be trained into the original."""
    first = Registry(tmp_path / "a home")
    model = propensity()
    first.register(model)
    shutil.copytree(tmp_path / "a home", tmp_path / "copy")
    shutil.move(tmp_path / "a home", tmp_path / "away")
    served = tmp_path / "copy" / "served"
    copy = Registry(tmp_path / "copy")
    assert sync_once(copy.uri, served) == ["churn champion: version 1"]  # before anything was trained there
    found = champion(copy.tracking, "churn")
    assert found is not None
    assert found[1].is_relative_to(tmp_path / "copy")
    gone = tmp_path / "copy" / "mlartifacts" / "elsewhere"
    with closing(sqlite3.connect(tmp_path / "copy" / "mlflow.db")) as database, database:
        [(place,)] = database.execute("SELECT artifact_location FROM experiments WHERE name = 'opportune'").fetchall()
        database.execute("UPDATE runs SET artifact_uri = ?", [f"{place}/elsewhere/artifacts"])
    copy.register(model)
    with closing(sqlite3.connect(tmp_path / "copy" / "mlflow.db")) as database:
        places = {uri for (uri,) in database.execute("SELECT artifact_uri FROM runs")}
    assert f"{place}/elsewhere/artifacts" in places  # what is not here stays where it is said to be
    assert not gone.exists()
    assert sync_once(copy.uri, served) == ["churn champion: version 2"]
    assert not (tmp_path / "a home").exists()
    (tmp_path / "copy").rename(tmp_path / "third")
    assert sync_once(Registry(tmp_path / "third").uri, tmp_path / "third" / "other") == ["churn champion: version 2"]


@pytest.mark.slow
def test_the_registrys_aliases_are_brought_over(registry: Registry, tmp_path: Path) -> None:
    served = tmp_path / "served"
    model = propensity()
    registry.register(model)
    assert sync_once(registry.uri, served) == ["churn champion: version 1"]
    assert sync_once(registry.uri, served) == []
    models = ServedModels(served)
    models.refresh()
    np.testing.assert_array_equal(models.get("churn").predict(ROWS), model.predict(ROWS))  # type: ignore[union-attr]

    registry.register(replace(model, mix=1.0), champion=False)
    assert sync_once(registry.uri, served) == ["churn challenger: version 2"]
    promote(registry.uri, "churn", "2")
    assert set(sync_once(registry.uri, served)) == {"churn champion: version 2", "churn challenger: taken away"}
    assert {name: sorted(row) for name, row in registered_versions(served).items()} == {"churn": ["1", "2"]}
    models.refresh()
    assert models.get("churn").version == "2"  # type: ignore[union-attr]
    assert models.get("churn", "challenger") is None
    registry.tracking.client.delete_registered_model_alias("opportune-churn", "champion")
    assert sync_once(registry.uri, served) == ["churn champion: taken away"]


def test_what_is_wrong_with_a_fetched_version_names_the_version(tmp_path: Path) -> None:
    """Its folder is gone by the time that somebody reads it."""
    _write(tmp_path / "draft", propensity())
    (tmp_path / "draft" / "model.txt").write_text("no trees")
    with pytest.raises(ModelError, match="the churn model in opportune-churn/7 does not load") as told:
        _verified_as("opportune-churn/7", tmp_path / "draft", "churn", "7")
    assert str(tmp_path) not in str(told.value)


def test_a_version_of_another_model_is_refused(tmp_path: Path) -> None:
    """MLflow copies a version to whatever name it is told: winback's chances would be told as churn's."""
    _write(tmp_path / "churn" / "1", propensity())
    models = ServedModels(tmp_path)
    _aim(tmp_path, champion="1")
    models.refresh()
    foreign = _write(tmp_path / "churn" / "2", replace(propensity(), declaration=winback.DECLARATION))
    with pytest.raises(ModelError, match="a version of winback, not of churn; register it by training"):
        _verified_as("opportune-churn/2", foreign, "churn", "2")
    _aim(tmp_path, champion="2")
    models.refresh()
    assert models.get("churn").version == "1"  # type: ignore[union-attr]
    (entry,) = models.status()
    assert "version 2 is refused: its files are a version of winback, not of churn" in entry["problem"]


@pytest.mark.slow
def test_golden_rows_that_differ_refuse_a_version(registry: Registry, tmp_path: Path) -> None:
    served = tmp_path / "served"
    registry.register(propensity())
    sync_once(registry.uri, served)
    registry.register(propensity(mix=1.0), spoil=True)
    (change,) = sync_once(registry.uri, served)
    assert "version 2 is refused" in change
    assert sync_once(registry.uri, served) == []  # said once
    models = ServedModels(served)
    models.refresh()
    (entry,) = models.status()
    assert (entry["version"], entry["wanted"]) == ("1", "2")
    assert "golden rows" in entry["problem"]
    assert models.stands_in("churn")
    registry.repair()
    sync_once(registry.uri, served)
    models.refresh()
    assert (models.get("churn").version, models.stands_in("churn")) == ("2", False)  # type: ignore[union-attr]
    promote(registry.uri, "churn", "1")
    sync_once(registry.uri, served)
    models.refresh()
    assert [entry["problem"] for entry in models.status()] == [None]


@pytest.mark.slow
def test_a_version_that_was_repaired_in_its_place_serves_in_time(registry: Registry, tmp_path: Path) -> None:
    served = tmp_path / "served"
    registry.register(propensity())
    sync_once(registry.uri, served)
    registry.register(propensity(mix=1.0), spoil=True)
    at_start: list[str | None] = []

    def going() -> Iterator[bool]:
        yield True
        at_start.append(_serving(served))
        registry.repair()
        yield True
        yield True

    def turns(anew_s: float) -> None:
        left = going()
        sync_forever(registry.uri, served, 0.0, lambda: next(left, False), anew_s)

    turns(300.0)
    assert (at_start, _serving(served)) == (["1"], "1")  # not before its time
    registry.spoil()
    turns(0.0)
    assert (at_start, _serving(served)) == (["1", "1"], "2")
    assert json.loads((served / "sync.json").read_text())["refused"] == {}


@pytest.mark.slow
def test_a_start_tries_again_what_was_refused(registry: Registry, tmp_path: Path) -> None:
    served = tmp_path / "served"
    registry.register(propensity(mix=1.0), spoil=True)
    for expected in (None, "1"):
        left = iter([True])
        sync_forever(registry.uri, served, 0.0, lambda left=left: next(left, False))  # type: ignore[misc]
        assert _serving(served) == expected
        registry.repair()


def test_a_child_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that never answers tells of no trouble, and no new champion came."""
    monkeypatch.setattr(registry_module, "_client", lambda _: None)
    monkeypatch.setattr(registry_module, "_sync", lambda *_, **__: [])

    def turn() -> None:
        left = iter([True, False])
        sync_forever("http://127.0.0.1:9", tmp_path, 0.0, lambda: next(left, False))

    assert ServedModels(tmp_path, _began=0.0).status() == []  # there never was one
    turn()
    assert ServedModels(tmp_path, _began=0.0).status() == []
    os.utime(tmp_path / "seen", (time.time() - 1_800,) * 2)
    assert ServedModels(tmp_path).status() == []  # just started, as the child is
    [told] = ServedModels(tmp_path, _began=0.0).status()
    assert (told["name"], "done nothing for 30 minutes" in told["problem"]) == ("sync", True)
    turn()
    assert ServedModels(tmp_path, _began=0.0).status() == []


@pytest.mark.slow
def test_a_registry_out_of_reach_is_told_and_what_is_served_stays(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = tmp_path / "served"
    registry.register(propensity())
    sync_once(registry.uri, served)
    models = ServedModels(served)
    turns = iter([True, False, False])
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "")
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES")
    with Ailing() as ailing:
        sync_forever(f"http://user:secret@127.0.0.1:{ailing.port}", served, 0.0, lambda: next(turns, False))
    assert 1 <= ailing.asked <= 2, "more tries would wait for longer and longer, and not see that it is back"
    models.refresh()
    assert models.get("churn") is not None
    trouble = models.status()[-1]
    assert trouble["name"] == "sync"
    assert "cannot read the registry" in trouble["problem"]
    assert "secret" not in trouble["problem"]
    sync_once(registry.uri, served)
    assert all(entry["problem"] is None for entry in models.status())


@pytest.mark.slow
@pytest.mark.parametrize("file", ["model.json", "model.txt", "golden.parquet"])
def test_files_that_were_damaged_where_they_are_served_are_fetched_again(
    registry: Registry, tmp_path: Path, file: str
) -> None:
    served = tmp_path / "served"
    registry.register(propensity())
    sync_once(registry.uri, served)
    (served / "churn" / "1" / file).write_text("half of it")
    models = ServedModels(served)
    models.refresh()
    assert models.get("churn") is None
    sync_once(registry.uri, served)
    assert models.refresh()  # who refused them need not wait until it tries by itself
    assert models.get("churn") is not None


@pytest.mark.slow
def test_files_out_of_reach_hold_no_other_model_back(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetch = mlflow.artifacts.download_artifacts

    def away(artifact_uri: str, **more: Any) -> str:
        asked_for.append(artifact_uri)
        if len(asked_for) == 1:
            raise LookupError("no such bucket")
        return fetch(artifact_uri=artifact_uri, **more)

    asked_for: list[str] = []
    registry.register(propensity())
    registry.register(replace(propensity(), declaration=winback.DECLARATION), name="winback")
    monkeypatch.setattr(mlflow.artifacts, "download_artifacts", away)
    served = tmp_path / "served"
    assert sync_once(registry.uri, served)[0].startswith("churn champion: version 1 is refused: its files cannot be")
    assert json.loads((served / "aliases.json").read_text()) == {"winback": {"champion": "1"}}
    sync_once(registry.uri, served)
    assert json.loads((served / "aliases.json").read_text()).keys() == {"churn", "winback"}


@pytest.mark.slow
def test_the_child_process_follows_within_ten_seconds_and_needs_no_asking(registry: Registry, tmp_path: Path) -> None:
    served = tmp_path / "served"
    registry.register(propensity())
    command = [sys.executable, "-m", "models.registry", registry.uri, str(served)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        try:
            _wait(lambda: "1" in _champions(served), 60)
            version = registry.register(propensity(mix=1.0))
            _wait(lambda: version in _champions(served), 10)
        finally:
            child.terminate()


def test_the_child_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert "TRACKING_URI FOLDER" in capsys.readouterr().err


def test_serving_needs_no_mlflow_and_nothing_of_training(tmp_path: Path) -> None:
    """In a process where importing any of them fails."""
    _write(tmp_path / "churn" / "1", propensity())
    _aim(tmp_path, champion="1")
    program = (
        "import sys\n"
        "for name in ('mlflow', 'lightgbm', 'sklearn', 'scipy', 'pandas', 'matplotlib', 'torch', 'feast'):\n"
        "    sys.modules[name] = None\n"
        "from pathlib import Path\n"
        "from models.registry import ServedModels\n"
        f"models = ServedModels(Path({str(tmp_path)!r}))\n"
        "assert models.refresh() and models.get('churn').version == '1', models.status()\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def _serving(served: Path) -> str | None:
    models = ServedModels(served)
    models.refresh()
    found = models.get("churn")
    return None if found is None else str(found.version)


def _champions(served: Path) -> list[str]:
    path = served / "aliases.json"
    return list(json.loads(path.read_text()).get("churn", {}).values()) if path.exists() else []


def _wait(condition: object, seconds: float) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.1)
    raise AssertionError(f"it did not happen within {seconds:g} s")


@pytest.mark.slow
def test_a_file_of_an_older_mlflow_is_brought_up_to_date_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow does it in place: of one that was killed on its way it said to run a command, which failed then."""
    import_module("mlflow.store.tracking.sqlalchemy_store")  # sets up all of MLflow's mappers before any is used
    from alembic import command
    from mlflow.store.db import utils

    def revision(file: Path) -> str:
        with closing(sqlite3.connect(file)) as database:
            return str(database.execute("SELECT version_num FROM alembic_version").fetchone()[0])

    def half_way(engine: Any) -> None:
        with engine.begin() as connection:
            connection.exec_driver_sql("DROP TABLE experiments")
        raise KeyboardInterrupt

    file, uri = tmp_path / "mlflow.db", f"sqlite:///{tmp_path}/mlflow.db"
    engine, newest = utils.create_sqlalchemy_engine(uri), utils._get_latest_schema_revision()
    utils.InitialBase.metadata.create_all(engine)
    config = utils._get_alembic_config(uri)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, f"{newest}-1")
    engine.dispose()
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("INSERT INTO experiments (experiment_id, name) VALUES (7, 'of before')")
    older, before = revision(file), file.read_bytes()
    with monkeypatch.context() as killed:
        killed.setattr(utils, "_upgrade_db", half_way)
        with pytest.raises(KeyboardInterrupt):
            make_database(uri)
    assert (revision(file), file.read_bytes()) == (older, before)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    make_database(uri)
    assert revision(file) == newest
    Tracking.at(uri).client.search_experiments()
    with closing(sqlite3.connect(file)) as database:
        assert database.execute("SELECT name FROM experiments WHERE experiment_id = 7").fetchone() == ("of before",)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
    with closing(sqlite3.connect(file)) as database, database:
        database.execute("UPDATE alembic_version SET version_num = 'of a later one'")
    make_database(uri)
    assert revision(file) == "of a later one"


def test_a_fetcher_whose_service_was_killed_while_it_began_ends(tmp_path: Path) -> None:
    """It took whoever adopts orphans for its parent, and went on for good, beside the next service's."""
    command = [sys.executable, "-m", "models.registry", f"sqlite:///{tmp_path}/mlflow.db", str(tmp_path / "served")]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as child:
        assert child.stdin is not None
        child.stdin.close()  # as of a parent that is gone
        try:
            assert child.wait(20) == 0
        finally:
            child.kill()

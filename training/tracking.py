"""The only door to MLflow from training: runs, versions, aliases. Nothing leaves the machine by itself."""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
from xxhash import xxh3_64_hexdigest

from models.artifacts import FOLDER, found_at
from models.load import MANIFEST
from models.registry import make_database, without_passwords
from training.gate import Findings
from training.moved_store import follow

# MLflow reads these when it is imported; its own usage statistics and logs must stay quiet.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("DO_NOT_TRACK", "true")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "3")  # by its default of 7 a command hangs for four minutes

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mlflow import MlflowClient

PREFIX = "opportune-"
CHAMPION, CHALLENGER = "champion", "challenger"
HISTORY = "opportune.champions"
"""A tag of the registered model: versions that became champion, newest last. A click in MLflow does not write it: then
its last one is not the present champion, but the one before. (Tags written once never ended with the present one.)"""
EXPERIMENT = "opportune"
DESCRIBED = 5000
_LONGEST_TAG = 4000
"""So many letters of a version's description have room in MLflow's databases, and Postgres refuses more."""
REST = "\n\n… the rest stands in card.md, among the run's artifacts"
TYPES = {pl.Float64: "double", pl.Float32: "float", pl.Int64: "long", pl.Int32: "integer", pl.String: "string",
         pl.Boolean: "boolean"}  # fmt: skip
PACKAGES = ("numpy", "polars")  # what a saved model needs to predict, beside this repository


class TrackingError(RuntimeError):
    """What was asked of the registry cannot be done; the text says why and what to do."""


@dataclass(frozen=True)
class Tracking:
    """A tracking server and registry: any MLflow URI; `artifacts` is where files go (None: where the server says)."""

    uri: str
    artifacts: Path | None = None

    @classmethod
    def at(cls, uri: str, home: Path | None = None) -> Tracking:
        """For a database URI, files go to `home`/mlartifacts (`home` defaults to the SQLite file's folder)."""
        if uri.startswith("sqlite:///"):
            home = home or Path(uri.removeprefix("sqlite:///")).parent
        if uri.startswith(("http://", "https://", "databricks")) or home is None:
            return cls(uri)
        return cls(uri, home.absolute() / FOLDER)

    @cached_property
    def client(self) -> MlflowClient:
        from mlflow import MlflowClient

        make_database(self.uri)
        if self.artifacts is not None and self.uri.startswith("sqlite:///"):
            follow(Path(self.uri.removeprefix("sqlite:///")), EXPERIMENT, self.artifacts)
        return MlflowClient(self.uri, self.uri)

    def must_answer(self) -> None:
        """Raises TrackingError where a server does not: before a run of hours, not at its end."""
        from mlflow.exceptions import MlflowException

        if not self.uri.startswith(("http://", "https://")):
            return
        try:
            self.client.search_experiments(max_results=1)
        except MlflowException as away:
            told = f"MLflow at {without_passwords(self.uri)} does not answer"
            raise TrackingError(f"{told}; start it, or correct mlflow_tracking_uri") from away

    @cached_property
    def experiment(self) -> str:
        """The id of our experiment, made when it is missing."""
        from mlflow.exceptions import MlflowException

        found = self.client.get_experiment_by_name(EXPERIMENT)
        if found is not None:
            return str(found.experiment_id)
        try:
            location = self.artifacts.as_uri() if self.artifacts else None
            return str(self.client.create_experiment(EXPERIMENT, artifact_location=location))
        except MlflowException:  # another process was faster
            found = self.client.get_experiment_by_name(EXPERIMENT)
            if found is None:
                raise
            return str(found.experiment_id)


def log_and_register(
    tracking: Tracking,
    name: str,
    model_folder: Path,
    found: Findings,
    *,
    params: Mapping[str, object] | None = None,
    tags: Mapping[str, str] | None = None,
    figures: Mapping[str, Figure] | None = None,
    texts: Mapping[str, str] | None = None,
    tables: Mapping[str, pl.DataFrame] | None = None,
    example: pl.DataFrame,
    data: Mapping[str, object] | None = None,
) -> str:
    """Logs one training run, registers `model_folder` as a new version of opportune-`name`, returns the version.

    Figures of a rival are logged as `rival.metric`; the verdict becomes the tag `opportune.verdict`. `figures` go to
    plots/, `texts` (file name -> content) and `tables` beside them. `texts["card.md"]` becomes the version's
    description too, as far as there is room. `example` holds a few rows of the model's inputs: it gives the signature.
    `data` describes the training data (`digest`, and what else is known). The alias (`champion` where the verdict
    promotes it, else `challenger`) is set last: a run killed before leaves nothing that serves.
    """
    client = tracking.client
    _discard_unfinished(tracking, name)
    tags = {"opportune.verdict": found.verdict.text[:_LONGEST_TAG], **(tags or {})}
    run = client.create_run(tracking.experiment, run_name=name, tags=_run_tags(tracking, name, tags))
    run_id = run.info.run_id
    try:
        _log_numbers(client, run_id, found, params or {})
        _log_data(client, run_id, name, data or {})
        with tempfile.TemporaryDirectory(dir=model_folder.parent) as scratch:
            _write_files(Path(scratch), figures or {}, texts or {}, tables or {})
            client.log_artifacts(run_id, scratch)
        source, model_id = _log_model(tracking, run_id, name, model_folder, example, found.metrics)
        version = _register(client, name, source, run_id, model_id, tags, (texts or {}).get("card.md", ""))
        client.set_terminated(run_id, "FINISHED")
    except BaseException:
        with contextlib.suppress(Exception):
            client.set_terminated(run_id, "FAILED")
        raise
    if found.verdict.promote:
        promote(tracking, name, version)
    else:
        client.set_registered_model_alias(PREFIX + name, CHALLENGER, version)
    return version


def champion(tracking: Tracking, name: str) -> tuple[str, Path] | None:
    """The version that serves and the local folder of its model; None without one, or if its files are gone.

    Raises TrackingError where another machine has the files and does not give them: they may well be there.
    """
    version = aliases(tracking, name).get(CHAMPION)
    if version is None:
        return None
    source = found_at(str(tracking.client.get_model_version(PREFIX + name, version).source), tracking.artifacts)
    try:
        place = _brought(source, tracking.uri)
    except Exception as trouble:  # each kind of store fails in its own way
        if source.partition(":")[0] == "file":
            return None
        raise TrackingError(
            f"the files of champion {version} of opportune-{name} cannot be fetched ({trouble!r}); try again, or make "
            f"another version champion: nothing is judged without them"
        ) from trouble
    manifests = sorted(place.rglob(MANIFEST), key=lambda path: len(path.parts))
    return (version, manifests[0].parent) if manifests else None


def _brought(source: str, uri: str) -> Path:
    """The folder of a version's files: where they lie, or of another machine's a copy until this process ends."""
    from mlflow.artifacts import download_artifacts

    scheme, remote, _ = source.partition(":")
    if not remote or scheme == "file":
        return Path(download_artifacts(artifact_uri=source, tracking_uri=uri))
    copy = _copies() / xxh3_64_hexdigest(f"{uri}\0{source}".encode())
    if not copy.exists():  # versions do not change; MLflow would leave a new folder behind for each call
        draft = copy.with_suffix(".tmp")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        download_artifacts(artifact_uri=source, dst_path=str(draft), tracking_uri=uri)
        draft.rename(copy)
    return copy


@cache
def _copies() -> Path:
    folder = tempfile.mkdtemp(prefix="opportune-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def aliases(tracking: Tracking, name: str) -> dict[str, str]:
    """Alias -> version of opportune-`name`; empty when nothing is registered."""
    found = tracking.client.search_registered_models(f"name = '{PREFIX}{name}'")
    return {alias: str(version) for alias, version in found[0].aliases.items()} if found else {}


def promote(tracking: Tracking | str, name: str, version: str) -> str:
    """Makes `version` the champion of opportune-`name`; says so in a sentence. Raises TrackingError.

    `tracking` may be an MLflow URI. The version that was champion is remembered for `rollback`.
    """
    from mlflow.exceptions import MlflowException

    at = _tracking(tracking)
    at.must_answer()
    _must_be_registered(at, name)
    try:
        at.client.get_model_version(PREFIX + name, version)
    except MlflowException as missing:
        known = sorted(int(one.version) for one in at.client.search_model_versions(f"name = '{PREFIX}{name}'"))
        told = f"it has {', '.join(map(str, known)) or 'none'}"
        raise TrackingError(f"opportune-{name} has no version {version}; {told}") from missing
    before = aliases(at, name)
    history = [*_history(at, name), *([before[CHAMPION]] if CHAMPION in before else [])]
    _remember(at, name, history)  # never ahead of the alias: killed in between, `rollback` must not lead to `version`
    at.client.set_registered_model_alias(PREFIX + name, CHAMPION, version)
    _remember(at, name, [*history, version])
    if before.get(CHALLENGER) == version:
        at.client.delete_registered_model_alias(PREFIX + name, CHALLENGER)
    return f"{name}: version {version} is champion; before it was {before.get(CHAMPION, 'none')}"


def rollback(tracking: Tracking | str, name: str) -> str:
    """Makes the champion before this one the champion again; says so in a sentence. Raises TrackingError."""
    at = _tracking(tracking)
    at.must_answer()
    _must_be_registered(at, name)
    history, present = _history(at, name), aliases(at, name).get(CHAMPION)
    while history and history[-1] == present:
        history.pop()
    if not history:
        raise TrackingError(f"opportune-{name} had no champion before {present or 'now'}; nothing to go back to")
    version = history[-1]
    _remember(at, name, history)  # before the alias: killed in between, it goes to the same version when run again
    at.client.set_registered_model_alias(PREFIX + name, CHAMPION, version)
    return f"{name}: version {version} is champion again, in place of {present or 'none'}"


def _must_be_registered(tracking: Tracking, name: str) -> None:
    """TrackingError where no version of the model is, with those that there are."""
    if not tracking.client.search_registered_models(f"name = '{PREFIX}{name}'"):
        ours = tracking.client.search_registered_models(f"name LIKE '{PREFIX}%'")
        known = sorted(model.name.removeprefix(PREFIX) for model in ours)
        there = f"there are {', '.join(known)}" if known else "none is yet; 'opportune train' registers them"
        raise TrackingError(f"no model {name} is registered; {there}")


def _tracking(tracking: Tracking | str) -> Tracking:
    return Tracking.at(tracking) if isinstance(tracking, str) else tracking


@contextlib.contextmanager
def training_lock(home: Path, name: str) -> Iterator[None]:
    """Lets one process at a time train a model; freed by the system when the process ends in any way."""
    home.mkdir(parents=True, exist_ok=True)
    with open(home / f".train-{name}.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise TrackingError(f"{name} is being trained by another process; wait for it to end") from None
        yield


def _history(tracking: Tracking, name: str) -> list[str]:
    found = tracking.client.search_registered_models(f"name = '{PREFIX}{name}'")
    return list(json.loads(found[0].tags.get(HISTORY, "[]"))) if found else []


def _remember(tracking: Tracking, name: str, history: Sequence[str]) -> None:
    kept = [entry for index, entry in enumerate(history) if index == 0 or entry != history[index - 1]]
    tracking.client.set_registered_model_tag(PREFIX + name, HISTORY, json.dumps(kept[-50:]))


def _run_tags(tracking: Tracking, name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """`mlflow run` leaves its own run's id in the environment; ours becomes its child where both share a server."""
    parent = os.environ.get("MLFLOW_RUN_ID")
    shared = parent is not None and os.environ.get("MLFLOW_TRACKING_URI") == tracking.uri
    return {"opportune.model": name, **tags, **({"mlflow.parentRunId": parent} if shared and parent else {})}


def _discard_unfinished(tracking: Tracking, name: str) -> None:
    """Versions and runs of a training that was killed half way are removed, so that a second try stands alone.

    The caller holds `training_lock`: nobody else is in the middle of one.
    """
    client = tracking.client
    query = f"tags.`opportune.model` = '{name}' and attributes.status = 'RUNNING'"
    for run in client.search_runs([tracking.experiment], query):
        for version in client.search_model_versions(f"name = '{PREFIX}{name}' and run_id = '{run.info.run_id}'"):
            client.delete_model_version(PREFIX + name, version.version)
        client.set_terminated(run.info.run_id, "KILLED")


def _log_numbers(client: MlflowClient, run_id: str, found: Findings, params: Mapping[str, object]) -> None:
    from mlflow.entities import Metric, Param

    now = time.time_ns() // 1_000_000
    of_rivals = {f"{rival}.{key}": value for rival, row in found.rivals.items() for key, value in row.items()}
    flat = {**found.metrics, **of_rivals}
    points = [Metric(key, float(value), now, 0) for key, value in flat.items() if value == value]
    for step, row in enumerate(found.folds):
        points += [Metric(f"fold.{key}", float(value), now, step) for key, value in row.items() if value == value]
    settings = [Param(key, str(value)[:6000]) for key, value in params.items()]
    for start in range(0, max(len(points), 1), 1000):
        client.log_batch(run_id, metrics=points[start : start + 1000], params=settings[:100] if start == 0 else ())


def _log_data(client: MlflowClient, run_id: str, name: str, data: Mapping[str, object]) -> None:
    from mlflow.entities import Dataset, DatasetInput

    if not data:
        return
    dataset = Dataset(f"{name}-training", str(data.get("digest", ""))[:36], "local", json.dumps({"tables": "events"}),
                      profile=json.dumps(dict(data), default=str))  # fmt: skip
    client.log_inputs(run_id, [DatasetInput(dataset)])


def _write_files(
    folder: Path, figures: Mapping[str, Figure], texts: Mapping[str, str], tables: Mapping[str, pl.DataFrame]
) -> None:
    (folder / "plots").mkdir()
    for file, figure in figures.items():
        figure.savefig(folder / "plots" / file)
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    for file, table in tables.items():
        table.write_parquet(folder / file)


def _log_model(
    tracking: Tracking, run_id: str, name: str, folder: Path, example: pl.DataFrame, metrics: Mapping[str, float]
) -> tuple[str, str]:
    """Stores the model in MLflow's own form (a pyfunc), returns its URI and id."""
    import mlflow.pyfunc

    client = tracking.client
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        path = Path(scratch) / "model"
        mlflow.pyfunc.save_model(
            path=str(path),
            loader_module="models.load",
            data_path=str(folder),
            signature=_signature(example),
            pip_requirements=[_pinned(package) for package in PACKAGES],
            metadata={"opportune.model": name},
            input_example=example.to_pandas(),
        )
        told = re.sub(r"[^A-Za-z0-9_-]+", "-", name)  # a registered model may have a dot in its name, a logged one not
        logged = client.create_logged_model(tracking.experiment, name=told, source_run_id=run_id, model_type="pyfunc")
        client.log_model_artifacts(logged.model_id, str(path))
        client.finalize_logged_model(logged.model_id, "READY")
    return str(logged.artifact_location), str(logged.model_id)


def _pinned(package: str) -> str:
    from importlib.metadata import version

    return f"{package}=={version(package)}"


def _signature(example: pl.DataFrame) -> Any:
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    columns: list[ColSpec | TensorSpec] = []
    for name, kind in example.schema.items():
        known = "datetime" if isinstance(kind, pl.Datetime) else TYPES.get(kind.base_type())
        if known is None:
            raise TrackingError(f"column {name} has type {kind}, which has no place in a model's signature")
        columns.append(ColSpec(DataType[known], name))
    return ModelSignature(Schema(columns), Schema([ColSpec(DataType.double, "probability")]))


def _register(
    client: MlflowClient, name: str, source: str, run_id: str, model_id: str, tags: Mapping[str, str], card: str
) -> str:
    from mlflow.exceptions import MlflowException

    with contextlib.suppress(MlflowException):  # it exists
        client.create_registered_model(PREFIX + name)
    told = card if len(card) <= DESCRIBED else card[: DESCRIBED - len(REST)] + REST
    version = client.create_model_version(
        PREFIX + name, source, run_id, tags=dict(tags), description=told, model_id=model_id
    )
    return str(version.version)

"""Served models: a child process brings champions and challengers from MLflow into `served/`; the API only reads there.

    served/<name>/<version>/…     a model's folder, whole or not there
    served/aliases.json           {"churn": {"champion": "3", "challenger": "4"}}: what is to be served
    served/versions.json          which versions are registered (models/versions.py)
    served/sync.json              what the child saw last: refused versions with reasons, its own trouble
    served/seen                   written at each of its turns: one that hangs tells of no trouble

`python -m models.registry TRACKING_URI FOLDER` is that child. It ends when its parent does; with `once` behind, when it
has looked once.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import secrets
import select
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from features.texts import Texts
from models.artifacts import FOLDER, found_at
from models.load import MANIFEST, ModelError, load, verify_golden
from models.versions import VERSIONS_FILE, ask_versions

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX = "opportune-"
ALIASES = ("champion", "challenger")
ALIAS_FILE, SYNC_FILE, SEEN_FILE = "aliases.json", "sync.json", "seen"
ANEW_S = 300.0
"""So often a version that was refused is tried again: somebody may have repaired it in its place."""
SILENT_S = 900.0
"""After which the child is taken for one that hangs: bringing a large model may take minutes."""
_PATIENCE_S = 30.0
"""For whoever writes into MLflow's SQLite file now."""


class NotFetched(ModelError):
    """A version's files did not arrive; unlike a bad model, this is tried again."""


Wanted = dict[str, dict[str, str]]  # model -> alias -> version


@dataclass(slots=True)
class ServedModels:
    """The models that serve, read from `folder`; MLflow is not needed.

    A version that does not load, or does not reproduce its golden rows, is refused: what served before serves on, and
    `status` says so. Safe to use from several threads: `get` sees the old models or the new, never a mixture.
    """

    folder: Path
    texts: Texts | None = None
    """Where models that compare texts find the vectors of offers that came after their training."""
    _models: Mapping[tuple[str, str], Any] = field(default_factory=lambda: MappingProxyType({}))
    _refused: dict[str, str] = field(default_factory=dict)
    _asked: Mapping[str, Any] = field(default_factory=dict)
    _stamp: tuple[int, ...] | None = None
    _asked_stamp: tuple[int, ...] | None = None
    _tried: float = -math.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _began: float = field(default_factory=time.time)

    def refresh(self) -> bool:
        """Takes up moved aliases; True when what is served changed. Cheap when nothing did: two `stat`s.

        What was refused is tried again every ANEW_S: this process may have been out of memory, or of files.
        """
        asked = _stamp(self.folder / SYNC_FILE)
        if asked != self._asked_stamp:
            self._asked, self._asked_stamp = _read_json(self.folder / SYNC_FILE).get("refused", {}), asked
        stamp = _stamp(self.folder / ALIAS_FILE)
        if stamp == self._stamp and not self._due_again():
            return False
        with self._lock:
            if stamp == self._stamp and not self._due_again():
                return False
            self._tried = time.monotonic()
            before, refused = self._models, dict[str, str]()
            self._models = MappingProxyType(self._load(_read_json(self.folder / ALIAS_FILE), before, refused))
            self._refused, self._stamp = refused, stamp
            return {key: id(model) for key, model in before.items()} != {
                key: id(model) for key, model in self._models.items()
            }

    def _due_again(self) -> bool:
        return bool(self._refused) and time.monotonic() - self._tried >= ANEW_S

    def get(self, name: str, alias: str = "champion") -> Any | None:
        """The model that serves under `alias`; None when there is none."""
        return self._models.get((name, alias))

    def stands_in(self, name: str, alias: str = "champion") -> bool:
        """Whether what serves is the version before one that was refused."""
        key = f"{name}/{alias}"
        return (name, alias) in self._models and (key in self._refused or key in self._asked)

    def status(self) -> list[dict[str, Any]]:
        """One entry a model and alias: `name`, `alias`, `version` served, `wanted`, `problem` (None when all is well).

        An entry named `sync` tells of trouble of the child process, where there is any.
        """
        wanted: Wanted = _read_json(self.folder / ALIAS_FILE)
        sync = _read_json(self.folder / SYNC_FILE)
        refused: dict[str, Any] = sync.get("refused", {})
        keys = {(name, alias) for name, row in wanted.items() for alias in row} | set(self._models)
        keys |= {(entry["name"], entry["alias"]) for entry in refused.values()}
        entries = [self._entry(name, alias, wanted, refused) for name, alias in sorted(keys)]
        if problem := self._silence() or sync.get("problem"):
            entries.append({"name": "sync", "alias": None, "version": None, "wanted": None, "problem": problem})
        return entries

    def _silence(self) -> str | None:
        """That the child has not taken a turn for long, where there ever was one."""
        seen = _stamp(self.folder / SEEN_FILE)
        silent_s = time.time() - max(seen[0] / 1e9, self._began) if seen else 0.0
        if silent_s < SILENT_S:
            return None
        return f"what brings models from MLflow has done nothing for {silent_s / 60:.0f} minutes; start 'serve' again"

    def _entry(self, name: str, alias: str, wanted: Wanted, refused: Mapping[str, Any]) -> dict[str, Any]:
        model, asked = self.get(name, alias), refused.get(f"{name}/{alias}")
        version = asked["version"] if asked else wanted.get(name, {}).get(alias)
        problem = asked["problem"] if asked else self._refused.get(f"{name}/{alias}")
        return {
            "name": name,
            "alias": alias,
            "version": model.version if model else None,
            "wanted": version,
            "problem": problem,
        }

    def _load(
        self, wanted: Wanted, before: Mapping[tuple[str, str], Any], refused: dict[str, str]
    ) -> dict[tuple[str, str], Any]:
        loaded = {(model.name, model.version): model for model in before.values()}
        result: dict[tuple[str, str], Any] = {}
        for name, row in wanted.items():
            for alias, version in row.items():
                old = before.get((name, alias))
                try:
                    model = loaded.get((name, version)) or self._read(name, version)
                except ModelError as problem:
                    refused[f"{name}/{alias}"] = f"version {version} is refused: {problem}"
                    model = old
                if model is not None:
                    loaded[name, model.version] = result[name, alias] = model
        return result

    def _read(self, name: str, version: str) -> Any:
        model = _verified(self.folder / name / version, name, version)
        return model if self.texts is None or not hasattr(model, "with_texts") else model.with_texts(self.texts)


def sync_once(tracking_uri: str, folder: Path) -> list[str]:
    """Brings `folder` up to date with the aliases in MLflow; returns what changed, in words.

    New versions are fetched beside their place, checked against their golden rows and then renamed into it; so are
    those that were damaged there.
    """
    return _sync(_client(tracking_uri), tracking_uri, folder, anew=True, looks=True)


def registered_champions(tracking_uri: str) -> dict[str, str]:
    """The version of each model that will serve, as MLflow has it; none where its SQLite file is not there yet.

    Imports MLflow. Raises ModelError where it does not answer.
    """
    if tracking_uri.startswith("sqlite:///") and not Path(tracking_uri.removeprefix("sqlite:///")).exists():
        return {}
    try:
        wanted = _registered(_client(tracking_uri))
    except Exception as trouble:  # each registry fails in its own way
        raise ModelError(_unreadable(tracking_uri, trouble).partition("\n")[0]) from trouble
    return {name: row["champion"] for name, row in wanted.items() if "champion" in row}


def sync_forever(
    tracking_uri: str,
    folder: Path,
    every_s: float = 2.0,
    going: Callable[[], bool] = lambda: True,
    anew_s: float = ANEW_S,
) -> None:
    """`sync_once` every `every_s` seconds while `going()`; trouble is written to sync.json and tried again.

    What is refused is tried again at the start, and then every `anew_s` seconds; what is there is looked through at the
    start.
    """
    client, seen, tried = None, None, -math.inf
    while going():
        now, anew = _database_stamp(tracking_uri), time.monotonic() - tried >= anew_s
        try:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / SEEN_FILE).touch()
            if now is None or now != seen or (anew and _refused(folder)):
                client = client or _client(tracking_uri)
                for line in _sync(client, tracking_uri, folder, anew, looks=tried == -math.inf):
                    print(line, flush=True)
                tried = time.monotonic() if anew else tried
                seen = None if any(entry["again"] for entry in _refused(folder).values()) else now
        except Exception as trouble:  # the registry may be down for hours; what is served goes on
            _note(folder, _unreadable(tracking_uri, trouble))
        _sleep(every_s, going)


def main(arguments: list[str]) -> int:
    """The child process: syncs until its parent has gone, or `once`."""
    if len(arguments) not in (2, 3) or arguments[2:] not in ([], ["once"]):
        print("usage: python -m models.registry TRACKING_URI FOLDER [once]", file=sys.stderr)
        return 2
    uri, folder = arguments[0], Path(arguments[1])
    if arguments[2:]:
        return _once(uri, folder)
    os.nice(10)  # importing MLflow must not slow the API that starts beside it
    parent = os.getppid()
    sync_forever(uri, folder, going=lambda: os.getppid() == parent and not _is_hung_up())
    return 0


def _is_hung_up() -> bool:
    """Whether whoever started us, and holds the other end of our input, has gone: maybe before we could ask for its id,
    upon which another one's would be taken for it, for good."""
    line = select.poll()
    line.register(0, 0)  # POLLHUP is told without being asked for
    return any(told & select.POLLHUP for _, told in line.poll(0))


def _once(tracking_uri: str, folder: Path) -> int:
    try:
        sync_once(tracking_uri, folder)
    except Exception as trouble:  # each registry fails in its own way; who asks goes on with what served before
        print(_unreadable(tracking_uri, trouble).partition("\n")[0], file=sys.stderr)
        return 1
    for entry in _refused(folder).values():
        if entry["alias"] == "champion":
            told = f"{entry['name']}: version {entry['version']} is refused: {entry['problem']}"
            print(told.partition("\n")[0], file=sys.stderr)
            return 1
    return 0


def _client(tracking_uri: str) -> MlflowClient:
    """MLflow's own patience (seven tries, two minutes for each, four more between them) would neither tell that a
    server is away nor see soon that it is back; every turn asks again."""
    for name, value in (("DISABLE_TELEMETRY", "true"), ("LOGGING_LEVEL", "WARNING"),
                        ("ENABLE_ARTIFACTS_PROGRESS_BAR", "false"), ("HTTP_REQUEST_MAX_RETRIES", "1"),
                        ("HTTP_REQUEST_TIMEOUT", "10")):  # fmt: skip
        os.environ.setdefault(f"MLFLOW_{name}", value)
    os.environ.setdefault("DO_NOT_TRACK", "true")
    from mlflow import MlflowClient

    make_database(tracking_uri)
    return MlflowClient(tracking_uri, tracking_uri)


def make_database(tracking_uri: str) -> None:
    """Makes MLflow's SQLite file where it is missing, and brings an older MLflow's up to date: whole or not at all.

    MLflow would do either in place, step by step, and one that was killed half way never opens again.
    """
    path = Path(tracking_uri.removeprefix("sqlite:///"))
    if not tracking_uri.startswith("sqlite:///"):
        return
    import_module("mlflow.store.tracking.sqlalchemy_store")  # sets up all of MLflow's mappers before any is used
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    if path.exists() and not _is_older(path):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    before = _stamp(path)[1:2]
    try:
        with _held(path, draft) as there:
            if there and (_stamp(path)[1:2] != before or not _is_older(draft)):  # another process was faster
                return
            engine = create_sqlalchemy_engine(f"sqlite:///{draft}")  # type: ignore[no-untyped-call]
            _initialize_tables(engine)  # type: ignore[no-untyped-call]
            engine.dispose()
            if there:
                os.replace(draft, path)
                return
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _is_older(file: Path) -> bool:
    """Whether an earlier MLflow made the file; not one that came with this, nor a later one."""
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config, _get_latest_schema_revision

    with contextlib.closing(sqlite3.connect(file, timeout=_PATIENCE_S)) as database:
        try:
            found = database.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:  # none of MLflow's, or damaged: MLflow tells
            return False
    if found is None or found[0] == _get_latest_schema_revision():  # type: ignore[no-untyped-call]
        return False
    known = ScriptDirectory.from_config(_get_alembic_config("")).walk_revisions()  # type: ignore[no-untyped-call]
    return any(one.revision == found[0] for one in known)


@contextlib.contextmanager
def _held(path: Path, draft: Path) -> Iterator[bool]:
    """Copies the file, if there is one, and lets nobody write to it meanwhile; whether there is one."""
    if not path.exists():
        yield False
        return
    with contextlib.closing(sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode=DELETE").fetchone()  # a log beside it would pass for the new one's
        database.execute("BEGIN IMMEDIATE")
        with contextlib.closing(sqlite3.connect(path)) as other, contextlib.closing(sqlite3.connect(draft)) as copy:
            other.backup(copy)
        yield True


def _refused(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = _read_json(folder / SYNC_FILE).get("refused", {})
    return found


def _sync(client: MlflowClient, tracking_uri: str, folder: Path, anew: bool, looks: bool) -> list[str]:
    """`anew`: also versions whose content was refused before; `looks`: whether those that are there are still whole."""
    folder.mkdir(parents=True, exist_ok=True)
    before: Wanted = _read_json(folder / ALIAS_FILE)
    seen = _read_json(folder / SYNC_FILE)
    known: dict[str, Any] = seen.get("refused", {})
    serving, refused, changes, fetched = Wanted(), dict[str, Any](), list[str](), False
    for name, row in _registered(client).items():
        for alias, version in row.items():
            key, old = f"{name}/{alias}", before.get(name, {}).get(alias)
            try:
                if known.get(key, {}).get("version") == version and not known[key]["again"] and not anew:
                    raise ModelError(known[key]["problem"])
                fetched |= _fetch(client, tracking_uri, name, version, folder, looks)
                serving.setdefault(name, {})[alias] = version
            except ModelError as problem:
                refused[key] = {"name": name, "alias": alias, "version": version, "problem": str(problem)}
                refused[key]["again"] = isinstance(problem, NotFetched)
                if old is not None and (folder / name / old / MANIFEST).exists():
                    serving.setdefault(name, {})[alias] = old
                if key not in known or known[key]["version"] != version:
                    changes.append(f"{name} {alias}: version {version} is refused: {problem}")
            now = serving.get(name, {}).get(alias)
            if now != old:
                changes.append(f"{name} {alias}: version {now}")
    changes += [f"{name} {alias}: taken away" for name, row in before.items() for alias in row
                if alias not in serving.get(name, {})]  # fmt: skip
    if serving != before or not (folder / ALIAS_FILE).exists():
        _write_json(folder / ALIAS_FILE, serving)
        _tidy(folder, serving, before)
    elif fetched:  # in the place of a damaged one, which its readers have refused: they look when this file moves
        _write_json(folder / ALIAS_FILE, serving)
    if anew or changes:
        _write_json(folder / VERSIONS_FILE, ask_versions(client.search_model_versions, PREFIX))
    if refused != known or seen.get("problem"):
        _write_json(folder / SYNC_FILE, {"refused": refused, "problem": None})
    return changes


def _registered(client: MlflowClient) -> Wanted:
    """What MLflow's aliases ask for, all pages of it."""
    wanted, token = Wanted(), None
    while True:
        page = client.search_registered_models(f"name LIKE '{PREFIX}%'", max_results=200, page_token=token)
        for model in page:
            row = {alias: str(model.aliases[alias]) for alias in ALIASES if alias in model.aliases}
            if row:
                wanted[model.name.removeprefix(PREFIX)] = row
        token = page.token
        if not token:
            return wanted


def _fetch(client: MlflowClient, tracking_uri: str, name: str, version: str, folder: Path, looks: bool) -> bool:
    """Puts a version's folder at served/<name>/<version>, checked; False if it was there. Raises ModelError."""
    place = folder / name / version
    if (place / MANIFEST).exists() and not (looks and _is_damaged(place, name, version)):
        return False
    from mlflow.artifacts import download_artifacts

    draft = folder / f".{name}-{version}.{os.getpid()}.tmp"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        source = found_at(str(client.get_model_version(PREFIX + name, version).source), folder.parent / FOLDER)
        fetched = Path(download_artifacts(artifact_uri=source, dst_path=str(draft), tracking_uri=tracking_uri))
        manifests = sorted(fetched.rglob(MANIFEST), key=lambda path: len(path.parts))
        if not manifests:
            raise ModelError(f"its files hold no {MANIFEST}; register it by training, not by hand")
        _verified_as(f"{PREFIX}{name}/{version}", manifests[0].parent, name, version)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(place, ignore_errors=True)
        os.replace(manifests[0].parent, place)
        return True
    except ModelError:
        raise
    except Exception as problem:  # each kind of store fails in its own way; other models must not wait for this one
        raise NotFetched(f"its files cannot be fetched: {problem}") from problem
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _verified_as(told: str, folder: Path, name: str, version: str) -> None:
    """What is wrong names the version: the folder is gone by the time that somebody reads it."""
    try:
        _verified(folder, name, version)
    except ModelError as problem:
        raise ModelError(str(problem).replace(str(folder), told)) from problem


def _is_damaged(folder: Path, name: str, version: str) -> bool:
    try:
        _verified(folder, name, version)
    except ModelError:
        return True
    return False


def _verified(folder: Path, name: str, version: str) -> Any:
    """The model in the folder, if it is one of this name: MLflow copies a version to any model's name."""
    model = load(folder, version)
    if model.name != name:
        raise ModelError(
            f"its files are a version of {model.name}, not of {name}; register it by training, not by hand"
        )
    verify_golden(model, folder)
    return model


def _tidy(folder: Path, serving: Wanted, before: Wanted) -> None:
    """Removes versions that neither serve now nor served before; a reader may still be loading the latter."""
    for name in {*serving, *before}:
        kept = {*serving.get(name, {}).values(), *before.get(name, {}).values()}
        for place in (folder / name).glob("*"):
            if place.name not in kept:
                shutil.rmtree(place, ignore_errors=True)


def _note(folder: Path, problem: str) -> None:
    seen = _read_json(folder / SYNC_FILE)
    if seen.get("problem") != problem:
        folder.mkdir(parents=True, exist_ok=True)
        _write_json(folder / SYNC_FILE, {"refused": seen.get("refused", {}), "problem": problem})


def _unreadable(tracking_uri: str, trouble: Exception) -> str:
    return f"cannot read the registry at {without_passwords(tracking_uri)}: {without_passwords(str(trouble))}"


def without_passwords(text: str) -> str:
    """A text whose URIs carry no user and password any more."""
    return re.sub(r"://[^/\s@]+@", "://", text)


def _sleep(seconds: float, going: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while going() and (left := until - time.monotonic()) > 0:
        time.sleep(min(left, 0.5))


def _database_stamp(tracking_uri: str) -> tuple[int, ...] | None:
    """When MLflow's SQLite file was last written, so that an idle registry costs nothing; None for other servers."""
    if not tracking_uri.startswith("sqlite:///"):
        return None
    path = tracking_uri.removeprefix("sqlite:///")
    return sum((_stamp(Path(path + end)) for end in ("", "-wal", "-journal")), ())


def _stamp(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return (found.st_mtime_ns, found.st_ino, found.st_size)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(json.dumps(content, indent=1))
        os.replace(draft, path)
    finally:  # a full disk must not keep half of it
        draft.unlink(missing_ok=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

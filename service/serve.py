"""`opportune serve`: uvicorn over the app, with the child process that fetches models from MLflow beside it."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import resource
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from time import sleep
from typing import Any

import uvicorn
from uvicorn.supervisors import Multiprocess

from service.clock import monotonic
from service.loops import PYTHON, Child
from service.settings import Settings
from service.storage.database import Database
from service.storage.migrate import migrate
from service.telemetry import TOGETHER, set_up_logs
from service.wrong_settings import warn_of_unknown_variables

log = logging.getLogger(__name__)
OPEN_FILES = 65_536
"""Connections and files at once, where the system lets one ask for so many."""
FEW_FILES = 4_096
"""Who may open fewer is told: what comes when all are taken is cut off, and is seen nowhere else."""
PROTOCOL = "service.decisions.http_protocol:DecisionsProtocol"
"""By its name: each worker imports it for itself."""
PORT_S = 5.0
"""How long a port is waited for: workers of a service that was killed hold it for a moment."""
TRIES = 2
"""How often each worker may end before any has come up: at a first start they may be in each other's way."""
_COUNTS, _LOCK = "opportune-metrics-", "lock"
"""How the folders begin in which workers count, and the file in each that its service holds."""


def serve(settings: Settings, workers: int = 1) -> None:
    """Answers until it is told to stop (SIGTERM, SIGINT); finishes requests in progress.

    Raises:
        OSError: the port is taken.
    """
    set_up_logs()
    warn_of_unknown_variables()
    _end_in_order()
    raise_open_files()
    _claim_port(settings.host, settings.port)
    settings.make_home()
    database = Database(settings.state_url)
    try:
        migrate(database)
    finally:
        database.close()
    _hand_down(settings)
    fetcher = Child("model-fetcher", fetcher_command(settings))
    fetcher.start()
    try:
        with counted_together(workers):
            listen(settings, workers)
    finally:
        fetcher.stop()


@contextmanager
def counted_together(workers: int) -> Iterator[None]:
    """Several workers tell `/metrics` of all of them, through files of a folder that lives as long as they do."""
    sweep_counts()
    if workers == 1:
        yield
        return
    made = TemporaryDirectory(prefix=_COUNTS, ignore_cleanup_errors=True)
    with made as folder, (Path(folder) / "draft").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # it dies with this process
        os.rename(lock.name, Path(folder) / _LOCK)
        os.environ[TOGETHER] = folder
        itself = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(itself, fcntl.LOCK_SH)  # tmpfiles.d(5): what is old in such a folder is not tidied away
            yield
        finally:
            del os.environ[TOGETHER]
            os.close(itself)


def sweep_counts() -> None:
    """Removes the folders of services that were killed; of those that run, and of other users, none."""
    for folder in Path(gettempdir()).glob(f"{_COUNTS}*"):
        with suppress(OSError):
            if folder.lstat().st_uid != os.getuid():  # anybody may put a pipe here, which would wait
                continue
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def listen(settings: Settings, workers: int = 1) -> None:
    """The server alone, over a home that is ready; the app in it reads its settings for itself."""
    options: dict[str, Any] = {
        "app": "service.main:app_from_settings",
        "factory": True,
        "host": settings.host,
        "port": settings.port,
        "workers": workers,
        "http": PROTOCOL if find_spec("httptools") else "auto",
        "access_log": False,
        "log_config": None,
        "server_header": False,
        "timeout_graceful_shutdown": 10,
        "timeout_keep_alive": 65,
        "backlog": 8192,
    }
    if workers == 1:
        uvicorn.run(**options)
    else:
        run_workers(uvicorn.Config(**options))


def run_workers(config: uvicorn.Config) -> None:
    """Serves until it is told to stop. RuntimeError where no worker comes up."""
    workers = Workers(config, sockets=[config.bind_socket()])
    workers.run()
    if workers.ended and not workers.came_up:
        raise RuntimeError("no worker came up; the log says why")


class Workers(Multiprocess):
    """Gives up where none ever comes up: a mistake in the settings, say, ended each again and again, for good.

    Once one has come up, one that ends is started again as before.
    """

    came_up, ended = False, 0

    def keep_subprocess_alive(self) -> None:
        """Called twice a second."""
        if not self.came_up:
            patience_s = self.config.timeout_worker_healthcheck
            self.came_up = any(one.is_ready(patience_s) for one in self.processes if one.exitcode is None)
        before = list(self.processes)
        super().keep_subprocess_alive()  # puts others in their places
        self.ended += sum((one.exitcode or 0) > 0 for one in before)
        if not self.came_up and self.ended >= TRIES * self.processes_num:
            self.should_exit.set()


def _end_in_order() -> None:
    """SIGTERM ends us as SIGINT does.

    uvicorn raises it once more when it has stopped, which ended us there and then: what we had started lived on.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.default_int_handler)


def fetcher_command(settings: Settings) -> list[str]:
    """MLflow is slow to import and large, so another process brings its models into `served/`."""
    return [*PYTHON, "-m", "models.registry", settings.tracking_uri, str(settings.home.absolute() / "served")]


def raise_open_files(wanted: int = OPEN_FILES) -> int:
    """Asks for room for `wanted` open files; returns how many there may be.

    The usual soft limit of 1,024 would turn away thousands who come at once, and leave no file for the database.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        told = "the system lets this process open %d files; further connections are cut off (ulimit -Hn, LimitNOFILE)"
        log.warning(told, soft)
    return soft


def _claim_port(host: str, port: int, patience_s: float = PORT_S) -> None:
    """Says plainly that a port is taken, before anything is started; waits a little for who is letting it go."""
    until, told = monotonic() + patience_s, False
    while (taken := _bind(host, port)) is not None:
        if taken.errno != errno.EADDRINUSE or monotonic() >= until:
            ours = taken.errno in {errno.EADDRINUSE, errno.EACCES}
            advice = "choose another with --port" if ours else "name an address of this machine with --host"
            raise OSError(f"cannot listen on {host}:{port} ({taken.strerror}); {advice}") from taken
        if not told:
            log.warning("%s:%d is taken; waiting up to %g s for it", host, port, patience_s)
            told = True
        sleep(0.1)


def _bind(host: str, port: int) -> OSError | None:
    """None where the port is free; it is let go again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as taken:
            return taken
    return None


def _hand_down(settings: Settings) -> None:
    """The app is made in uvicorn's process(es): options of the command line reach it as variables."""
    os.environ["OPPORTUNE_HOST"] = settings.host
    os.environ["OPPORTUNE_PORT"] = str(settings.port)
    os.environ["OPPORTUNE_HOME"] = str(settings.home.absolute())

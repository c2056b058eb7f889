"""Decisions per second beside a FastAPI no-op, in one run: `make bench-decisions`.

Starts the real app (one worker on one core) over a seeded home (`decision_home.py`) and lets wrk ask on the other
core with 16 connections: 100 candidates (50 offers on 2 channels), all features of the catalogue, three customer
models asked for by eligibility rules, caps, reasons, words, a durable log. Then the same of a no-op.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.decision_home import CUSTOMERS, make_home

HERE = Path(__file__).parent
SERVER_CORE, CLIENT_CORE = "0", "1"
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Figures:
    """What one load measured. Times in milliseconds; CPU in µs a request, of the server's process alone."""

    name: str
    per_second: float
    p50: float
    p99: float
    cpu: float
    grown_mb: float
    answer: int
    failed: int


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=15, help="of each load")
    parser.add_argument("--home", type=Path, help="keep the seeded home here and use it again")
    parser.add_argument("--connections", type=int, default=16)
    options = parser.parse_args()
    if shutil.which("wrk") is None or shutil.which("taskset") is None:
        print("skipped: wrk and taskset are needed (apt-get install wrk util-linux)")
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        home = options.home or Path(scratch) / "home"
        key_file = home / "key"
        if not key_file.exists():
            print("making a home of its own: customers, features, models …", flush=True)
            key_file.write_text(make_home(home))
        _show(_measure(home, key_file.read_text(), Path(scratch), options.seconds, options.connections))
    return 0


def _measure(home: Path, key: str, scratch: Path, seconds: int, connections: int) -> list[Figures]:
    found = []
    settings = {"OPPORTUNE_HOME": str(home), "OPPORTUNE_CONFIG": str(home / "opportune.toml")}
    for name, more in (("decisions", {}), ("decisions, durable = false", {"OPPORTUNE_DECISIONS__DURABLE": "false"})):
        with _server("service.main:app_from_settings", settings | more, "/health/live") as (port, process):
            found.append(_load(name, port, process, key, "/v1/decisions", seconds, connections))
            answer = _ask(port, key)
    (scratch / "answer.json").write_bytes(answer)
    with _server("tests.bench.noop_server:app", {"NOOP_ANSWER": str(scratch / "answer.json")}, "/openapi.json") as (
        port,
        process,
    ):
        found.append(_load("no-op, dict out", port, process, key, "/v1/decisions", seconds, connections))
        found.append(_load("no-op, bytes out", port, process, key, "/bytes", seconds, connections))
    return found


@contextmanager
def _server(app: str, environment: dict[str, str], ready: str) -> Iterator[tuple[int, int]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    factory = ["--factory"] if app.endswith("app_from_settings") else []
    command = ["taskset", "-c", SERVER_CORE, sys.executable, "-m", "uvicorn", app, *factory, "--port", str(port),
               "--no-access-log", "--no-server-header", "--log-level", "warning", "--backlog", "8192"]  # fmt: skip
    process = subprocess.Popen(command, env={**os.environ, **environment}, cwd=HERE.parents[1])
    try:
        _wait_for(f"http://127.0.0.1:{port}{ready}", process)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait(20)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < until:
        try:
            urllib.request.urlopen(url, timeout=2).close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("the server did not come up")


def _ask(port: int, key: str) -> bytes:
    """An answer of middling size, for the no-op to give."""
    answers = []
    for number in range(31):
        body = f'{{"customer_id":"customer-{number:05}","placement":"email.weekly","dry_run":true}}'.encode()
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/decisions", body, {"Authorization": f"Bearer {key}"}, method="POST"
        )
        with urllib.request.urlopen(request) as response:
            answers.append(response.read())
        if json.loads(answers[-1])["degraded"]:
            raise RuntimeError(f"a part is missing, so this would measure something else: {answers[-1]!r}")
    return sorted(answers, key=len)[len(answers) // 2]


def _load(name: str, port: int, process: int, key: str, path: str, seconds: int, connections: int) -> Figures:
    _wrk(port, key, path, 3, connections, 0)
    cpu, grown = _cpu(process), _resident(process)
    asked, micros, failed, p50, p99, answer = _wrk(port, key, path, seconds, connections, 4001)
    spent = (_cpu(process) - cpu) / asked * 1e6
    per_second = asked / micros * 1e6
    return Figures(
        name, per_second, p50 / 1e3, p99 / 1e3, spent, _resident(process) - grown, answer // max(asked, 1), failed
    )


def _wrk(port: int, key: str, path: str, seconds: int, connections: int, first: int) -> tuple[int, ...]:
    environment = {
        **os.environ,
        "BENCH_KEY": key,
        "BENCH_PATH": path,
        "BENCH_CUSTOMERS": str(CUSTOMERS),
        "BENCH_FIRST": str(first),
    }
    command = ["taskset", "-c", CLIENT_CORE, "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s",
               "-s", str(HERE / "decisions.lua"), f"http://127.0.0.1:{port}"]  # fmt: skip
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    line = next(line for line in said.splitlines() if line.startswith("RESULT"))
    return tuple(int(number) for number in line.split()[1:])


def _cpu(process: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def _resident(process: int) -> float:
    """Resident memory of its own in MB: without the pages of files that it maps."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("RssAnon")).split()[1]) / 1e3


def _show(found: list[Figures]) -> None:
    floor = found[-2]
    print("| | requests/s | of the no-op's | p50 ms | p99 ms | of the no-op's | CPU µs | no-op's CPU / CPU "
          "| answer | RSS + MB | failed |")  # fmt: skip
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for one in found:
        cpu = f"{one.cpu:,.0f} | {floor.cpu / one.cpu:.2f}"
        print(
            f"| {one.name} | {one.per_second:,.0f} | {one.per_second / floor.per_second:.2f} | {one.p50:.1f} | "
            f"{one.p99:.1f} | {one.p99 / floor.p99:.1f} | {cpu} | {one.answer:,} B | {one.grown_mb:+.0f} | "
            f"{one.failed} |"
        )


if __name__ == "__main__":
    sys.exit(main())

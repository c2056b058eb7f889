"""How soon the command line and the API answer, and what a worker weighs. Run: make bench-startup

Prints a table: the median of five, each beside an empty Python process in the same run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tests.conftest import free_port

ROOT = Path(__file__).parents[2]
ROUNDS = 5


def seconds(run: Callable[[], object]) -> float:
    """The median time of a call."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def command(*arguments: str, environment: dict[str, str]) -> Callable[[], object]:
    """A command to its end."""
    return lambda: subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, check=True)


def api(environment: dict[str, str]) -> tuple[float, float]:
    """Seconds until /health/live answers, and MB of resident memory of the API's process then."""
    port = free_port()
    start = time.perf_counter()
    server = subprocess.Popen(
        [sys.executable, "-m", "opportune", "serve", "--port", str(port)],
        cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=1).read()
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        up = time.perf_counter() - start
        status = Path(f"/proc/{server.pid}/status").read_text()
        resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
        return up, resident / 1024
    finally:
        server.terminate()
        server.wait(20)


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "OPPORTUNE_HOME": home, "PYTHONDONTWRITEBYTECODE": ""}
        empty = seconds(command(sys.executable, "-c", "pass", environment=environment))
        shown = seconds(command(sys.executable, "-m", "opportune", "--help", environment=environment))
        runs = [api(environment) for _ in range(ROUNDS)]
    up, weight = statistics.median(run[0] for run in runs), statistics.median(run[1] for run in runs)
    print(f"| {'what':<28} | {'median':>9} | {'x empty Python':>14} | {'limit':>7} |")
    print(f"|{'-' * 30}|{'-' * 11}|{'-' * 16}|{'-' * 9}|")
    print(f"| {'empty Python':<28} | {empty:7.3f} s | {1:>14.1f} | {'':>7} |")
    print(f"| {'opportune --help':<28} | {shown:7.3f} s | {shown / empty:>14.1f} | {'0.5 s':>7} |")
    print(f"| {'API up':<28} | {up:7.3f} s | {up / empty:>14.1f} | {'3 s':>7} |")
    print(f"| {'API, one worker (resident)':<28} | {weight:6.0f} MB | {'':>14} | {'250 MB':>7} |")


if __name__ == "__main__":
    main()

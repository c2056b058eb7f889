"""One step of a benchmark in a process of its own: CPU seconds, seconds, the most memory it held."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path


class Measured:
    """Notes the CPU seconds and the seconds of its block; the first block of a process to end counts."""

    told: tuple[float, float] | None = None

    def __enter__(self) -> None:
        self._cpu, self._clock = _cpu(), time.perf_counter()

    def __exit__(self, *_: object) -> None:
        if Measured.told is None:
            Measured.told = (_cpu() - self._cpu, time.perf_counter() - self._clock)


@dataclass(frozen=True, slots=True)
class Figures:
    """`note` says why a step was left out, or something about its result."""

    cpu: float
    wall: float
    megabytes: float
    rows: int
    note: str = ""

    def line(self, title: str) -> str:
        if not self.rows:
            return f"{title:<62} left out: {self.note}"
        told = f"{self.cpu:>8.2f} cpu-s {self.wall:>8.2f} s {self.megabytes:>7,.0f} MB {self.rows:>12,} rows"
        return f"{title:<62}{told}" + (f"  {self.note}" if self.note else "")


class LeftOut(Exception):
    """A step cannot be run here; the message says what it needs."""


def in_a_process(module: str, arguments: Sequence[str]) -> Figures:
    """Figures of `python -m module arguments`, which must call `report`."""
    done = subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return Figures(0, 0, 0, 0, f"it ended with status {done.returncode} and said: {said[:300]}")
    return Figures(**json.loads(done.stdout.splitlines()[-1]))


def report(step: Callable[[], int | tuple[int, str]]) -> None:
    """Runs a step and prints its figures; the step says how many rows it made, and a note."""
    outer = Measured()
    outer.__enter__()
    try:
        made = step()
    except LeftOut as absent:
        made = (0, str(absent))
    outer.__exit__()
    rows, note = made if isinstance(made, tuple) else (made, "")
    cpu, wall = Measured.told or (0.0, 0.0)
    print(json.dumps({"cpu": cpu, "wall": wall, "megabytes": most_held_mb(), "rows": rows, "note": note}))


def _cpu() -> float:
    """Of this process and of the ended children it waited for."""
    own, theirs = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + theirs.ru_utime + theirs.ru_stime


def most_held_mb() -> float:
    """Linux tells it for this program alone; elsewhere the parent's memory may be in it."""
    status = Path("/proc/self/status")
    if status.exists():
        return next(float(at.split()[1]) / 1024 for at in status.read_text().splitlines() if at.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

"""Runs `opportune` commands and kills them (SIGKILL) just before the n-th step that makes something durable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_DRIVER = """
import os, signal, sys

home, at = sys.argv[1], int(sys.argv[2])
steps = 0

def before(function):
    def step(*args, **kwargs):
        global steps
        steps += 1
        if steps == at:
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    return step

for name in ("replace", "rename", "fsync", "unlink", "remove"):
    setattr(os, name, before(getattr(os, name)))

from sqlalchemy import event
from sqlalchemy.engine import Engine

event.listen(Engine, "commit", before(lambda connection: None))

import features.row_stores as rows
import service.events.read_files as files

rows.SqliteRows.change = before(rows.SqliteRows.change)
files.CHUNK_ROWS = 700  # many chunks of a small file

import opportune

sys.argv = ["opportune", *sys.argv[3:]]
try:
    opportune.main()
finally:
    print(f"steps: {steps}", file=sys.stderr)
"""


@dataclass(frozen=True)
class Commands:
    """`opportune` on one home."""

    home: Path

    @property
    def tmp(self) -> Path:
        """Where what is not in the home is left, by who is killed."""
        return self.home / "tmp"

    def run(self, *arguments: str, kill_before: int = 0) -> subprocess.CompletedProcess[str]:
        """A command to its end, or killed before a step (counted from 1; 0: never)."""
        self.tmp.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "OPPORTUNE_HOME": str(self.home / "state"),
            "TMPDIR": str(self.tmp),
            "OPPORTUNE_TEXT_VECTORS": "false",
            "OPPORTUNE_EMBEDDING_MODEL": str(self.home / "none"),  # to load it takes longer than all that is killed
        }
        command = [sys.executable, "-c", _DRIVER, str(self.home), str(kill_before), *arguments]
        return subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, timeout=300)

    def steps(self, *arguments: str) -> int:
        """Runs a command undisturbed; how many steps it took."""
        result = self.run(*arguments)
        assert result.returncode == 0, result.stderr
        return int(result.stderr.rpartition("steps: ")[2])

    def killed(self, before: int, *arguments: str) -> None:
        """Runs a command that is killed before a step."""
        result = self.run(*arguments, kill_before=before)
        assert result.returncode == -signal.SIGKILL, (before, result.stderr)


def spread(steps: int, kills: int) -> list[int]:
    """Steps to be killed before: the first, the last, and others evenly between."""
    if steps <= kills:
        return list(range(1, steps + 1))
    return sorted({1 + round(place * (steps - 1) / (kills - 1)) for place in range(kills)})

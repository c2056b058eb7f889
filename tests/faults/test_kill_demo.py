"""kill -9 of `opportune demo` in the middle of its steps, then again: the same result as an undisturbed run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import pytest

ROOT = Path(__file__).parents[2]
HOUSEHOLDS = 120
KILLED_IN = ("train", "world")
_DRIVER = """
import os, signal, sys, threading
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from training.demo import homes, run, steps
from training.demo.complete_journey import ZONE, convert
from training.world.drive import Plan

home, households, step, after = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], float(sys.argv[4])
convert(home / "demo" / "data", datetime.now(ZoneInfo(ZONE)).date(), households=households)  # as the demo has it
undisturbed = steps.Steps.run

def watched(self, name, title, inputs, work):
    def killed_on_the_way():
        timer = threading.Timer(after, os.kill, (os.getpid(), signal.SIGKILL))
        timer.daemon = True
        timer.start()
        work()
        timer.join()
    return undisturbed(self, name, title, inputs, killed_on_the_way if name == step else work)

steps.Steps.run = watched
told = homes.settings_of

def without_texts_in_the_world(home, text, port, more=None):
    none = {"EMBEDDING_MODEL": str(home / "none")} if text == homes.WORLD else {}
    return told(home, text, port, {**(more or {}), **none})

homes.settings_of = without_texts_in_the_world  # else each run of it loads the embedder twice; the households' does
run.MODELS = ("churn", "next-offer")
plan = Plan(days=2, every_days=2, tick_hours=6, learn_on_days=(), enrol_on_days=(0, 1))
demo = run.Demo(home, 8600, plan, customers=40)
try:
    demo.run(exit_after=True)
finally:
    demo.children.stop()
"""


def run_demo(home: Path, step: str = "", after_s: float = 0.0) -> subprocess.CompletedProcess[str]:
    """The demo on a few households, to its end or killed so long after a step began."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "OPPORTUNE_TEXT_VECTORS": "false",  # most of the time would go into loading what makes them
    }
    arguments = [str(home / "state"), str(HOUSEHOLDS), step, str(after_s)]
    command = [sys.executable, "-c", _DRIVER, *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=400)


def report_of(home: Path) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((home / "state" / "reports" / "demo.json").read_bytes())
    return found


def marker_of(home: Path, step: str) -> Path:
    return home / "state" / "demo" / "steps" / f"{step}.json"


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_demo_that_was_killed_in_every_long_step_ends_as_one_that_was_not(tmp_path: Path) -> None:
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    result = run_demo(calm, KILLED_IN[0], 0.0)  # what comes before the first of them is made once, for both
    assert result.returncode == -signal.SIGKILL, result.stderr
    shutil.copytree(calm, killed)
    result = run_demo(calm)
    assert result.returncode == 0, result.stderr
    for step in KILLED_IN:
        took = orjson.loads(marker_of(calm, step).read_bytes())["seconds"]
        ended = run_demo(killed, step, 0.6 * took)
        assert ended.returncode == -signal.SIGKILL, (step, ended.stderr)
        assert not marker_of(killed, step).exists()
    again = run_demo(killed)
    assert again.returncode == 0, again.stderr

    undisturbed, mended = report_of(calm), report_of(killed)
    for section in ("data", "features", "models"):
        assert mended[section] == undisturbed[section], section
    assert [one["who"] for one in mended["decisions"]] == [one["who"] for one in undisturbed["decisions"]]
    assert mended["content"] == undisturbed["content"]
    assert mended["journey"]["households"]["enrolled"] == undisturbed["journey"]["households"]["enrolled"]
    assert mended["world"]["days"] == undisturbed["world"]["days"] == 2
    shutil.rmtree(tmp_path)  # some hundred megabytes

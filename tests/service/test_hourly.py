"""Checks once an hour, by a command beside the service."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from service.loops import Loop
from service.wiring import hourly, in_child, stop_loops
from service.wiring.hourly import Hourly, here

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


class Reports:
    """A check that keeps a report, unless it has nothing to say, and may end badly."""

    def __init__(self) -> None:
        self.kept: dict[str, Any] | None = None
        self.next: dict[str, Any] | None = {"made_at": NOON.isoformat()}
        self.wrong: str | None = None
        self.waiting, self.runs = True, 0
        self.hourly = Hourly(self.check, lambda: self.kept, lambda: self.waiting)

    def check(self) -> str | None:
        self.runs += 1
        self.kept = self.next or self.kept
        return self.wrong


def test_a_check_is_due_an_hour_after_its_report_where_there_is_something_to_check() -> None:
    reports = Reports()
    assert reports.hourly.due(NOON)
    reports.hourly.run()
    assert not reports.hourly.due(NOON + timedelta(minutes=59))
    assert reports.hourly.due(NOON + timedelta(minutes=60))
    reports.waiting = False
    assert not reports.hourly.due(NOON + timedelta(minutes=60))


def test_a_report_of_a_clock_that_was_ahead_keeps_no_check_waiting() -> None:
    reports = Reports()
    reports.kept = {"made_at": (NOON + timedelta(days=365)).isoformat()}
    assert reports.hourly.due(NOON)
    reports.kept = {"made_at": (NOON + timedelta(seconds=30)).isoformat()}  # another machine's
    assert not reports.hourly.due(NOON)


def test_a_check_that_kept_no_report_is_not_tried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr(hourly, "monotonic", lambda: now)
    reports = Reports()
    reports.next = None
    reports.hourly.run()
    assert not reports.hourly.due(NOON)
    now += hourly.PAUSE_S
    assert reports.hourly.due(NOON)


def test_what_went_wrong_is_told_unless_there_is_a_report() -> None:
    reports = Reports()
    reports.wrong = "status 1: something has moved"
    reports.hourly.run()
    reports.next, reports.wrong = None, "status 1: the home is gone"
    with pytest.raises(RuntimeError, match="the home is gone"):
        reports.hourly.run()
    assert reports.runs == 2
    assert here(lambda: {"a": "report"})() is None


def test_a_command_runs_beside_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path / "home"))
    (tmp_path / "opportune.py").write_text("raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)  # a module of the same name
    assert in_child.in_child("skew") is None
    assert (tmp_path / "home" / "state.db").exists()
    assert "status 2" in str(in_child.in_child("nosuch"))
    monkeypatch.setattr(in_child, "LONGEST_S", 0.01)
    with pytest.raises(RuntimeError, match="was stopped"):
        in_child.in_child("skew")


def test_a_command_ends_with_the_service(tmp_path: Path) -> None:
    code = """if True:
        import subprocess, threading, time
        from service.wiring.in_child import in_child
        begun, real = [], subprocess.Popen
        subprocess.Popen = lambda *told, **more: begun.append(real(*told, **more)) or begun[-1]
        threading.Thread(target=in_child, args=("worker",), daemon=True).start()  # which never ends by itself
        while not begun: time.sleep(0.01)
        time.sleep(0.2)
        assert begun[0].poll() is None
        print(begun[0].pid)
    """
    home = {**os.environ, "OPPORTUNE_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-c", code], env=home, capture_output=True, text=True, timeout=60, check=True
    )
    for _ in range(1_000):
        if not _runs(int(done.stdout)):
            return
        time.sleep(0.01)
    raise AssertionError("it went on")


def test_a_service_that_ends_waits_for_no_check_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waited for 10 s, as long as `docker stop` waits before it kills."""
    monkeypatch.setenv("OPPORTUNE_HOME", str(tmp_path / "home"))
    said: list[str | None] = []

    def check() -> bool:
        said.append(in_child.in_child("worker"))  # which never ends by itself
        return False

    loop = Loop("data", check, 60.0)
    loop.start()
    while not (at_work := list(in_child._at_work)):
        time.sleep(0.01)
    stop_loops([loop])
    assert not loop._thread.is_alive()
    assert at_work[0].poll() is not None
    assert said == [None]


def _runs(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False

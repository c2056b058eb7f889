from __future__ import annotations

import errno
import sys
import threading
import time
from pathlib import Path

import pytest

from features.row_stores import StoreAway
from service.loops import Child, Loop, stop_all, worth_a_trace


def wait_until(condition: threading.Event) -> None:
    assert condition.wait(10)


class Panic(BaseException):
    """As Polars and other libraries in Rust raise it: no Exception."""


@pytest.mark.parametrize("kind", [RuntimeError, Panic])
def test_a_loop_goes_on_after_a_failed_pass(kind: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    passes, third = [], threading.Event()

    def run_pass() -> bool:
        passes.append(1)
        if len(passes) == 1:
            raise kind("a store is away")
        if len(passes) == 3:
            third.set()
        return True

    loop = Loop("test", run_pass, every_s=0.01)
    loop.start()
    wait_until(third)
    loop.stop()
    assert "a store is away" in caplog.text  # with its trace


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (StoreAway("the store is full"), "the store is full"),
        (ValueError("a person's name"), "ValueError"),
        (OSError(errno.EROFS, "", "a-name"), "the disk of the home takes nothing now (Read-only file system)"),
        (OSError(errno.ECONNRESET, "", "a-name"), "ConnectionResetError"),
    ],
)
def test_a_loop_tells_why_its_last_pass_failed(failure: Exception, told: str) -> None:
    failing, go_on, ran = threading.Event(), threading.Event(), threading.Event()

    def run_pass() -> bool:
        if not failing.is_set():
            failing.set()
            raise failure
        ran.set()
        go_on.wait(10)
        return False

    loop = Loop("test", run_pass, every_s=3600)
    loop.start()
    wait_until(ran)  # the second pass, before it has gone well
    assert loop.problem == told
    go_on.set()
    loop.stop()
    assert loop.problem is None


def test_loops_that_hang_are_waited_for_together() -> None:
    """Ten of them, one after the other, would take a minute and a half of a stop."""
    idle = Loop("idle", lambda: False, every_s=3600)
    began, saw = threading.Event(), threading.Event()

    def waits_for_the_other() -> bool:
        began.set()
        idle._thread.join(5)
        if not idle._thread.is_alive():
            saw.set()
        return False

    busy = Loop("busy", waits_for_the_other, every_s=3600)
    idle.start()
    busy.start()
    wait_until(began)
    stop_all([busy, idle], 5)
    assert saw.is_set()


def test_waking_runs_the_next_pass_at_once() -> None:
    ran = threading.Event()
    first = threading.Event()

    def run_pass() -> bool:
        (ran if first.is_set() else first).set()
        return False

    loop = Loop("test", run_pass, every_s=3600)
    loop.start()
    wait_until(first)
    time.sleep(0.05)
    loop.wake()
    wait_until(ran)
    loop.stop()


def test_a_child_that_dies_is_started_again(tmp_path: Path) -> None:
    marks = tmp_path / "marks"
    script = f"""import sys
with open({str(marks)!r}, 'a') as file: file.write('x')
with open({str(marks)!r}) as file: again = len(file.read()) > 1
if again: sys.stdin.read()
"""
    child = Child("test-child", [sys.executable, "-c", script])
    child.start()
    for _ in range(400):
        time.sleep(0.025)
        if marks.exists() and marks.read_text() == "xx":
            break
    child.stop()
    assert marks.read_text() == "xx"


def test_of_failures_in_a_row_fewer_and_fewer_are_traced() -> None:
    """Each told of everything above it, every five seconds, in an outage of hours."""
    assert [failures for failures in range(1, 1_000) if worth_a_trace(failures)] == [2**power for power in range(10)]

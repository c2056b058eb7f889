"""Background loops that never stop silently: each pass is timed, failures are logged, counted and retried."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence

from features.row_stores import StoreAway
from service.clock import monotonic
from service.errors import Problem, disk_trouble
from service.telemetry import LOOP_FAILURES, LOOP_SEEN

log = logging.getLogger(__name__)
PYTHON = (sys.executable, "-P")
"""Starts a module of ours, not one that has its name in the folder where the service was started."""
_SAY = (Problem, StoreAway)
"""Failures whose words are meant for others to read; of any other only its kind is told."""
STOP_S = 10.0
FAILING_S, HANGS_S = 60.0, 1_200.0
"""How long a loop may fail, or hang, until `/health/ready` names it. The longest passes are checks in a child, which
end within ten minutes."""
_LONGEST_PAUSE_S = 5.0
_LONGEST_PAUSE_OF_CHILD_S = 30.0


class Loop:
    """Runs `run_pass` in a thread: again at once while it returns True, else after `every_s` or a `wake()`.

    A failed pass is retried after a pause that doubles up to `longest_pause_s`; `run_pass` must be safe to repeat.
    The first pass comes after `first_after_s`: what can wait leaves the first callers alone. `problem` is why the last
    pass failed, if it did.
    """

    def __init__(
        self,
        name: str,
        run_pass: Callable[[], bool],
        every_s: float,
        longest_pause_s: float = _LONGEST_PAUSE_S,
        first_after_s: float = 0.0,
    ) -> None:
        self.name = name
        self.problem: str | None = None
        self._first_after_s = first_after_s
        self._run_pass = run_pass
        self._every_s = every_s
        self._longest_pause_s = longest_pause_s
        self._began: float | None = None
        self._failing_since: float | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def trouble(self) -> str | None:
        """What is wrong for so long that somebody should look; parts that are away are told by others."""
        now, began, failing = monotonic(), self._began, self._failing_since
        if began is not None and now - began >= HANGS_S:
            return f"one pass has been at work for {(now - began) / 60:.0f} minutes"
        if failing is not None and now - failing >= FAILING_S:
            return f"it has failed for {(now - failing) / 60:.0f} minutes ({self.problem})"
        return None

    def wake(self) -> None:
        """Runs the next pass at once."""
        self._wake.set()

    def begin_to_stop(self) -> None:
        """No pass begins any more."""
        self._stopping.set()
        self._wake.set()

    def stop(self, timeout_s: float = STOP_S) -> None:
        """Ends after the pass in progress."""
        self.begin_to_stop()
        if self._thread.is_alive():
            self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        self._wake.wait(self._first_after_s)
        while not self._stopping.is_set():
            self._wake.clear()
            more = False
            self._began = monotonic()
            try:
                more = self._run_pass()
                failures, self.problem, self._failing_since = 0, None, None
                LOOP_SEEN.labels(self.name).set_to_current_time()
            except BaseException as failure:  # Polars' panic is no Exception, and nobody starts this thread again
                failures += 1
                away = isinstance(failure, _SAY)
                self.problem = words_of(failure)
                self._failing_since = None if away else self._failing_since or self._began
                LOOP_FAILURES.labels(self.name).inc()
                told = "a pass of the loop %r failed (%d in a row; %s); it will be tried again"
                log.error(told, self.name, failures, self.problem, exc_info=worth_a_trace(failures))
            self._began = None
            if failures:
                self._stopping.wait(min(0.5 * 2.0 ** min(failures - 1, 16), self._longest_pause_s))
            elif not more:
                self._wake.wait(self._every_s)


def words_of(failure: BaseException) -> str:
    """What others may be told of a failure."""
    return str(failure) if isinstance(failure, _SAY) else disk_trouble(failure) or type(failure).__name__


def worth_a_trace(failures: int) -> bool:
    """Whether the log tells where it failed: of some in a row the first, second, fourth, eighth … Of an outage of a day
    each loop would leave 150 MB.
    """
    return failures & (failures - 1) == 0


def stop_all(loops: Sequence[Loop], timeout_s: float = STOP_S) -> None:
    """Ends them together: one by one, each with a pass that hangs would be waited for."""
    for loop in loops:
        loop.begin_to_stop()
    until = monotonic() + timeout_s
    for loop in loops:
        loop.stop(max(0.0, until - monotonic()))


class Child:
    """A child process that is started again when it ends, and ends when we do (its standard input closes)."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self._command = list(command)
        self._process: subprocess.Popen[bytes] | None = None
        self._loop = Loop(name, self._keep_running, 1.0, _LONGEST_PAUSE_OF_CHILD_S)

    def start(self) -> None:
        self._loop.start()

    def stop(self) -> None:
        self._loop.stop()
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(5)
        self._close_input()

    def _keep_running(self) -> bool:
        ended = self._process is not None and self._process.poll() is not None
        if self._process is None or ended:
            self._close_input()
            code = None if self._process is None else self._process.returncode
            self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE)
            if ended:
                raise RuntimeError(f"the child process ended with status {code} and was started again")
        return False

    def _close_input(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            self._process.stdin.close()


def end_with_parent() -> None:
    """One of several workers ends when the process that started them is gone, and may have been killed.

    They would serve on, holding the port, with nobody to bring models or to start another when one dies.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def wait() -> None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="parent", daemon=True).start()

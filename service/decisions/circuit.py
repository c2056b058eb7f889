"""A circuit over a part that may fail: opens by itself after failures, and closes by itself when a try succeeds."""

from __future__ import annotations

import threading
from collections.abc import Callable

from service.clock import monotonic
from service.telemetry import CIRCUIT_OPEN


class Circuit:
    """Closed: the part is asked. Open: it is not, but for one try after each pause. Safe for threads.

    It opens after `failures` in a row. The pause doubles with each failed try, from `pause_s` to `longest_pause_s`.
    """

    def __init__(
        self,
        part: str,
        failures: int = 3,
        pause_s: float = 1.0,
        longest_pause_s: float = 30.0,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.part = part
        self._most = failures
        self._first_pause, self._longest_pause = pause_s, longest_pause_s
        self._now = now
        self._lock = threading.Lock()
        self._failed = 0
        self._pause = pause_s
        self._retry_at: float | None = None
        CIRCUIT_OPEN.labels(part).set(0)

    @property
    def is_open(self) -> bool:
        return self._retry_at is not None

    def allows(self) -> bool:
        """Whether to ask the part now. Open and the pause over: yes for one, and the next pause begins."""
        if self._retry_at is None:
            return True
        with self._lock:
            if self._retry_at is not None and self._now() < self._retry_at:
                return False
            self._retry_at = None if self._retry_at is None else self._now() + self._pause
            return True

    def succeeded(self) -> None:
        """The part answered."""
        if not self._failed:
            return
        with self._lock:
            self._failed, self._pause, self._retry_at = 0, self._first_pause, None
        CIRCUIT_OPEN.labels(self.part).set(0)

    def failed(self, at_once: bool = False) -> None:
        """The part did not answer; `at_once` opens the circuit whatever came before."""
        with self._lock:
            tried = self._retry_at is not None
            self._failed = max(self._failed + 1, self._most if at_once else 0)
            if self._failed < self._most:
                return
            self._pause = min(self._pause * 2, self._longest_pause) if tried else self._first_pause
            self._retry_at = self._now() + self._pause
        CIRCUIT_OPEN.labels(self.part).set(1)

"""A lock whose waiters have it in the order in which they came."""

from __future__ import annotations

from collections import deque
from threading import Lock


class Turns:
    """`threading.Lock` goes to whoever asks first once it is free: to the one that has just given it back and goes on.

    One that writes portion after portion kept everybody else waiting until it was done.
    """

    def __init__(self) -> None:
        self._state = Lock()
        self._taken = False
        self._waiting: deque[Lock] = deque()

    def acquire(self, timeout: float) -> bool:
        """Waits for its turn, for at most so many seconds; whether it has it."""
        with self._state:
            if not self._taken:
                self._taken = True
                return True
            mine = Lock()
            mine.acquire()
            self._waiting.append(mine)
        if mine.acquire(timeout=timeout):
            return True
        with self._state:
            if mine not in self._waiting:  # handed over in the last moment
                return True
            self._waiting.remove(mine)
            return False

    def release(self) -> None:
        """Gives it to who has waited longest."""
        with self._state:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False

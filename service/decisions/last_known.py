"""What this process read last, for when it cannot be read: people, features, rates, the model that worked.

Bounded in number and age, and never written anywhere: it is personal data in memory.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from features.rows import CustomerRow
from service.clock import monotonic
from service.decisions.case import Customer
from service.decisions.rates import PooledRates

PEOPLE, ROWS = 10_000, 2_000
KEEP_S = 3_600.0
LOT, LOT_S = 250, 60.0
T = TypeVar("T")


class Recent(Generic[T]):
    """The newest values by key, at most `most` and none older than an hour. Safe for threads.

    They stand in lots of `LOT` at most, which go as a whole: what is kept is read seldom, and put at every decision.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._lots: deque[tuple[float, dict[str, T]]] = deque()
        self._lock = threading.Lock()

    def keep(self, found: Mapping[str, T]) -> None:
        now = monotonic()
        with self._lock:
            if not self._lots or now - self._lots[-1][0] > LOT_S or len(self._lots[-1][1]) + len(found) > LOT:
                self._lots.append((now, {}))
            self._lots[-1][1].update(found)
            while len(self._lots) > 1 and sum(len(lot) for _, lot in self._lots) > self._most:
                self._lots.popleft()

    def find(self, key: str) -> T | None:
        before = monotonic() - KEEP_S
        with self._lock:
            return next((lot[key] for at, lot in reversed(self._lots) if at > before and key in lot), None)

    def forget_old(self) -> None:
        """Drops what is too old."""
        before = monotonic() - KEEP_S
        with self._lock:
            while self._lots and self._lots[0][0] <= before:
                self._lots.popleft()


class LastKnown:
    """The last known of everything that decisions read. One for each process."""

    def __init__(self) -> None:
        self.people: Recent[Customer] = Recent(PEOPLE)
        self.rows: Recent[CustomerRow] = Recent(ROWS)
        self.rates: PooledRates | None = None
        self.rates_at = 0.0
        self._worked: list[Any] = []

    def worked(self, model: Any) -> None:
        """A model gave good answers: it stands in when a later one does not."""
        if not self._worked or self._worked[0] is not model:
            self._worked = [model, *(one for one in self._worked if one is not model)][:2]

    def instead_of(self, model: Any) -> Any | None:
        """The last model that worked, other than this one."""
        return next((one for one in self._worked if one is not model), None)

    def forget_old(self) -> None:
        self.people.forget_old()
        self.rows.forget_old()

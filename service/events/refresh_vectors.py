"""Keeps customers' vectors fresh while no event comes: windows move on by themselves.

A vector whose time is over is still read rightly, from the customer's tiles, only some ten times slower.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice
from typing import Protocol

from service.clock import Clock

AT_ONCE = 200
"""Customers in one transaction: events must not wait for longer than that takes."""


class Refreshed(Protocol):
    """The part of the online features that this needs."""

    def stale(self, as_of: datetime) -> Iterator[str]: ...

    def refresh(self, customer_ids: Sequence[str], as_of: datetime) -> int: ...


class RefreshVectors:
    """`run_pass` is for a loop; several processes may do it, who comes second finds nothing to do."""

    def __init__(self, features: Refreshed, clock: Clock) -> None:
        self._features = features
        self._clock = clock
        self._names: Iterator[str] = iter(())
        self._sweeping = False

    def run_pass(self) -> bool:
        """One portion of a sweep through all customers; False when that is over."""
        if not self._sweeping:
            self._names, self._sweeping = self._features.stale(self._clock.now()), True
        try:
            some = list(islice(self._names, AT_ONCE))
            if some:
                self._features.refresh(some, self._clock.now())
        except BaseException:
            self._sweeping = False  # the names that were taken out come again with the next sweep
            raise
        self._sweeping = bool(some)
        return self._sweeping

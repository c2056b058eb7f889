"""What channels are like: whether orders come at once or never, whether deliveries are told. Looked at now and then."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from service.clock import monotonic
from service.decisions.case import microseconds
from service.decisions.decision_store import ChannelSums, channel_sums
from service.decisions.maturity import promptness
from service.storage.database import Connection

EVERY_S = 10.0
_SURE = 0.9
_ENOUGH = 10
"""Deliveries that only an answer proved, from which on it is believed that they are not told."""


class Habits(NamedTuple):
    """`prompt`: channels on which orders come within a minute or never. `untold`: whose deliveries nobody tells.
    `presumed`: where some have been presumed, now or before.
    """

    prompt: frozenset[str] = frozenset()
    untold: frozenset[str] = frozenset()
    presumed: frozenset[str] = frozenset()


def habits_of(sums: dict[str, ChannelSums], now: int) -> Habits:
    """As of `now`, in microseconds.

    Of deliveries that are told, few are proved by an answer before. Where most that are known are, those without an
    answer are not told.
    """
    return Habits(
        frozenset(c for c, of in sums.items() if promptness(of.delays, of.prompt, of.first_at, now) > _SURE),
        frozenset(c for c, of in sums.items() if of.proven >= _ENOUGH and of.told < of.proven),
        frozenset(c for c, of in sums.items() if of.presumed),
    )


class ChannelHabits:
    """One for each that asks; not for several threads at once."""

    def __init__(self) -> None:
        self._found = Habits()
        self._looked_at = float("-inf")

    def at(self, connection: Connection, now: datetime) -> Habits:
        """As they were ten seconds ago at most."""
        if monotonic() - self._looked_at >= EVERY_S:
            self._found = habits_of(channel_sums(connection), microseconds(now))
            self._looked_at = monotonic()
        return self._found

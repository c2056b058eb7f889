"""On which channels conversions come within a minute or never, looked at now and then."""

from __future__ import annotations

from datetime import datetime

from service.clock import monotonic
from service.decisions.case import microseconds
from service.decisions.decision_store import channels_told_promptly
from service.storage.database import Connection

EVERY_S = 10.0


class PromptChannels:
    """One for each that asks; not for several threads at once."""

    def __init__(self) -> None:
        self._found: frozenset[str] = frozenset()
        self._looked_at = float("-inf")

    def at(self, connection: Connection, now: datetime) -> frozenset[str]:
        """The channels, as they were ten seconds ago at most."""
        if monotonic() - self._looked_at >= EVERY_S:
            self._found = channels_told_promptly(connection, microseconds(now))
            self._looked_at = monotonic()
        return self._found

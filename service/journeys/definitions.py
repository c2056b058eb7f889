"""Journey versions as definitions: immutable, so parsed once a process."""

from __future__ import annotations

import logging
from collections import OrderedDict
from threading import Lock

from service.journeys.definition import Journey
from service.journeys.journey_store import read_version
from service.journeys.parse_definition import load_journey
from service.storage.database import Connection

log = logging.getLogger(__name__)
_MOST = 512


class Definitions:
    """A cache over the versions' rows."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], Journey] = OrderedDict()
        self._unreadable: set[tuple[str, int]] = set()
        self._lock = Lock()

    def find(self, connection: Connection, journey_id: str, version: int) -> Journey | None:
        """The definition; None where it cannot be read, which the log tells once: others must not wait for it.

        What was accepted may be refused by a later version of the service.
        """
        if (journey_id, version) in self._unreadable:
            return None
        try:
            return self.get(connection, journey_id, version)
        except (LookupError, ValueError):
            log.exception("version %d of journey %s cannot be read; events do nothing to it", version, journey_id)
            self._unreadable.add((journey_id, version))
            return None

    def get(self, connection: Connection, journey_id: str, version: int) -> Journey:
        """The definition; `LookupError` where the version is not stored."""
        key = (journey_id, version)
        with self._lock:
            found = self._known.get(key)
            if found is not None:
                self._known.move_to_end(key)
                return found
        stored = read_version(connection, journey_id, version)
        if stored is None:
            raise LookupError(f"version {version} of journey {journey_id!r} is not stored")
        journey = load_journey(journey_id, stored)
        with self._lock:
            self._known[key] = journey
            while len(self._known) > _MOST:
                self._known.popitem(last=False)
        return journey

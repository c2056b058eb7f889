"""Journey versions as definitions: immutable, so parsed once a process."""

from __future__ import annotations

from collections import OrderedDict
from threading import Lock

from service.journeys.definition import Journey
from service.journeys.journey_store import read_version
from service.journeys.parse_definition import load_journey
from service.storage.database import Connection

_MOST = 512


class Definitions:
    """A cache over the versions' rows."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, int], Journey] = OrderedDict()
        self._lock = Lock()

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

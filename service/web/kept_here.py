"""First answers under an `Idempotency-Key` that the database could not keep, until it can."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from service.clock import SystemClock
from service.storage.database import Database
from service.storage.idempotency_store import Earlier, bring_in

MOST = 10_000


class KeptHere:
    """In the memory of this process: repeated from here, and brought into the database when it answers again.

    Of more than MOST the oldest are forgotten. Safe for threads.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[str, Earlier] = OrderedDict()

    def find(self, key: str) -> Earlier | None:
        """What is known of an earlier request under this key."""
        with self._lock:
            return self._known.get(key)

    def begin(self, key: str, body_hash: str) -> Earlier | None:
        """Claims a key; None when it is new, else what is known of the earlier request."""
        with self._lock:
            earlier = self._known.get(key)
            if earlier is None:
                self._known[key] = Earlier(body_hash, None, None, None)
                if len(self._known) > MOST:
                    self._known.popitem(last=False)
            return earlier

    def finish(self, key: str, status: int, media_type: str, answer: bytes, etag: str | None = None) -> None:
        """Keeps the first answer."""
        with self._lock:
            earlier = self._known.get(key)
            if earlier is not None:
                self._known[key] = replace(earlier, status=status, media_type=media_type, answer=answer, etag=etag)

    def forget(self, key: str) -> None:
        """Frees a key whose request made nothing."""
        with self._lock:
            self._known.pop(key, None)

    def answers(self) -> list[tuple[str, Earlier]]:
        """Those that are answered, for the database."""
        with self._lock:
            return [(key, earlier) for key, earlier in self._known.items() if earlier.status is not None]

    def bring_in(self, database: Database) -> None:
        """Gives the database what is answered, so that an erasure finds it there. `Unavailable` when it is away."""
        waiting = self.answers()
        if waiting:
            with database.write() as connection:
                bring_in(connection, waiting, SystemClock().now())
            self.brought_in(waiting)

    def brought_in(self, answers: Sequence[tuple[str, Earlier]]) -> None:
        """The database has these now."""
        with self._lock:
            for key, _ in answers:
                self._known.pop(key, None)

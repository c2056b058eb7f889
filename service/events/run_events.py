"""What one process does with accepted events, again and again: effects, features, chores, the log."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from service.errors import Unavailable
from service.events.apply_events import MOST_AT_ONCE, Applier
from service.events.events_lease import EventsLease, LostLease
from service.events.flush_events import Flusher

log = logging.getLogger(__name__)
_GATHER_S = 0.02

Chore = Callable[[], bool]
"""Other work on events that must not run beside the applier (joining histories, erasing); True: it did some."""


class EventsRunner:
    """`run_pass` is for `service.loops.Loop`, every 0.2 s and woken after each ingest."""

    def __init__(self, applier: Applier, flusher: Flusher, lease: EventsLease, chores: Sequence[Chore] = ()) -> None:
        self._applier = applier
        self._flusher = flusher
        self._lease = lease
        self._chores = tuple(chores)
        self._one_at_a_time = threading.Lock()
        self._streaming = False

    def run_pass(self) -> bool:
        """One pass; True when there may be more to do at once."""
        with self._one_at_a_time:
            if self._streaming:  # a lone event is applied at once; of a stream, a few share a transaction
                time.sleep(_GATHER_S)
            taken = self._applier.run_pass()
            self._streaming = 0 < taken < MOST_AT_ONCE
            try:
                return self._do_chores() or taken >= MOST_AT_ONCE
            except LostLease:
                return False

    def _do_chores(self) -> bool:
        """Whether there may be more to do. One that fails keeps no other from its turn: an erasure from its end, or the
        inbox from being emptied; the first failure is told at the end.
        """
        more, failures = False, list[Exception]()
        for chore in (*self._chores, self._flusher.flush_due):
            try:
                more = bool(chore()) or more
            except (LostLease, Unavailable):  # nothing else would do any better
                raise
            except Exception as failure:
                failures.append(failure)
        for other in failures[1:]:
            log.error("a piece of work on events failed beside another", exc_info=other)
        if failures:
            raise failures[0]
        return more

    def finish(self) -> int:
        """Applies and flushes all there is: when a process ends, and before features are built from the log.

        Returns how many events went to the log. Raises `LostLease` while another process works on events.
        """
        with self._one_at_a_time:
            self._lease.claim()
            self._applier.drain()
            for chore in self._chores:
                while chore():
                    pass
            moved = self._flusher.flush()
            self._lease.release()
            return moved

    def exclusively(self, work: Chore) -> bool:
        """Runs a piece of work between two passes; False when another process must do it."""
        with self._one_at_a_time:
            try:
                work()
            except LostLease:
                return False
            return True

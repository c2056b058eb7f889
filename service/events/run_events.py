"""What one process does with accepted events, again and again: effects, features, chores, the log."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from service.events.apply_events import Applier
from service.events.events_lease import EventsLease, LostLease
from service.events.flush_events import Flusher

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

    def run_pass(self) -> bool:
        """One pass; True when there may be more to do at once."""
        with self._one_at_a_time:
            more = self._applier.run_pass()
            try:
                for chore in self._chores:
                    more = chore() or more
                self._flusher.flush_due()
            except LostLease:
                return False
            return more

    def finish(self) -> int:
        """Applies and flushes all there is: when a process ends, and before features are built from the log.

        Returns how many events went to the log. Raises `LostLease` while another process works on events.
        """
        with self._one_at_a_time:
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

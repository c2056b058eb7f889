"""What one process does with accepted events, again and again: effects, features, chores, the log."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.events.apply_events import Applier, LostLease
from service.events.flush_events import Flusher

Chore = Callable[[], bool]
"""Other work on events that must not run beside the applier (joining histories, erasing); True: it did some."""


class EventsRunner:
    """`run_pass` is for `service.loops.Loop`, every 0.2 s and woken after each ingest."""

    def __init__(self, applier: Applier, flusher: Flusher, chores: Sequence[Chore] = ()) -> None:
        self._applier = applier
        self._flusher = flusher
        self._chores = tuple(chores)

    def run_pass(self) -> bool:
        """One pass; True when there may be more to do at once."""
        more = self._applier.run_pass()
        try:
            for chore in self._chores:
                more = chore() or more
            self._flusher.flush_due()
        except LostLease:
            return False
        return more

    def finish(self) -> int:
        """Applies and flushes all there is (at the end of a process, or before features are built)."""
        self._applier.drain()
        for chore in self._chores:
            while chore():
                pass
        return self._flusher.flush()

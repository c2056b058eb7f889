"""The simulated clock: a file that the service reads (`OPPORTUNE_CLOCK=file:PATH`) and the world moves forward."""

from __future__ import annotations

import os
import time
from datetime import datetime
from pathlib import Path


class ClockFile:
    """Holds the simulated time. It never goes back."""

    def __init__(self, path: Path, now: datetime) -> None:
        self.path = path
        self._stamp = 0
        self.now = now
        path.parent.mkdir(parents=True, exist_ok=True)
        self._write()

    def move_to(self, now: datetime) -> None:
        """Sets the time; ValueError where it would go back."""
        if now < self.now:
            raise ValueError(f"the clock stands at {self.now.isoformat()} and cannot go back to {now.isoformat()}")
        self.now = now
        self._write()

    def _write(self) -> None:
        """In one step, and each time with another modification time, by which readers see that it moved."""
        part = self.path.with_suffix(".part")
        part.write_text(self.now.isoformat())
        self._stamp = max(self._stamp + 1, time.time_ns())
        os.utime(part, ns=(self._stamp, self._stamp))
        part.replace(self.path)

"""When to try again, and when to give up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from zlib import crc32


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays grow by `factor` from `first` to `longest`; after `attempts` tries it is given up."""

    attempts: int = 6
    first: timedelta = timedelta(minutes=1)
    factor: float = 5.0
    longest: timedelta = timedelta(hours=6)
    spread: float = 0.2

    def delay(self, attempt: int, key: str = "", asked: timedelta = timedelta()) -> timedelta | None:
        """How long to wait after failed try number `attempt` (from 1); None when that was the last.

        The delay is shortened by up to `spread`, by a share fixed by `key`, so that a crowd that failed together
        does not come back together. Where the other side `asked` for more, up to `longest`, it is lengthened instead.
        """
        if attempt < 1:
            raise ValueError(f"attempt is {attempt}; tries are counted from 1")
        if attempt >= self.attempts:
            return None
        seconds = self.first.total_seconds() * self.factor ** min(attempt - 1, 64)
        share = crc32(f"{key}:{attempt}".encode()) / 2**32
        own = timedelta(seconds=min(seconds, self.longest.total_seconds()) * (1 - self.spread * share))
        return max(own, min(asked, self.longest) * (1 + self.spread * share))

"""The only source of the current time: real, or read from a file so that a simulated world can drive it."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import Protocol

CLOCKS_APART = timedelta(minutes=1)
"""How far the clocks of two machines may lie apart: what was noted for later was noted by a clock that went wrong."""


class Clock(Protocol):
    """Tells the current time, always aware and in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FileClock:
    """A clock whose time (RFC 3339) stands in a file, which a simulation moves forward.

    Setting `clock = "file:PATH"` selects it. Writers replace the file atomically; a reader that finds no file
    is told so, because a silent fall back to the real time would mix two worlds.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = -1
        self._now = datetime.fromtimestamp(0, UTC)

    def now(self) -> datetime:
        try:
            stamp = os.stat(self._path).st_mtime_ns
        except FileNotFoundError as missing:
            raise RuntimeError(f"the clock file {self._path} is missing; write an RFC 3339 time into it") from missing
        if stamp != self._stamp:
            self._now = datetime.fromisoformat(self._path.read_text().strip()).astimezone(UTC)
            self._stamp = stamp
        return self._now


def clock_from(setting: str) -> Clock:
    """The clock that a setting names: `system`, or `file:PATH`."""
    if setting == "system":
        return SystemClock()
    kind, _, path = setting.partition(":")
    if kind == "file" and path:
        return FileClock(Path(path))
    raise ValueError(f"clock is {setting!r}; use 'system' or 'file:PATH'")


def new_id(now: datetime) -> str:
    """A sortable identifier: 48 bits of milliseconds, then 80 random bits, as 32 hex digits."""
    return new_ids([now])[0]


def new_ids(times: Sequence[datetime]) -> list[str]:
    """An identifier of each time; the system is asked for randomness once."""
    random = secrets.token_bytes(10 * len(times)).hex()
    return [f"{_sortable(now)}{random[20 * place : 20 * place + 20]}" for place, now in enumerate(times)]


@lru_cache(maxsize=64)
def _sortable(now: datetime) -> str:
    """48 bits of milliseconds; identifiers are mostly made of many things at one time."""
    return f"{int(now.timestamp() * 1000) & 0xFFFFFFFFFFFF:012x}"


def monotonic() -> float:
    """Seconds for measuring durations and time budgets; never for calendar time."""
    return time.monotonic()

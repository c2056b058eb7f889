"""Drafts that a killed writer left: nobody will finish them, they take room, and they may name who was erased since."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

STALE = timedelta(days=1)
"""Nobody writes at one for so long without a change of it. Locks would tell at once, but not every file system has
them, and a draft's process may be of another machine or container."""
_DRAFT = re.compile(r"\..+\.tmp(-\w+)?")  # a file or a folder, or what SQLite keeps beside one


def scratch(home: Path) -> TemporaryDirectory[str]:
    """A folder for what is made on the way; who is killed leaves it in the home, for `sweep`, not in /tmp for good."""
    home.mkdir(parents=True, exist_ok=True)
    return TemporaryDirectory(prefix=".scratch-", suffix=".tmp", dir=home)


def sweep(home: Path, now: datetime) -> int:
    """Removes stale drafts anywhere below a home; returns how many. `now` is by the machine's clock, as files are."""
    return drop_stale([path for path in home.rglob(".*.tmp*") if _DRAFT.fullmatch(path.name)], now)


def drop_stale(drafts: Iterable[Path], now: datetime) -> int:
    """Removes those of `drafts` that were not touched for a day."""
    before, dropped = (now - STALE).timestamp(), 0
    for path in drafts:
        with suppress(FileNotFoundError):  # another process swept, or finished it
            if path.lstat().st_mtime < before:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                dropped += 1
    return dropped

"""Up to when the event log no longer holds visitors who never became customers, so that training asks nothing of them.

Those of before who came again are still there: to learn from them alone would take every visitor for one who does.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from features.files import write_bytes

_FILE = "visitors-forgotten-before"


def note_forgotten(root: Path, before: datetime) -> None:
    """Notes, in the log's folder, that visitors last heard of before a time may be gone. It never goes back."""
    if (known := forgotten_before(root)) is None or known < before:
        write_bytes(root / _FILE, before.isoformat().encode())


def forgotten_before(root: Path) -> datetime | None:
    """What was noted last; None where everybody is still there."""
    try:
        return datetime.fromisoformat((root / _FILE).read_text())
    except FileNotFoundError:
        return None

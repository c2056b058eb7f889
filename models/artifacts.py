"""Where files of a registry beside a home lie. MLflow keeps whole paths, but a home may be moved, copied, brought back
from a backup, or seen under another path from a container."""

from __future__ import annotations

from pathlib import Path

FOLDER = "mlartifacts"


def found_at(source: str, artifacts: Path | None) -> str:
    """The URI of files that MLflow says are at `source`: in `artifacts`, where the home has them."""
    written, inside, rest = source.rpartition(f"/{FOLDER}/")
    if artifacts is None or artifacts.name != FOLDER or not inside or not written.startswith(("file:", "/")):
        return source
    here = artifacts.absolute() / rest
    return here.as_uri() if here.exists() else source

"""Files that appear whole or not at all: written beside their place, synced, renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl

LEAST_FREE = 200_000_000
"""Bytes free on the home's disk below which people are told of it."""


def write_whole(path: Path, write: Callable[[Path], None]) -> None:
    """Calls `write` with a temporary path in the same folder, then renames what it wrote to `path`, durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        write(draft)
        with open(draft, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    fsync_folder(path.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a file of this content, whole or not at all."""

    def write(draft: Path) -> None:
        draft.write_bytes(content)

    write_whole(path, write)


def write_parquet(
    frame: pl.DataFrame, path: Path, metadata: dict[str, str] | None = None, rows_together: int | None = None
) -> None:
    """Writes a frame as Parquet (zstd, with statistics), whole or not at all; in groups of `rows_together` rows."""

    def write(draft: Path) -> None:
        frame.write_parquet(draft, compression="zstd", statistics=True, metadata=metadata, row_group_size=rows_together)

    write_whole(path, write)


def fsync_folder(folder: Path) -> None:
    """Makes a rename in this folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def free_bytes(folder: Path) -> int:
    """What the disk of a folder has free, whether the folder is there yet or not."""
    folder = folder.absolute()
    return shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.exists())).free

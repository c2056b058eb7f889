"""The files in which several workers count, with blocks of their own: prometheus_client's have holes.

A hole is filled when it is written, through memory; on a full disk that is no error, but the end of the process
(SIGBUS), and of the next one that is started in its place. Whoever finds no room counts in memory, for itself alone.
"""

from __future__ import annotations

import logging
import mmap
import os
from io import BufferedRandom
from pathlib import Path

from prometheus_client import values
from prometheus_client.mmap_dict import MmapedDict

log = logging.getLogger(__name__)
FIRST = 1 << 16
"""Bytes of a new file."""


class CountFile(MmapedDict):
    """One worker's counts of a kind."""

    def __init__(self, filename: str, read_mode: bool = False) -> None:
        try:
            with open(filename, "ab") as file:
                _fill(file.fileno(), FIRST)
        except OSError as fault:  # full, or the folder is gone
            log.warning("%s; this worker counts in memory, and /metrics of the others lack it", fault)
            Path(filename).unlink(missing_ok=True)  # those who read all of them would find a torn one
            filename = f"/proc/self/fd/{_in_memory(FIRST)}"
        super().__init__(filename, read_mode)  # type: ignore[no-untyped-call]

    def _init_value(self, key: str) -> None:
        while self._used + len(key.encode()) + 40 > self._capacity:  # its length, its padding and two numbers
            self._grow()
        super()._init_value(key)  # type: ignore[no-untyped-call]

    def _grow(self) -> None:
        before, self._capacity = self._capacity, 2 * self._capacity
        try:
            _fill(self._f.fileno(), self._capacity)
        except OSError as fault:
            log.warning("%s: %s; this worker goes on counting in memory", self._fname, fault)
            file = os.fdopen(_in_memory(self._capacity), "r+b")
            file.write(self._m[:before])
            file.flush()
            self._f.close()
            self._f: BufferedRandom = file
        self._m = mmap.mmap(self._f.fileno(), self._capacity)


def count_in_files() -> None:
    """From now on. Called before anything is counted. Where the system cannot set blocks aside, all stays as it is."""
    if hasattr(os, "posix_fallocate") and hasattr(os, "memfd_create"):
        values.MmapedDict = CountFile  # type: ignore[attr-defined]


def _fill(descriptor: int, size: int) -> None:
    os.posix_fallocate(descriptor, 0, size)


def _in_memory(size: int) -> int:
    descriptor = os.memfd_create("opportune-counts")
    os.ftruncate(descriptor, size)
    return descriptor

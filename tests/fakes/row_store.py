"""A row store in memory; passes the same tests as the real ones (tests/features/test_row_stores.py)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

from features.row_stores import Edit


class MemoryRows:
    def __init__(self) -> None:
        self._rows: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def read(self, keys: Sequence[str]) -> list[bytes | None]:
        return [self._rows.get(key) for key in keys]

    def change(self, keys: Sequence[str], edit: Edit) -> None:
        with self._lock:
            for key, row in zip(keys, edit(self.read(keys)), strict=True):
                if row is None:
                    self._rows.pop(key, None)
                else:
                    self._rows[key] = row

    def keys(self, containing: str = "") -> Iterator[str]:
        yield from [key for key in self._rows if containing in key]

    def close(self) -> None:
        self._rows.clear()

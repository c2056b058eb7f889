"""One packed row an entity for Feast: for each view its times and values under a layout number. No Feast here."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from xxhash import xxh3_64_intdigest

from features.row_stores import RowStore

_COUNT = struct.Struct("<H")
_HEAD = struct.Struct("<HQqqI")
NULL = np.frombuffer(struct.pack("<Q", 0x7FF8_6E75_6C6C_0000), np.float64)[0]
"""A NaN that stands for null, told from any other NaN by its bits."""


@dataclass(frozen=True, slots=True)
class Section:
    """One view's values for one entity. `layout` names the columns; times in microseconds."""

    layout: int
    event: int
    created: int
    values: bytes

    def newer(self, other: Section | None) -> bool:
        """Whether this may take the other's place: not older, and not created before it."""
        return other is None or (self.event, self.created) >= (other.event, other.created)


def pack_row(sections: dict[str, Section]) -> bytes:
    parts = [_COUNT.pack(len(sections))]
    for view, section in sections.items():
        name = view.encode()
        parts += [_HEAD.pack(len(name), section.layout, section.event, section.created, len(section.values))]
        parts += [name, section.values]
    return b"".join(parts)


def unpack_row(row: bytes | None) -> dict[str, Section]:
    sections: dict[str, Section] = {}
    if not row:
        return sections
    at = _COUNT.size
    for _ in range(_COUNT.unpack_from(row)[0]):
        length, layout, event, created, size = _HEAD.unpack_from(row, at)
        at += _HEAD.size
        view = row[at : at + length].decode()
        sections[view] = Section(layout, event, created, row[at + length : at + length + size])
        at += length + size
    return sections


class Layouts:
    """Column names by layout number, kept beside the rows so that a row written by an older version is read by
    name."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._known: dict[int, tuple[str, ...]] = {}

    def number(self, names: Sequence[str]) -> int:
        """The number of these names, written down the first time."""
        text = orjson.dumps(list(names))
        number = xxh3_64_intdigest(text)
        if number not in self._known:
            self._store.change([_key(number)], lambda _: [text])
            self._known[number] = tuple(names)
        return number

    def names(self, number: int) -> tuple[str, ...]:
        if number not in self._known:
            text = self._store.read([_key(number)])[0]
            if text is None:
                raise LookupError(f"rows have the layout {number:x}, which is not written down; materialize again")
            self._known[number] = tuple(orjson.loads(text))
        return self._known[number]


def _key(number: int) -> str:
    return f"layout:{number:016x}"

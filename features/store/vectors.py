"""One packed row an entity for Feast: for each view its times and values under a layout number. No Feast here."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from xxhash import xxh3_64_intdigest

from features.row_stores import RowStore, open_store

_WORD = struct.Struct("<I")
_TYPED = struct.Struct("<II")
_STRING = 2
"""feast.types.ValueType.STRING"""
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


def row_key(project: str, entity_key: bytes) -> str:
    """The key of an entity's row; `entity_key` as Feast serializes it (version 3)."""
    return f"{project}:{entity_key.hex()}"


def entity_of(key: str) -> dict[str, str]:
    """Join key -> value of a row's key, texts only; empty for a key that is no entity's.

    Version 3 of Feast's serialization: a count, then each name, then each value, all with type and length.
    """
    try:
        told = bytes.fromhex(key.rpartition(":")[2])
        (count,) = _WORD.unpack_from(told)
        at, parts = _WORD.size, list[tuple[int, bytes]]()
        while at < len(told):
            kind, length = _TYPED.unpack_from(told, at)
            at += _TYPED.size + length
            parts.append((kind, told[at - length : at]))
    except (ValueError, struct.error):
        return {}
    if len(parts) != 2 * count or at != len(told):
        return {}
    pairs = zip(parts[:count], parts[count:], strict=True)
    return {name.decode(): value.decode() for (_, name), (kind, value) in pairs if kind == _STRING}


def erase_customers(store: RowStore, customer_ids: Sequence[str]) -> int:
    """Removes the rows that name these customers, alone or beside other entities; returns how many went."""
    gone = 0
    for customer_id in customer_ids:
        text = customer_id.encode()
        named = store.keys(_TYPED.pack(_STRING, len(text)).hex() + text.hex())
        keys = [key for key in named if entity_of(key).get("customer_id") == customer_id]
        if keys:
            store.change(keys, lambda rows: [None] * len(rows))
        gone += len(keys)
    return gone


def erase_materialized(url_or_path: str, customer_ids: Sequence[str]) -> int:
    """`erase_customers` in the online store there; raises `StoreAway` while it does not answer."""
    store = open_store(url_or_path, "vectors")
    try:
        return erase_customers(store, customer_ids)
    finally:
        store.close()


def _key(number: int) -> str:
    return f"layout:{number:016x}"

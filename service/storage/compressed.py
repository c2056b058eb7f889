"""Bytes that are many and much alike: smaller in the database by LZ4, which costs less than writing what it saves."""

from __future__ import annotations

from typing import Any

import lz4.block
from sqlalchemy import LargeBinary
from sqlalchemy.engine import Dialect
from sqlalchemy.types import TypeDecorator

_MARK = b"\x03"
"""Before what is compressed; nothing that was stored before this type begins so."""


class Compressed(TypeDecorator[bytes]):
    """Bytes, compressed in the database. What lies there as it is comes back as it is."""

    impl = LargeBinary
    cache_ok = True

    def process_bind_param(self, value: bytes | None, dialect: Dialect) -> bytes | None:
        return None if value is None else compressed(value)

    def process_result_value(self, value: Any, dialect: Dialect) -> bytes | None:
        return None if value is None else plain(bytes(value))


def compressed(value: bytes) -> bytes:
    """As the database keeps it: a mark, the length (4 bytes, little-endian), a block of LZ4 (https://lz4.org).

    Nothing stays nothing.
    """
    if not value:
        return value
    block: bytes = lz4.block.compress(value)
    return _MARK + block


def plain(stored: bytes) -> bytes:
    """What `compressed` was given; bytes without the mark as they are. ValueError where the block is damaged."""
    if stored[:1] != _MARK:
        return stored
    try:
        value: bytes = lz4.block.decompress(stored[1:])
    except lz4.block.LZ4BlockError as damaged:
        raise ValueError(f"{len(stored)} bytes in the database are no whole block of LZ4") from damaged
    return value

"""What many records of decisions have in common, kept once, by its content: rules, lists of offers, names of features.

Nothing here is about a person, and nothing ever changes. SQL only.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import xxhash
from sqlalchemy import Column, LargeBinary, String, Table, bindparam, select

from service.storage.database import Connection, metadata, upsert

decision_parts = Table(
    "decision_parts",
    metadata,
    Column("part_id", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
_READ = select(decision_parts.c.body).where(decision_parts.c.part_id == bindparam("part_id"))
_REMEMBERED = 2_000
_known: dict[str, bytes] = {}


def part_id(body: bytes) -> str:
    """Names a content."""
    return xxhash.xxh3_128_hexdigest(body)


def add_parts(connection: Connection, parts: Mapping[str, bytes]) -> None:
    """Keeps these, by their ids; those that are there already stay. In one order, as others may add the same now."""
    rows = [{"part_id": name, "body": parts[name]} for name in sorted(parts)]
    upsert(connection, decision_parts, rows, update=())


class Parts:
    """Reads parts through a connection; what was read once is remembered, since it never changes."""

    def __init__(self, connection: Connection) -> None:
        self._read = partial(_body, connection)

    def __getitem__(self, name: str) -> bytes:
        found = _known.get(name)
        if found is None:
            if len(_known) >= _REMEMBERED:
                _known.clear()
            found = _known[name] = self._read(name)
        return found


def _body(connection: Connection, name: str) -> bytes:
    body = connection.execute(_READ, {"part_id": name}).scalar_one_or_none()
    if body is None:
        raise LookupError(f"the part {name!r} is missing")
    return bytes(body)

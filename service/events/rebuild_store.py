"""Customers whose online features must be made anew from their history, and when a history last changed. SQL only."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Index, Integer, String, Table, delete, func, select

from features.event_log import bucket_of
from service.storage.database import Connection, UtcTime, metadata, upsert

feature_rebuilds = Table(
    "feature_rebuilds",
    metadata,
    Column("after_file", String, primary_key=True),
    Column("bucket", Integer, primary_key=True),
    Column("customer_id", String, primary_key=True),
    Column("token", String, nullable=False),
)
customer_histories = Table(
    "customer_histories",
    metadata,
    Column("customer_id", String, primary_key=True),
    Column("changed_at", UtcTime, nullable=False),
)
feature_layouts = Table(
    "feature_layouts",
    metadata,
    Column("store", String, primary_key=True),
    Column("signature", String, nullable=False),
    Column("since", UtcTime, nullable=False),
)
Index("ix_feature_rebuilds_customer_id", feature_rebuilds.c.customer_id)
_NOW = ""
"""`after_file` of those who wait for nothing; the others wait until that file is in."""
_FAILED = "!failed"
"""`after_file` of those whose features could not be made."""
_SLICE = 500


@dataclass(frozen=True, slots=True)
class Waiting:
    """Customers of one bucket, each with the mark of its latest asking: what is asked meanwhile stays."""

    bucket: int
    tokens: dict[str, str]


def ask_rebuild(connection: Connection, customer_ids: Iterable[str], buckets: int, after_file: str = _NOW) -> None:
    """Asks that these customers' features be made anew, now or once a file is in."""
    token = secrets.token_hex(8)
    rows = [
        {"after_file": after_file, "bucket": bucket_of(one, buckets), "customer_id": one, "token": token}
        for one in sorted(set(customer_ids))  # sorted: two that ask cannot wait for each other
    ]
    upsert(connection, feature_rebuilds, rows, update=["token"])


def release_file(connection: Connection, file_hash: str) -> None:
    """Asks now for those who waited for this file."""
    _move(connection, [file_hash], _NOW)


def hand_over(connection: Connection, from_files: Sequence[str], to_file: str) -> None:
    """Those who waited for earlier readings of a file wait for another one."""
    _move(connection, from_files, to_file)


def set_failed(connection: Connection, failed: Waiting) -> None:
    """Sets customers aside whose features could not be made."""
    rows = [
        {"after_file": _FAILED, "bucket": failed.bucket, "customer_id": one, "token": token}
        for one, token in failed.tokens.items()
    ]
    upsert(connection, feature_rebuilds, rows, update=["token"])
    _forget_asked(connection, failed)


def release_failed(connection: Connection) -> int:
    """Asks again for those who were set aside; returns how many."""
    return _move(connection, [_FAILED], _NOW)


def _move(connection: Connection, sources: Sequence[str], to: str) -> int:
    held = feature_rebuilds.c.after_file.in_(list(sources))
    rows = connection.execute(select(feature_rebuilds).where(held)).mappings().all()
    upsert(connection, feature_rebuilds, [{**row, "after_file": to} for row in rows], update=["token"])
    connection.execute(delete(feature_rebuilds).where(held))
    return len(rows)


def next_rebuilds(connection: Connection, limit: int) -> Waiting | None:
    """Some who wait, all of one bucket; None when nobody does."""
    table = feature_rebuilds
    ready = select(table).where(table.c.after_file == _NOW).order_by(table.c.bucket, table.c.customer_id).limit(limit)
    rows = connection.execute(ready).all()
    if not rows:
        return None
    bucket = rows[0].bucket
    return Waiting(bucket, {row.customer_id: row.token for row in rows if row.bucket == bucket})


def finish_rebuilds(connection: Connection, done: Waiting, now: datetime) -> None:
    """Forgets those whose features were made anew, unless they were asked for again; notes when it was."""
    _forget_asked(connection, done)
    note_changed(connection, done.tokens, now)


def _forget_asked(connection: Connection, done: Waiting) -> None:
    table = feature_rebuilds
    tokens = list(set(done.tokens.values()))
    ids = list(done.tokens)
    for start in range(0, len(ids), _SLICE):
        some = table.c.customer_id.in_(ids[start : start + _SLICE]) & table.c.token.in_(tokens)
        connection.execute(delete(table).where(table.c.after_file == _NOW, table.c.bucket == done.bucket, some))


def note_changed(connection: Connection, customer_ids: Iterable[str], now: datetime) -> None:
    """Notes that the past of these customers is not what it was: what was served before cannot be made again."""
    rows = [{"customer_id": one, "changed_at": now} for one in sorted(set(customer_ids))]
    upsert(connection, customer_histories, rows)


def changed_since(connection: Connection, customer_ids: Sequence[str]) -> dict[str, datetime]:
    """When the history of each of these customers last changed, where it did."""
    found: dict[str, datetime] = {}
    for start in range(0, len(customer_ids), _SLICE):
        some = customer_histories.c.customer_id.in_(list(customer_ids[start : start + _SLICE]))
        found.update(
            (row.customer_id, row.changed_at) for row in connection.execute(select(customer_histories).where(some))
        )
    return found


def asked_for(connection: Connection, customer_ids: Sequence[str]) -> set[str]:
    """Those of these customers who wait."""
    some = select(feature_rebuilds.c.customer_id).where(feature_rebuilds.c.customer_id.in_(list(customer_ids)))
    return set(connection.execute(some).scalars())


def how_many_wait(connection: Connection) -> tuple[int, int]:
    """(customers whose features wait to be made anew, those whose could not be made).

    Those who wait for a file are not counted.
    """
    place = feature_rebuilds.c.after_file
    query = select(place, func.count()).where(place.in_([_NOW, _FAILED])).group_by(place)
    counts = {name: int(count) for name, count in connection.execute(query)}
    return counts.get(_NOW, 0), counts.get(_FAILED, 0)


def forget_rebuilds(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Erases what is kept here of these customers."""
    gone = 0
    for table in (feature_rebuilds, customer_histories):
        gone += connection.execute(delete(table).where(table.c.customer_id.in_(list(customer_ids)))).rowcount
    return gone


def layout_of(connection: Connection, store: str) -> tuple[str, datetime] | None:
    """The layout whose rows a store is known to hold, and since when."""
    found = connection.execute(select(feature_layouts).where(feature_layouts.c.store == store)).one_or_none()
    return None if found is None else (found.signature, found.since)


def note_layout(connection: Connection, store: str, signature: str, now: datetime) -> None:
    """Notes that every row of a store that has another layout was asked for."""
    upsert(connection, feature_layouts, [{"store": store, "signature": signature, "since": now}])

"""Counts of what came in, by the event's day, kept as it comes in. SQL only."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import BigInteger, Column, Index, String, Table, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from features.currencies import CURRENCIES
from service.events.inbox_store import event_quarantine
from service.events.ingest_store import ingested_files
from service.events.tally import Key
from service.storage.database import Connection, metadata

data_counts = Table(
    "data_counts",
    metadata,
    Column("source", String, primary_key=True),
    Column("day", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("name", String, primary_key=True),
    Column("count", BigInteger, nullable=False),
)
Index("ix_data_counts_day", data_counts.c.day)
API = "api"
"""The source of events over HTTP; a file's is its content's hash."""
_SHORTEST_NAME = 6
"""Shorter ids may as well be a part of any event's name ("Step 1")."""


def add_counts(connection: Connection, source: str, counts: Mapping[Key, int]) -> None:
    """Adds to the counts of a source, inside the transaction that makes the events' effects."""
    if not counts:
        return
    build = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement: Any = build(data_counts)
    statement = statement.on_conflict_do_update(
        index_elements=["source", "day", "kind", "name"],
        set_={"count": data_counts.c.count + statement.excluded["count"]},
    )
    rows = [
        {"source": source, "day": key.day, "kind": key.kind, "name": key.name, "count": count}
        for key, count in sorted(counts.items())
    ]
    connection.execute(statement, rows)


def drop_counts(connection: Connection, source: str) -> None:
    """Forgets the counts of a file that is read again."""
    connection.execute(delete(data_counts).where(data_counts.c.source == source))


def erase_names(connection: Connection, names: Collection[str]) -> int:
    """Takes these ids and addresses out of the names of what is counted ("Called anna@example.org"), where they stand
    as whole words; the counts stay. Returns how many rows were counted under them."""
    told = sorted({name for name in names if len(name) >= _SHORTEST_NAME}, key=len, reverse=True)
    if not told:
        return 0
    theirs = re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, told))})(?!\w)", re.IGNORECASE)
    listed = connection.execute(select(data_counts.c.name).distinct()).scalars()
    found = {name: theirs.sub("…", name) for name in listed if theirs.search(name)}
    gone = 0
    for name, instead in found.items():
        theirs_now = delete(data_counts).where(data_counts.c.name == name).returning(data_counts)
        rows = connection.execute(theirs_now).mappings().all()
        gone += len(rows)
        for row in rows:
            add_counts(connection, row["source"], {Key(row["day"], row["kind"], instead): row["count"]})
    return gone


def read_counts(connection: Connection, first_day: str) -> dict[Key, int]:
    """The counts of every source together, from a day on; those that have no day (`""`) too."""
    chosen = (data_counts.c.day >= first_day) | (data_counts.c.day == "")
    columns = (data_counts.c.day, data_counts.c.kind, data_counts.c.name)
    query = select(*columns, func.sum(data_counts.c.count)).where(chosen).group_by(*columns)
    return {Key(day, kind, name): int(count) for day, kind, name, count in connection.execute(query)}


def money_not_counted(connection: Connection, first_day: str) -> dict[str, int]:
    """Events from a day on by the currency of their money, of currencies that are not counted now."""
    columns = data_counts.c
    chosen = (columns.kind == "currency") & (columns.day >= first_day)
    query = select(columns.name, func.sum(columns.count)).where(chosen).group_by(columns.name)
    return {code: int(count) for code, count in connection.execute(query) if not CURRENCIES.counts(code)}


def by_reason(connection: Connection, most: int) -> list[dict[str, Any]]:
    """Events that are set aside, by stage and reason, the most frequent first."""
    table = event_quarantine
    count = func.count().label("count")
    query = (
        select(
            table.c.stage,
            table.c.reason,
            count,
            func.min(table.c.at).label("first"),
            func.max(table.c.at).label("last"),
        )
        .group_by(table.c.stage, table.c.reason)
        .order_by(count.desc(), table.c.reason)
        .limit(most)
    )
    return [dict(row) for row in connection.execute(query).mappings()]


def latest_files(connection: Connection, most: int) -> list[dict[str, Any]]:
    """Files that were ingested, the newest first."""
    table = ingested_files
    query = select(table).order_by(table.c.started_at.desc(), table.c.path).limit(most)
    return [dict(row) for row in connection.execute(query).mappings()]

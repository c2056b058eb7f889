"""SQL of the events that wait for an enrolment: what came while nobody looked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, delete, func, select

from service.journeys.enrolment import InboxEvent
from service.storage.database import Connection, Json, UtcTime, metadata, upsert

MOST_EVENTS = 200
_CHUNK = 500

inbox = Table(
    "journey_inbox",
    metadata,
    Column("seq", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("enrolment_id", String, nullable=False),
    Column("message_id", String, nullable=False),
    Column("name", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("matches", Json, nullable=False),
    Column("engagement", String),
    Column("step", String),
    Column("goal", Integer, nullable=False),
    Index("uq_journey_inbox_message", "enrolment_id", "message_id", unique=True),
)


def newest_events(connection: Connection, ids: Sequence[str]) -> dict[str, int]:
    """The last inbox event of each enrolment that has one."""
    newest: dict[str, int] = {}
    for chunk in chunks(ids):
        wanted = select(inbox.c.enrolment_id, func.max(inbox.c.seq).label("seq")).where(inbox.c.enrolment_id.in_(chunk))
        newest |= {row.enrolment_id: row.seq for row in connection.execute(wanted.group_by(inbox.c.enrolment_id))}
    return newest


def read_inbox(connection: Connection, ids: Sequence[str]) -> dict[str, tuple[InboxEvent, ...]]:
    """The events that came for each enrolment, in their order of arrival."""
    events: dict[str, list[InboxEvent]] = {}
    for chunk in chunks(ids):
        wanted = select(inbox).where(inbox.c.enrolment_id.in_(chunk)).order_by(inbox.c.seq)
        for row in connection.execute(wanted):
            event = InboxEvent(row.seq, row.name, row.at, tuple(row.matches), row.engagement, row.step, bool(row.goal))
            events.setdefault(row.enrolment_id, []).append(event)
    return {key: tuple(found) for key, found in events.items()}


def trim_inbox(connection: Connection, enrolment_id: str) -> None:
    """Forgets all but the newest `MOST_EVENTS` events of an enrolment."""
    newest = (
        select(inbox.c.seq).where(inbox.c.enrolment_id == enrolment_id).order_by(inbox.c.seq.desc()).limit(MOST_EVENTS)
    )
    connection.execute(delete(inbox).where(inbox.c.enrolment_id == enrolment_id, inbox.c.seq.not_in(newest)))


def put_events(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Adds events, each once by its message id; an enrolment that gets too many keeps the newest."""
    upsert(connection, inbox, rows, keys=["enrolment_id", "message_id"], update=())
    for enrolment_id, count in Counter(row["enrolment_id"] for row in rows).items():
        if count > MOST_EVENTS:
            trim_inbox(connection, enrolment_id)


def forget_events(connection: Connection, ids: Sequence[str]) -> None:
    """Removes the events of enrolments that have ended."""
    for chunk in chunks(ids):
        connection.execute(delete(inbox).where(inbox.c.enrolment_id.in_(chunk)))


def chunks(keys: Iterable[str]) -> Iterator[list[str]]:
    """Portions small enough for one statement's parameters."""
    every = list(keys)
    return (every[start : start + _CHUNK] for start in range(0, len(every), _CHUNK))


def plain(row: Any) -> dict[str, Any]:
    """A row as a dict with plain strings for keys, fit for JSON."""
    return {str(name): value for name, value in row._mapping.items()}

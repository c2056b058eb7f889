"""The inbox: events that were accepted and are not yet all in the event log; and the message ids seen lately."""

from __future__ import annotations

import secrets
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    and_,
    bindparam,
    delete,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from service.storage.database import Connection, UtcTime, metadata, slices, those_in, upsert

_Sequence = BigInteger().with_variant(Integer, "sqlite")

inbox = Table(
    "inbox",
    metadata,
    Column("seq", _Sequence, primary_key=True, autoincrement=True),
    Column("message_id", String, nullable=False, unique=True),
    Column("customer_id", String, nullable=False),
    Column("received_at", UtcTime, nullable=False),
    Column("row", LargeBinary, nullable=False),
    Column("applied_at", UtcTime),
    Column("features_at", UtcTime),
    Column("part", String),
    sqlite_autoincrement=True,
)
Index("ix_inbox_customer_id", inbox.c.customer_id)
Index(
    "ix_inbox_unapplied",
    inbox.c.seq,
    sqlite_where=inbox.c.applied_at.is_(None),
    postgresql_where=inbox.c.applied_at.is_(None),
)
Index(
    "ix_inbox_without_features",
    inbox.c.seq,
    sqlite_where=inbox.c.features_at.is_(None),
    postgresql_where=inbox.c.features_at.is_(None),
)

message_ids = Table(
    "message_ids",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("seen_at", UtcTime, nullable=False, index=True),
    sqlite_with_rowid=False,
)

event_quarantine = Table(
    "event_quarantine",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("customer_id", String, nullable=False, index=True),
    Column("stage", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("row", LargeBinary, nullable=False),
    Column("at", UtcTime, nullable=False),
)

_SETTLED = and_(inbox.c.part.is_(None), inbox.c.applied_at.is_not(None), inbox.c.features_at.is_not(None))

_PERSONS, _CLICKED = b'"machine":false', (b'Clicked","', b'Tapped","')
"""How a packed row shows a click that is taken for a person's; texts inside a row have their quotes escaped."""

Event = dict[str, Any]
_OF_A_PASS = frozenset({"seq", "joins"})
"""What is no part of a row: its place, and whether its claim made one person of two (`joined_by`)."""
EFFECTS, FEATURES = "effects", "features"
"""The stages at which an event can fail."""


def pack(row: Mapping[str, Any]) -> bytes:
    """An EVENTS row as JSON bytes."""
    return orjson.dumps(row)


def unpack(seq: int, packed: bytes) -> Event:
    """The EVENTS row of JSON bytes, its times aware, with its place in the inbox as `seq`."""
    row: Event = orjson.loads(packed)
    row["timestamp"] = datetime.fromisoformat(row["timestamp"])
    row["received_at"] = datetime.fromisoformat(row["received_at"])
    row["seq"] = seq
    return row


def add_events(connection: Connection, rows: Iterable[Mapping[str, Any]], now: datetime) -> int:
    """Puts rows into the inbox, except those whose message id was seen before; returns how many were new."""
    by_id: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        by_id.setdefault(row["message_id"], row)
    if not by_id:
        return 0
    fresh = claim_ids(connection, by_id, now)
    values = [
        {
            "message_id": message_id,
            "customer_id": row["customer_id"],
            "received_at": row["received_at"],
            "row": pack(row),
        }
        for message_id, row in by_id.items()
        if message_id in fresh
    ]
    if values:
        connection.execute(insert(inbox), values)
    return len(values)


def claim_ids(connection: Connection, ids: Iterable[str], now: datetime) -> set[str]:
    """Those of these ids that were not seen before; from now on they are."""
    build = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    # In their order, so that two writers that meet on the same ids cannot wait for each other.
    seen = [{"message_id": message_id, "seen_at": now} for message_id in sorted(ids)]
    claim = build(message_ids).on_conflict_do_nothing().returning(message_ids.c.message_id)
    return set(connection.execute(claim, seen).scalars()) if seen else set()


def waiting(connection: Connection, limit: int) -> list[Event]:
    """The oldest events whose effects are still to be made."""
    return _events(connection, inbox.c.applied_at.is_(None), limit)


def without_features(connection: Connection, limit: int) -> list[Event]:
    """The oldest applied events that the online features have not seen."""
    return _events(connection, and_(inbox.c.features_at.is_(None), inbox.c.applied_at.is_not(None)), limit)


def anything_to_do(connection: Connection) -> bool:
    """Whether an event waits for its effects or its features."""
    return connection.execute(select(inbox.c.seq).where(inbox.c.features_at.is_(None)).limit(1)).first() is not None


def mark_applied(connection: Connection, seqs: Sequence[int], now: datetime) -> None:
    """Notes that these events' effects are in the state."""
    for some in slices(seqs):
        connection.execute(update(inbox).where(inbox.c.seq.in_(some)).values(applied_at=now))


def mark_features(connection: Connection, seqs: Sequence[int], now: datetime) -> None:
    """Notes that these events are in the online features."""
    for some in slices(seqs):
        connection.execute(update(inbox).where(inbox.c.seq.in_(some)).values(features_at=now))


def replace_rows(connection: Connection, events: Sequence[Event]) -> None:
    """Writes changed events back (their customer became known)."""
    if not events:
        return
    statement = (
        update(inbox)
        .where(inbox.c.seq == bindparam("at_seq"))
        .values(customer_id=bindparam("to_customer"), row=bindparam("to_row"))
    )
    values = [
        {
            "at_seq": event["seq"],
            "to_customer": event["customer_id"],
            "to_row": pack({key: value for key, value in event.items() if key not in _OF_A_PASS}),
        }
        for event in events
    ]
    connection.execute(statement, values)


def of_customers(
    connection: Connection,
    customer_ids: Sequence[str],
    limit: int | None = None,
    fed: bool = False,
    applied: bool = False,
) -> list[Event]:
    """What the inbox still holds of these customers, newest last; with a limit, the newest.

    `fed` leaves out what the online features have not seen, `applied` whose effects are still to be made.
    """
    rows = select(inbox.c.seq, inbox.c.row).where(inbox.c.customer_id.in_(customer_ids))
    rows = rows.where(inbox.c.features_at.is_not(None)) if fed else rows
    rows = rows.where(inbox.c.applied_at.is_not(None)) if applied else rows
    found = connection.execute(rows.order_by(inbox.c.seq.desc()).limit(limit)).all()
    return [unpack(seq, packed) for seq, packed in reversed(found)]


def held_of(connection: Connection, customer_ids: Sequence[str]) -> set[str]:
    """Those of these customers of whom the inbox, or what was set aside, holds anything."""
    return set().union(*(those_in(connection, of.c.customer_id, customer_ids) for of in (inbox, event_quarantine)))


def claims_wait(connection: Connection, customer_ids: Sequence[str]) -> bool:
    """Whether an event of these customers that joins another id to theirs waits for its effects."""
    rows = select(inbox.c.row).where(inbox.c.applied_at.is_(None), inbox.c.customer_id.in_(customer_ids))
    held = (orjson.loads(packed) for packed in connection.execute(rows).scalars())
    return any(
        row["type"] in {"identify", "alias"} and row["anonymous_id"] not in {None, row["customer_id"]} for row in held
    )


def with_open_clicks(connection: Connection, customer_ids: Collection[str], limit: int) -> set[str]:
    """Those of these customers with a click that counts as a person's among the newest `limit` events held.

    Told from the packed bytes: most that are asked about have none, and reading every row would cost them more.
    """
    rows = select(inbox.c.customer_id, inbox.c.row).where(inbox.c.customer_id.in_(customer_ids))
    found = connection.execute(rows.order_by(inbox.c.seq.desc()).limit(limit))
    return {customer for customer, packed in found if _PERSONS in packed and any(name in packed for name in _CLICKED)}


def rekey(connection: Connection, owners: Mapping[str, str]) -> None:
    """Gives the inbox's events of the key customers to the value customers.

    Those that wait for their effects are left: what comes before them may lead the id on to somebody else.
    """
    for some in slices(sorted(owners)):
        events = of_customers(connection, some, applied=True)
        for event in events:
            event["customer_id"] = owners[event["customer_id"]]
        replace_rows(connection, events)


def anything_settled(connection: Connection) -> bool:
    """Whether an event has had all its effects and is in no part yet."""
    return connection.execute(select(inbox.c.seq).where(_SETTLED).limit(1)).first() is not None


def assign_part(connection: Connection, limit: int) -> str | None:
    """Fixes which settled events go into the next part of the log, and its name; None when there are none."""
    seqs = connection.execute(select(inbox.c.seq).where(_SETTLED).order_by(inbox.c.seq).limit(limit)).scalars().all()
    if not seqs:
        return None
    # The random end keeps a new database from replacing the parts that an earlier one has written.
    part = f"inbox-{seqs[0]:012d}-{secrets.token_hex(4)}"
    for some in slices(seqs):
        connection.execute(update(inbox).where(inbox.c.seq.in_(some)).values(part=part))
    return part


def open_parts(connection: Connection) -> list[str]:
    """Parts that were fixed and may not be written yet, oldest first."""
    rows = select(inbox.c.part).where(inbox.c.part.is_not(None)).group_by(inbox.c.part)
    return list(connection.execute(rows.order_by(func.min(inbox.c.seq))).scalars())


def of_part(connection: Connection, part: str) -> list[Event]:
    """The events of a part."""
    return _events(connection, inbox.c.part == part, None)


def drop_part(connection: Connection, part: str) -> int:
    """Removes the events of a part that is in the log."""
    return connection.execute(delete(inbox).where(inbox.c.part == part)).rowcount


def forget_ids(connection: Connection, seen_before: datetime, most: int) -> int:
    """Forgets message ids that are too old to come again, so many at once at most; returns how many."""
    old = select(message_ids.c.message_id).where(message_ids.c.seen_at < seen_before)
    some = old.order_by(message_ids.c.seen_at).limit(most)
    return connection.execute(delete(message_ids).where(message_ids.c.message_id.in_(some))).rowcount


def quarantine(connection: Connection, event: Event, stage: str, reason: str, now: datetime) -> None:
    """Sets an event aside, with the stage at which it failed and why."""
    row = {key: value for key, value in event.items() if key not in _OF_A_PASS}
    record = {
        "message_id": event["message_id"],
        "customer_id": event["customer_id"],
        "stage": stage,
        "reason": reason[:2000],
        "row": pack(row),
        "at": now,
    }
    upsert(connection, event_quarantine, [record])


def quarantined(connection: Connection) -> int:
    """How many events are set aside."""
    return connection.execute(select(func.count()).select_from(event_quarantine)).scalar_one()


def remove(connection: Connection, seqs: Sequence[int]) -> None:
    """Takes events out of the inbox."""
    for some in slices(seqs):
        connection.execute(delete(inbox).where(inbox.c.seq.in_(some)))


def requeue(connection: Connection, now: datetime) -> int:
    """Puts every event that is set aside back into the inbox, for another try from where it failed."""
    held = connection.execute(select(event_quarantine)).all()
    for some in slices(held):
        ids = [record.message_id for record in some]
        present = select(inbox.c.message_id).where(inbox.c.message_id.in_(ids))
        there = list(connection.execute(present).scalars())
        again = [record.message_id for record in some if record.stage == FEATURES and record.message_id in there]
        connection.execute(update(inbox).where(inbox.c.message_id.in_(again)).values(features_at=None))
        values = [
            {
                "message_id": record.message_id,
                "customer_id": record.customer_id,
                "received_at": now,
                "row": record.row,
                "applied_at": now if record.stage == FEATURES else None,
            }
            for record in some
            if record.message_id not in there
        ]
        if values:
            connection.execute(insert(inbox), values)
    connection.execute(delete(event_quarantine))
    return len(held)


def erase_customers(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Removes what the inbox and the quarantine hold of these customers; message ids stay, they name nobody."""
    gone = 0
    for table in (inbox, event_quarantine):
        for some in slices(customer_ids):
            gone += connection.execute(delete(table).where(table.c.customer_id.in_(some))).rowcount
    return gone


def backlog(connection: Connection) -> tuple[int, int]:
    """(events that wait for their effects, events that were set aside): for readiness and metrics."""
    unapplied = select(func.count()).select_from(inbox).where(inbox.c.applied_at.is_(None))
    return connection.execute(unapplied).scalar_one(), quarantined(connection)


def oldest_waiting(connection: Connection) -> datetime | None:
    """When the oldest event came in that waits for its effects or its features; None where none does."""
    first = select(inbox.c.received_at).where(inbox.c.features_at.is_(None)).order_by(inbox.c.seq).limit(1)
    return connection.execute(first).scalar_one_or_none()


def newest(connection: Connection) -> int:
    """The place of the newest event; 0 for an empty inbox."""
    return int(connection.execute(select(func.coalesce(func.max(inbox.c.seq), 0))).scalar_one())


def has_moved(connection: Connection, seq: int) -> bool:
    """Whether every event up to this place is in the log."""
    return connection.execute(select(inbox.c.seq).where(inbox.c.seq <= seq).limit(1)).first() is None


def size(connection: Connection) -> int:
    """How many events are in the inbox."""
    return connection.execute(select(func.count()).select_from(inbox)).scalar_one()


def _events(connection: Connection, condition: Any, limit: int | None) -> list[Event]:
    rows = select(inbox.c.seq, inbox.c.row).where(condition).order_by(inbox.c.seq).limit(limit)
    return [unpack(seq, packed) for seq, packed in connection.execute(rows)]

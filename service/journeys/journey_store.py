"""SQL of journeys, their immutable versions, and the counts of their steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Integer, String, Table, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from service.journeys.arrival_store import plain
from service.storage.database import Connection, Json, UtcTime, metadata, upsert

journeys = Table(
    "journeys",
    metadata,
    Column("journey_id", String, primary_key=True),
    Column("status", String, nullable=False),  # draft active paused archived
    Column("version", Integer, nullable=False),
    Column("entry_event", String),
    Column("entry_segment", String),
    Column("created_at", UtcTime, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
)

journey_versions = Table(
    "journey_versions",
    metadata,
    Column("journey_id", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("definition", Json, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("made_by", String),
)

journey_counts = Table(
    "journey_counts",
    metadata,
    Column("journey_id", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("step", String, primary_key=True),  # "" is the journey as a whole
    Column("name", String, primary_key=True),
    Column("value", BigInteger, nullable=False),
    Column("first_at", UtcTime, nullable=False),
    Column("last_at", UtcTime, nullable=False),
)


@dataclass(frozen=True, slots=True)
class JourneyRow:
    """A journey and its newest version."""

    journey_id: str
    status: str
    version: int
    entry_event: str | None
    entry_segment: str | None
    created_at: datetime
    changed_at: datetime


@dataclass(frozen=True, slots=True)
class Count:
    """How often something happened at a step, and when first and last."""

    version: int
    step: str
    name: str
    value: int
    first_at: datetime
    last_at: datetime


def find_journey(connection: Connection, journey_id: str, lock: bool = False) -> JourneyRow | None:
    """One journey; with `lock` no other transaction may change it before this one ends."""
    wanted = select(journeys).where(journeys.c.journey_id == journey_id)
    row = connection.execute(wanted.with_for_update() if lock else wanted).one_or_none()
    return None if row is None else JourneyRow(**row._mapping)


def lock_journeys(connection: Connection, journey_ids: Collection[str]) -> dict[str, JourneyRow]:
    """These as they are now, locked in one order: no other transaction changes them, or lets in, meanwhile."""
    if not journey_ids:
        return {}
    wanted = select(journeys).where(journeys.c.journey_id.in_(journey_ids)).order_by(journeys.c.journey_id)
    return {row.journey_id: JourneyRow(**row._mapping) for row in connection.execute(wanted.with_for_update())}


def list_journeys(connection: Connection, status: str | None = None) -> list[JourneyRow]:
    """Every journey, or those of one status, by id."""
    wanted = select(journeys).order_by(journeys.c.journey_id)
    if status is not None:
        wanted = wanted.where(journeys.c.status == status)
    return [JourneyRow(**row._mapping) for row in connection.execute(wanted)]


def add_version(
    connection: Connection,
    journey_id: str,
    definition: Mapping[str, Any],
    entry: tuple[str | None, str | None],
    now: datetime,
    made_by: str | None,
) -> JourneyRow:
    """Stores the next version; a new journey is a draft."""
    fresh = {
        "journey_id": journey_id,
        "status": "draft",
        "version": 0,
        "entry_event": None,
        "entry_segment": None,
        "created_at": now,
        "changed_at": now,
    }
    upsert(connection, journeys, [fresh], update=())
    connection.execute(
        update(journeys)
        .where(journeys.c.journey_id == journey_id)
        .values(version=journeys.c.version + 1, entry_event=entry[0], entry_segment=entry[1], changed_at=now)
    )
    row = find_journey(connection, journey_id)
    assert row is not None
    connection.execute(
        journey_versions.insert().values(
            journey_id=journey_id, version=row.version, definition=dict(definition), made_at=now, made_by=made_by
        )
    )
    return row


def read_version(connection: Connection, journey_id: str, version: int) -> dict[str, Any] | None:
    """One version's definition in canonical JSON."""
    found = connection.execute(
        select(journey_versions.c.definition).where(
            journey_versions.c.journey_id == journey_id, journey_versions.c.version == version
        )
    ).scalar_one_or_none()
    return None if found is None else dict(found)


def list_versions(connection: Connection, journey_id: str) -> list[dict[str, Any]]:
    """`{"version", "made_at", "made_by"}` of each version, oldest first."""
    columns = (journey_versions.c.version, journey_versions.c.made_at, journey_versions.c.made_by)
    wanted = select(*columns).where(journey_versions.c.journey_id == journey_id)
    return [plain(row) for row in connection.execute(wanted.order_by(journey_versions.c.version))]


def set_status(connection: Connection, journey_id: str, status: str, now: datetime) -> None:
    """Moves a journey to another status."""
    connection.execute(
        update(journeys).where(journeys.c.journey_id == journey_id).values(status=status, changed_at=now)
    )


def add_counts(connection: Connection, counts: Mapping[tuple[str, int, str, str], int], at: datetime) -> None:
    """Adds to the counts of (journey, version, step, name); in one order, so that two writers never lock each other."""
    if not counts:
        return
    build = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    statement: Any = build(journey_counts)
    statement = statement.on_conflict_do_update(
        index_elements=[column.name for column in journey_counts.primary_key],
        set_={
            "value": journey_counts.c.value + statement.excluded.value,
            "last_at": statement.excluded.last_at,
        },
    )
    rows = [
        {
            "journey_id": journey,
            "version": version,
            "step": step,
            "name": name,
            "value": value,
            "first_at": at,
            "last_at": at,
        }
        for (journey, version, step, name), value in sorted(counts.items())
    ]
    connection.execute(statement, rows)


def read_counts(connection: Connection, journey_id: str, version: int | None = None) -> Sequence[Count]:
    """The counts of a journey's steps, of one version or of all together (then `version` is 0)."""
    key = (journey_counts.c.step, journey_counts.c.name)
    wanted = select(
        *key,
        func.sum(journey_counts.c.value).label("value"),
        func.min(journey_counts.c.first_at).label("first_at"),
        func.max(journey_counts.c.last_at).label("last_at"),
    ).where(journey_counts.c.journey_id == journey_id)
    if version is not None:
        wanted = wanted.where(journey_counts.c.version == version)
    rows = connection.execute(wanted.group_by(*key).order_by(*key))
    return [Count(version or 0, row.step, row.name, int(row.value), row.first_at, row.last_at) for row in rows]

"""What each background loop did last, so that a stalled one is seen (`/health/ready`)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Connection, String, Table, select, update

from service.clock import CLOCKS_APART
from service.storage.database import Json, UtcTime, metadata, upsert

heartbeats = Table(
    "heartbeats",
    metadata,
    Column("name", String, primary_key=True),
    Column("at", UtcTime, nullable=False),
    Column("seen", UtcTime, nullable=False),
    Column("detail", Json, nullable=False),
)


def beat(connection: Connection, name: str, at: datetime, seen: datetime, detail: Mapping[str, Any]) -> None:
    """Notes that loop `name` finished a pass at `at` (the service's clock, maybe simulated) and `seen` (real)."""
    upsert(connection, heartbeats, [{"name": name, "at": at, "seen": seen, "detail": dict(detail)}])


def touch(connection: Connection, name: str, seen: datetime) -> None:
    """Notes that loop `name` is at work on a pass that takes long; of one that never finished any, nothing."""
    connection.execute(update(heartbeats).where(heartbeats.c.name == name).values(seen=seen))


def read_all(connection: Connection) -> dict[str, dict[str, Any]]:
    """The last pass of every loop: `{"journeys": {"at", "seen", **detail}}`."""
    rows = connection.execute(select(heartbeats)).all()
    return {row.name: {"at": row.at, "seen": row.seen, **row.detail} for row in rows}


def is_silent(seen: datetime, now: datetime, longest: timedelta) -> bool:
    """Whether a loop was seen longer ago than that; one seen later than now, by a clock ahead of ours, is, too."""
    return not -CLOCKS_APART <= now - seen <= longest

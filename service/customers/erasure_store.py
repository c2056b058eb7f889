"""Erasures: what is asked, and, once done, only what was erased, with no name left."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Column, String, Table, func, insert, select, update

from service.customers.customer_store import first_seen_of
from service.storage.database import Connection, Json, UtcTime, metadata

erasures = Table(
    "erasures",
    metadata,
    Column("erasure_id", String, primary_key=True),
    Column("requested_at", UtcTime, nullable=False),
    Column("done_at", UtcTime, index=True),
    Column("customer_ids", Json, nullable=False),
    Column("erased", Json, nullable=False),
)


def begin_erasure(
    connection: Connection, erasure_id: str, customer_ids: list[str], erased: dict[str, int], now: datetime
) -> None:
    """Notes whose events and features are still to go."""
    row = {"erasure_id": erasure_id, "requested_at": now, "customer_ids": customer_ids, "erased": erased}
    connection.execute(insert(erasures).values(**row))


def open_erasures(connection: Connection) -> list[tuple[str, list[str]]]:
    """(erasure, customer ids) of those not finished, oldest first."""
    rows = select(erasures.c.erasure_id, erasures.c.customer_ids).where(erasures.c.done_at.is_(None))
    return [(row.erasure_id, row.customer_ids) for row in connection.execute(rows.order_by(erasures.c.erasure_id))]


def gone_since(connection: Connection, since: Mapping[str, datetime]) -> set[str]:
    """Those of whom nothing is known from before the time beside them, if anybody was erased since: whom, nobody keeps.

    A profile that is younger may be that of somebody who was erased and came again.
    """
    last: datetime | None = connection.execute(select(func.max(erasures.c.requested_at, type_=UtcTime))).scalar_one()
    asked = [name for name, at in since.items() if last is not None and at <= last]
    seen = first_seen_of(connection, asked)
    return {name for name in asked if name not in seen or seen[name] > since[name]}


def newest_erasure(connection: Connection) -> str | None:
    """The one that was asked for last, finished or not."""
    newest: str | None = connection.execute(select(func.max(erasures.c.erasure_id))).scalar_one()
    return newest


def finish_erasure(connection: Connection, erasure_id: str, more: dict[str, int], now: datetime) -> None:
    """Adds what the last steps erased, and forgets whom it was about."""
    erased = {**read_erasure(connection, erasure_id)[1], **more}
    done = update(erasures).where(erasures.c.erasure_id == erasure_id)
    connection.execute(done.values(done_at=now, customer_ids=[], erased=erased))


def read_erasure(connection: Connection, erasure_id: str) -> tuple[bool, dict[str, Any]]:
    """Whether it is done, and what it erased so far."""
    found = select(erasures.c.done_at, erasures.c.erased).where(erasures.c.erasure_id == erasure_id)
    row = connection.execute(found).one()
    return row.done_at is not None, row.erased

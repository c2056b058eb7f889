"""What each check of served features against the event log found. SQL only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Table, delete, select

from service.decisions.decision_store import decisions
from service.storage.database import Connection, Json, UtcTime, metadata, upsert

skew_checks = Table(
    "skew_checks",
    metadata,
    Column("at", UtcTime, primary_key=True),
    Column("report", Json, nullable=False),
)
_KEPT = 500


def add_check(connection: Connection, at: datetime, report: Mapping[str, Any]) -> None:
    """Keeps what a check found; the oldest go."""
    upsert(connection, skew_checks, [{"at": at, "report": dict(report)}])
    oldest = select(skew_checks.c.at).order_by(skew_checks.c.at.desc()).offset(_KEPT).limit(1).scalar_subquery()
    connection.execute(delete(skew_checks).where(skew_checks.c.at <= oldest))


def latest_checks(connection: Connection, most: int) -> list[tuple[datetime, dict[str, Any]]]:
    """The newest checks, newest first."""
    query = select(skew_checks).order_by(skew_checks.c.at.desc()).limit(most)
    return [(row.at, row.report) for row in connection.execute(query)]


def ids_between(connection: Connection, first: datetime, last: datetime, most: int) -> list[tuple[str, str, datetime]]:
    """(decision, customer, time) of the newest decisions of a span."""
    columns = (decisions.c.decision_id, decisions.c.customer_id, decisions.c.decided_at)
    span = decisions.c.decided_at.between(first, last)
    query = select(*columns).where(span).order_by(decisions.c.decided_at.desc()).limit(most)
    return [(row.decision_id, row.customer_id, row.decided_at) for row in connection.execute(query)]


def any_between(connection: Connection, first: datetime, last: datetime) -> bool:
    """Whether there are decisions in a span."""
    return bool(ids_between(connection, first, last, 1))

"""What each check of served features against the event log found. SQL only."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from random import Random
from typing import Any

from sqlalchemy import Column, Table, delete, func, select

from service.decisions.decision_store import decisions
from service.storage.database import Connection, Json, UtcTime, metadata, upsert

skew_checks = Table(
    "skew_checks",
    metadata,
    Column("at", UtcTime, primary_key=True),
    Column("report", Json, nullable=False),
)
_KEPT = 500
PIECES = 100
BURST = 10
"""How many times its share a piece may have, where a campaign was decided at once."""


def add_check(connection: Connection, at: datetime, report: Mapping[str, Any]) -> None:
    """Keeps what a check found; the oldest go, and those of a clock that was ahead: they would be the newest."""
    upsert(connection, skew_checks, [{"at": at, "report": dict(report)}])
    connection.execute(delete(skew_checks).where(skew_checks.c.at > at))
    oldest = select(skew_checks.c.at).order_by(skew_checks.c.at.desc()).offset(_KEPT).limit(1).scalar_subquery()
    connection.execute(delete(skew_checks).where(skew_checks.c.at <= oldest))


def latest_checks(connection: Connection, most: int) -> list[tuple[datetime, dict[str, Any]]]:
    """The newest checks, newest first."""
    query = select(skew_checks).order_by(skew_checks.c.at.desc()).limit(most)
    return [(row.at, row.report) for row in connection.execute(query)]


def ids_between(
    connection: Connection, first: datetime, last: datetime, most: int, seed: float = 0.0
) -> list[tuple[str, str, datetime]]:
    """(decision, customer, time) of decisions of a span, newest first: all, or about `most`, each as likely.

    Of more they are those of PIECES short times spread over the whole span, so that the hour at which this is asked
    does not decide who is looked at.
    """
    within = decisions.c.decided_at.between(first, last)
    made = int(connection.execute(select(func.count()).select_from(decisions).where(within)).scalar_one())
    if made <= most:
        return newest_between(connection, first, last, most)
    random, piece = Random(seed), (last - first) / PIECES
    long, found = piece * (most / made), list[tuple[str, str, datetime]]()
    for place in reversed(range(PIECES)):
        start = first + piece * place + (piece - long) * random.random()
        found += newest_between(connection, start, start + long, BURST * most // PIECES)
    return found


def newest_between(
    connection: Connection, first: datetime, last: datetime, most: int
) -> list[tuple[str, str, datetime]]:
    """(decision, customer, time) of the newest decisions of a span."""
    columns = (decisions.c.decision_id, decisions.c.customer_id, decisions.c.decided_at)
    span = decisions.c.decided_at.between(first, last)
    query = select(*columns).where(span).order_by(decisions.c.decided_at.desc()).limit(most)
    return [(row.decision_id, row.customer_id, row.decided_at) for row in connection.execute(query)]


def any_between(connection: Connection, first: datetime, last: datetime) -> bool:
    """Whether there are decisions in a span."""
    return bool(newest_between(connection, first, last, 1))

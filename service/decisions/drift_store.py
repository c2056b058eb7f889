"""What checks of drift found, and what challengers would have said. SQL only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Column, Float, Index, String, Table, delete, func, select

from service.decisions.decision_store import decisions
from service.decisions.outcome_store import RESPONSES, outcomes
from service.storage.database import Connection, Json, UtcTime, metadata, upsert

drift_checks = Table(
    "drift_checks",
    metadata,
    Column("at", UtcTime, primary_key=True),
    Column("report", Json, nullable=False),
)
shadow_scores = Table(
    "shadow_scores",
    metadata,
    Column("model", String, primary_key=True),
    Column("version", String, primary_key=True),
    Column("decision_id", String, primary_key=True),
    Column("customer_id", String, nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("score", Float, nullable=False),
    Column("champion", String),
    Column("champion_score", Float),
    Index("ix_shadow_scores_customer", "customer_id"),
    Index("ix_shadow_scores_decided", "model", "version", "decided_at"),
)
_KEPT = 200


def add_drift_check(connection: Connection, at: datetime, report: Mapping[str, Any]) -> None:
    """Keeps what a check found; the oldest go, and those of a clock that was ahead: they would be the newest."""
    upsert(connection, drift_checks, [{"at": at, "report": dict(report)}])
    connection.execute(delete(drift_checks).where(drift_checks.c.at > at))
    oldest = select(drift_checks.c.at).order_by(drift_checks.c.at.desc()).offset(_KEPT).limit(1).scalar_subquery()
    connection.execute(delete(drift_checks).where(drift_checks.c.at <= oldest))


def latest_drift(connection: Connection) -> dict[str, Any] | None:
    """The newest report that was kept."""
    query = select(drift_checks.c.report).order_by(drift_checks.c.at.desc()).limit(1)
    found: dict[str, Any] | None = connection.execute(query).scalar_one_or_none()
    return found


def add_shadow_scores(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes scores; one that is there already stays as it is."""
    if rows:
        upsert(connection, shadow_scores, rows, update=())


def newest_shadow(connection: Connection, model: str, version: str, now: datetime) -> datetime | None:
    """The time of the newest decision that this challenger has scored, of those up to now."""
    mine = (shadow_scores.c.model == model) & (shadow_scores.c.version == version) & (shadow_scores.c.decided_at <= now)
    found: datetime | None = connection.execute(select(func.max(shadow_scores.c.decided_at)).where(mine)).scalar_one()
    return found


def read_shadow(connection: Connection, model: str, version: str, before: datetime, most: int) -> list[Any]:
    """The newest scores of a challenger on decisions before a time."""
    mine = (shadow_scores.c.model == model) & (shadow_scores.c.version == version)
    query = select(shadow_scores).where(mine & (shadow_scores.c.decided_at < before))
    return list(connection.execute(query.order_by(shadow_scores.c.decided_at.desc()).limit(most)))


def tidy_shadow(connection: Connection, before: datetime) -> None:
    """Drops the scores of decisions before a time."""
    connection.execute(delete(shadow_scores).where(shadow_scores.c.decided_at < before))


def erase_shadow(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Drops a customer's scores, given all their ids; answers how many."""
    return connection.execute(delete(shadow_scores).where(shadow_scores.c.customer_id.in_(list(customer_ids)))).rowcount


def responses(connection: Connection, decision_ids: Sequence[str], within: timedelta) -> dict[str, bool]:
    """Of these decisions those whose first offer was delivered, and whether a person then ordered or redeemed it within
    a time: as much as was promised of them. Who answers another offer of a decision does not answer its first.
    """
    found: dict[str, bool] = {}
    query = select(outcomes.c.decision_id, outcomes.c.kind, outcomes.c.at, decisions.c.decided_at).where(
        outcomes.c.decision_id == decisions.c.decision_id,
        outcomes.c.offer_id == decisions.c.offer_id,
        outcomes.c.machine.is_(False),
        outcomes.c.kind.in_(("delivered", *RESPONSES)),
    )
    delivered: set[str] = set()
    for start in range(0, len(decision_ids), 500):
        for row in connection.execute(query.where(outcomes.c.decision_id.in_(decision_ids[start : start + 500]))):
            if row.kind == "delivered":
                delivered.add(row.decision_id)
            kept = row.kind in RESPONSES and row.at < row.decided_at + within
            found[row.decision_id] = found.get(row.decision_id, False) or kept
    return {decision_id: kept for decision_id, kept in found.items() if decision_id in delivered}

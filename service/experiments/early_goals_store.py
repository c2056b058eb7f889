"""Goals that came before the event that tells the exposure: kept until it comes, or for a week. SQL only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import Column, Float, Index, String, Table, delete, select, update

from service.experiments.definition import Metric
from service.storage.database import Connection, UtcTime, any_key, metadata, upsert

KEPT = timedelta(days=7)
early_goals = Table(
    "experiment_early_goals",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("experiment_id", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("customer_id", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("amount", Float(53), nullable=False),
    Column("came_at", UtcTime, nullable=False),
    Index("ix_experiment_early_goals_customer_id", "customer_id"),
    Index("ix_experiment_early_goals_came_at", "came_at"),
)
_CHUNK = 500
Subject = tuple[str, str]
"""An experiment and a customer."""


@dataclass(frozen=True, slots=True)
class EarlyGoal:
    """What an event would count for; `metric` as it is stored, `came_at` when the event was received."""

    message_id: str
    experiment_id: str
    metric: str
    customer_id: str
    at: datetime
    amount: float
    came_at: datetime


def keep_early(connection: Connection, goals: Sequence[EarlyGoal]) -> None:
    """Keeps these; those that have waited too long go."""
    if goals:
        upsert(connection, early_goals, [asdict(goal) for goal in goals], update=())
        newest = max(goal.came_at for goal in goals)
        connection.execute(delete(early_goals).where(early_goals.c.came_at < newest - KEPT))


def take_early(connection: Connection, subjects: Collection[Subject]) -> list[EarlyGoal]:
    """Removes and returns what is kept of these subjects."""
    wanted, found = sorted((customer, experiment) for experiment, customer in subjects), []
    for start in range(0, len(wanted), _CHUNK):
        columns = (early_goals.c.customer_id, early_goals.c.experiment_id)
        mine = any_key(columns, wanted[start : start + _CHUNK])
        found += [EarlyGoal(**row) for row in connection.execute(select(early_goals).where(mine)).mappings()]
        connection.execute(delete(early_goals).where(mine))
    return found


def forget_early(connection: Connection, message_ids: Sequence[str]) -> None:
    """Removes what these events would count for."""
    for start in range(0, len(message_ids), _CHUNK):
        some = message_ids[start : start + _CHUNK]
        connection.execute(delete(early_goals).where(early_goals.c.message_id.in_(some)))


def drop_early(connection: Connection, experiment_id: str, metrics: Sequence[Metric]) -> None:
    """Removes what is kept for these metrics of an experiment."""
    names = [name for metric in metrics for name in (metric.name, metric.below)]
    mine = (early_goals.c.experiment_id == experiment_id) & early_goals.c.metric.in_(names)
    connection.execute(delete(early_goals).where(mine))


def move_early(connection: Connection, from_id: str, to_id: str) -> None:
    """Gives what is kept of one id of a person to another."""
    mine = early_goals.c.customer_id == from_id
    connection.execute(update(early_goals).where(mine).values(customer_id=to_id))


def erase_early(connection: Connection, customer_id: str) -> None:
    """Removes what is kept of a customer: nobody was exposed, so it is in no aggregate."""
    connection.execute(delete(early_goals).where(early_goals.c.customer_id == customer_id))

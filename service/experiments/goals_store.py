"""What events count for, one by one: for a week, so that an exposure or a person told late finds them; what an order
counts for, for half a year, so that its refund does. SQL only.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Float, Index, String, Table, delete, select, update

from service.experiments.definition import Metric
from service.storage.database import Connection, UtcTime, any_key, metadata, upsert

KEPT = timedelta(days=7)
ORDERS_KEPT = timedelta(days=180)
goals = Table(
    "experiment_goals",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("experiment_id", String, primary_key=True),
    Column("metric", String, primary_key=True),
    Column("customer_id", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("amount", Float(53), nullable=False),
    Column("kept_until", UtcTime, nullable=False),
    Column("order_id", String),
    Column("cents", BigInteger),
    Column("times", BigInteger, nullable=False),
    Column("counted", Float(53), nullable=False),
    Index("ix_experiment_goals_customer_id", "customer_id"),
    Index("ix_experiment_goals_kept_until", "kept_until"),
)
_COLUMNS = tuple(goals.c.keys())
_CHUNK = 500
Subject = tuple[str, str]
"""An experiment and a customer."""
Order = tuple[str, str]
"""A customer, and the id of an order of theirs."""
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Goal:
    """An event that a metric waits for; `metric` as it is stored.

    `order_id` where it tells an order, `cents` what that was worth, of the home currency. `times` and `counted`: what
    it counts for now, in the subject's sums.
    """

    message_id: str
    experiment_id: str
    metric: str
    customer_id: str
    at: datetime
    amount: float
    kept_until: datetime
    order_id: str | None = None
    cents: int | None = None
    times: int = 0
    counted: float = 0.0

    @property
    def key(self) -> Key:
        return self.message_id, self.experiment_id, self.metric


def save_goals(connection: Connection, changed: Sequence[Goal]) -> None:
    """Writes goals, new or changed."""
    upsert(connection, goals, [_row(goal) for goal in sorted(changed, key=lambda goal: goal.key)])


def _row(goal: Goal) -> dict[str, Any]:
    return {name: getattr(goal, name) for name in _COLUMNS}  # `asdict` copies each value, which takes longer than SQL


def forget_goals(connection: Connection, now: datetime) -> None:
    """Removes what is kept no longer; what it counts for stays in the sums."""
    connection.execute(delete(goals).where(goals.c.kept_until < now))


def goals_of(connection: Connection, subjects: Collection[Subject]) -> list[Goal]:
    """What is kept of these subjects."""
    wanted = sorted((customer, experiment) for experiment, customer in subjects)
    return _found(connection, (goals.c.customer_id, goals.c.experiment_id), wanted)


def goals_of_orders(connection: Connection, orders: Collection[Order]) -> list[Goal]:
    """What is kept of these orders."""
    return _found(connection, (goals.c.customer_id, goals.c.order_id), sorted(orders))


def goals_told_by(connection: Connection, message_ids: Iterable[str]) -> list[Goal]:
    """What is kept of these events."""
    wanted, found = sorted(set(message_ids)), list[Goal]()
    for start in range(0, len(wanted), _CHUNK):
        found += _read(connection, goals.c.message_id.in_(wanted[start : start + _CHUNK]))
    return found


def remove_goals(connection: Connection, keys: Sequence[Key]) -> None:
    """Removes these."""
    columns = (goals.c.message_id, goals.c.experiment_id, goals.c.metric)
    for start in range(0, len(keys), _CHUNK):
        connection.execute(delete(goals).where(any_key(columns, keys[start : start + _CHUNK])))


def drop_goals(connection: Connection, experiment_id: str, metrics: Sequence[Metric]) -> None:
    """Removes what is kept for these metrics of an experiment."""
    names = [name for metric in metrics for name in (metric.name, metric.below)]
    mine = (goals.c.experiment_id == experiment_id) & goals.c.metric.in_(names)
    connection.execute(delete(goals).where(mine))


def goals_of_customer(connection: Connection, customer_id: str) -> list[Goal]:
    """What is kept of a customer."""
    return _read(connection, goals.c.customer_id == customer_id)


def move_goals(connection: Connection, from_id: str, to_id: str) -> None:
    """Gives what is kept of one id of a person to another."""
    connection.execute(update(goals).where(goals.c.customer_id == from_id).values(customer_id=to_id))


def erase_goals(connection: Connection, customer_id: str) -> None:
    """Removes what is kept of a customer; what it counts for is in the sums, which name nobody."""
    connection.execute(delete(goals).where(goals.c.customer_id == customer_id))


def _found(
    connection: Connection, columns: Sequence[ColumnElement[str]], wanted: Sequence[tuple[str, ...]]
) -> list[Goal]:
    found: list[Goal] = []
    for start in range(0, len(wanted), _CHUNK):
        found += _read(connection, any_key(columns, wanted[start : start + _CHUNK]))
    return found


def _read(connection: Connection, mine: ColumnElement[bool]) -> list[Goal]:
    return [Goal(**row) for row in connection.execute(select(goals).where(mine)).mappings()]

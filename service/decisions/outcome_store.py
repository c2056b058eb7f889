"""What came of decisions. SQL only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    String,
    Table,
    and_,
    bindparam,
    delete,
    select,
    tuple_,
    update,
)

from service.storage.database import Connection, UtcTime, metadata, upsert

outcomes = Table(
    "outcomes",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("kind", String, primary_key=True),
    Column("decision_id", String, nullable=False),
    Column("customer_id", String, nullable=False),
    Column("offer_id", String),
    Column("channel", String),
    Column("at", UtcTime, nullable=False),
    Column("value_cents", BigInteger),
    Column("machine", Boolean, nullable=False),
    Column("order_id", String),
    Index("ix_outcomes_decision", "decision_id"),
    Index("ix_outcomes_customer", "customer_id"),
)
_OF_DECISION = select(outcomes.c.kind, outcomes.c.offer_id, outcomes.c.machine).where(
    outcomes.c.decision_id == bindparam("b_decision")
)
RESPONSES = ("converted", "redeemed")
"""Outcomes that are what decisions are for."""


def add_outcome(connection: Connection, row: Mapping[str, Any]) -> bool:
    """Writes an outcome; False when it was there already."""
    return upsert(connection, outcomes, [row], update=()) == 1


def responded(connection: Connection, decision_id: str, offer_id: str | None, kinds: Sequence[str]) -> int:
    """How many outcomes of these kinds, none of a machine, were put down to a decision's offer."""
    told = connection.execute(_OF_DECISION, {"b_decision": decision_id})
    return sum(row.kind in kinds and row.offer_id == offer_id and not row.machine for row in told)


def times_of(connection: Connection, customer_id: str, offer_id: str, kind: str) -> list[datetime]:
    """When outcomes of a kind, none of a machine, were put down to decisions of an offer for a customer."""
    where = (outcomes.c.customer_id == customer_id) & (outcomes.c.offer_id == offer_id) & (outcomes.c.kind == kind)
    return list(connection.execute(select(outcomes.c.at).where(where, outcomes.c.machine.is_(False))).scalars())


def delivered_since(connection: Connection, customer_id: str, channel: str, since: datetime) -> bool:
    """Whether a message of a decision reached a customer on a channel at or after a time."""
    where = (outcomes.c.customer_id == customer_id) & (outcomes.c.channel == channel) & (outcomes.c.at >= since)
    return connection.execute(select(1).where(where, outcomes.c.kind == "delivered").limit(1)).first() is not None


def deliveries_told(connection: Connection, decision_ids: Sequence[str]) -> list[Any]:
    """Deliveries of these decisions that were told as such, each with its channel and time."""
    where = outcomes.c.decision_id.in_(list(decision_ids)) & (outcomes.c.kind == "delivered")
    return list(connection.execute(select(outcomes).where(where)))


def withdraw_outcomes(connection: Connection, message_ids: Sequence[str]) -> list[Any]:
    """Tags outcomes as a machine's; returns those that were taken for a person's until now."""
    where = outcomes.c.message_id.in_(list(message_ids)) & outcomes.c.machine.is_(False)
    found = list(connection.execute(select(outcomes).where(where)))
    connection.execute(update(outcomes).where(where).values(machine=True))
    return found


def outcomes_of_order(connection: Connection, customer_id: str, order_id: str) -> list[Any]:
    """What was put down to decisions of a customer's order: it, what was redeemed with it, what was given back."""
    mine = (outcomes.c.customer_id == customer_id) & (outcomes.c.order_id == order_id)
    return list(connection.execute(select(outcomes).where(mine).order_by(outcomes.c.at, outcomes.c.message_id)))


def tell_value(connection: Connection, customer_id: str, order_id: str, value_cents: int) -> None:
    """What an order was worth, where the message that told it first did not say so."""
    mine = (outcomes.c.customer_id == customer_id) & (outcomes.c.order_id == order_id)
    unknown = (outcomes.c.kind == "converted") & outcomes.c.value_cents.is_(None)
    connection.execute(update(outcomes).where(mine, unknown).values(value_cents=value_cents))


def orders_known(connection: Connection, customer_ids: Sequence[str]) -> list[Any]:
    """Orders of these customers that were put down to decisions and whose id is known, given back or not."""
    theirs = outcomes.c.customer_id.in_(list(customer_ids)) & outcomes.c.order_id.is_not(None)
    return list(connection.execute(select(outcomes).where(theirs, outcomes.c.kind.in_(("converted", "returned")))))


def returned(connection: Connection, outcome: Any) -> None:
    """An order's outcome is none any more: all of it was given back."""
    connection.execute(update(outcomes).where(_is(outcome)).values(kind="returned"))


def forget_outcome(connection: Connection, outcome: Any) -> None:
    """Takes an outcome off the record."""
    connection.execute(delete(outcomes).where(_is(outcome)))


def _is(outcome: Any) -> ColumnElement[bool]:
    return and_(outcomes.c.message_id == outcome.message_id, outcomes.c.kind == outcome.kind)


def outcomes_of(connection: Connection, decision_id: str) -> list[Any]:
    """A decision's outcomes, oldest first."""
    query = select(outcomes).where(outcomes.c.decision_id == decision_id)
    return list(connection.execute(query.order_by(outcomes.c.at, outcomes.c.message_id)))


def every_outcome(connection: Connection, size: int = 5_000) -> Iterator[Sequence[Any]]:
    """All outcomes in chunks, in the order of message and kind."""
    message, kind = "", ""
    key = tuple_(outcomes.c.message_id, outcomes.c.kind)
    while True:
        query = select(outcomes).where(key > tuple_(message, kind)).order_by(*key.clauses).limit(size)
        rows = connection.execute(query).all()
        if not rows:
            return
        yield rows
        message, kind = rows[-1].message_id, rows[-1].kind

"""Refunds by the order that they are of: an order may come after its refund. SQL only."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import asdict

from sqlalchemy import BigInteger, Boolean, Column, Index, String, Table, delete, select, update

from service.customers.refund import Refund
from service.storage.database import Connection, UtcTime, any_key, metadata, upsert

refunds = Table(
    "refunds",
    metadata,
    Column("message_id", String, primary_key=True),
    Column("customer_id", String, nullable=False),
    Column("order_id", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("cents", BigInteger),
    Column("whole", Boolean, nullable=False),
    Index("ix_refunds_customer_id", "customer_id", "order_id"),
)
_CHUNK = 500
_REFUNDS = 7_067_267_825  # any number of our own, for Postgres' advisory locks
Order = tuple[str, str]
"""A customer, and the id of an order of theirs."""


def lock_refunds(connection: Connection, alone: bool) -> None:
    """Until the transaction ends who tells refunds (`alone`) is so without any who tell orders: of two that do not see
    each other yet, neither would find the other's. SQLite has one writer.
    """
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock{'' if alone else '_shared'}({_REFUNDS})")


def add_refunds(connection: Connection, new: Sequence[Refund]) -> None:
    """Keeps refunds; one that is there already stays."""
    upsert(connection, refunds, [asdict(refund) for refund in new], update=())


def refunds_of(connection: Connection, orders: Collection[Order]) -> dict[Order, list[Refund]]:
    """What these orders' refunds are, in the order of their time; orders without any are left out."""
    wanted, found = sorted(orders), defaultdict(list)
    for start in range(0, len(wanted), _CHUNK):
        theirs = any_key((refunds.c.customer_id, refunds.c.order_id), wanted[start : start + _CHUNK])
        rows = select(refunds).where(theirs).order_by(refunds.c.at, refunds.c.message_id)
        for row in connection.execute(rows).mappings():
            found[row["customer_id"], row["order_id"]].append(Refund(**row))
    return dict(found)


def orders_refunded(connection: Connection, customer_ids: Collection[str]) -> set[Order]:
    """The orders of these customers of which a refund is known."""
    mine = refunds.c.customer_id.in_(sorted(customer_ids))
    rows = connection.execute(select(refunds.c.customer_id, refunds.c.order_id).where(mine))
    return {(row.customer_id, row.order_id) for row in rows}


def move_refunds(connection: Connection, from_id: str, to_id: str) -> None:
    """Two ids turn out to be one person."""
    connection.execute(update(refunds).where(refunds.c.customer_id == from_id).values(customer_id=to_id))


def erase_refunds(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Removes what these customers gave back; returns how many refunds that were."""
    return connection.execute(delete(refunds).where(refunds.c.customer_id.in_(list(customer_ids)))).rowcount

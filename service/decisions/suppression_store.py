"""Channels on which a customer cannot be reached, with the reason: set by a hard bounce, lifted by a delivery."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Column, String, Table, bindparam, delete, select

from service.storage.database import Connection, UtcTime, any_of, metadata, texts, upsert
from service.storage.prepared import Prepared

suppressions = Table(
    "suppressions",
    metadata,
    Column("customer_id", String, primary_key=True),
    Column("channel", String, primary_key=True),
    Column("reason", String, nullable=False),
    Column("address", String),
    Column("at", UtcTime, nullable=False),
)
_LIFT = delete(suppressions).where(
    suppressions.c.customer_id == bindparam("b_customer"),
    suppressions.c.channel == bindparam("b_channel"),
    suppressions.c.at <= bindparam("b_before"),
)
_READ = Prepared(
    select(suppressions.c.customer_id, suppressions.c.channel, suppressions.c.reason).where(
        any_of(suppressions.c.customer_id, texts("customers"))
    )
)


def read_suppressed(connection: Connection, customers: Sequence[str]) -> dict[str, dict[str, str]]:
    """Channel -> reason, of each customer who has any."""
    found: dict[str, dict[str, str]] = {}
    for customer, channel, reason in _READ.rows(connection, customers=customers):
        found.setdefault(customer, {})[channel] = reason
    return found


def addresses_of(connection: Connection, customers: Sequence[str]) -> dict[str, dict[str, str | None]]:
    """Channel -> address that could not be reached (None: not known), of each customer who has any."""
    query = select(suppressions.c.customer_id, suppressions.c.channel, suppressions.c.address)
    found: dict[str, dict[str, str | None]] = {}
    for customer, channel, address in connection.execute(query.where(suppressions.c.customer_id.in_(customers))):
        found.setdefault(customer, {})[channel] = address
    return found


def suppress(
    connection: Connection, customer_id: str, channel: str, reason: str, at: datetime, address: str | None = None
) -> None:
    """Stops a channel for a customer, on account of an address. Of several times the newest stays."""
    here = (suppressions.c.customer_id == customer_id) & (suppressions.c.channel == channel)
    if connection.execute(select(1).where(here, suppressions.c.at > at)).first() is not None:
        return
    row = {"customer_id": customer_id, "channel": channel, "reason": reason, "address": address, "at": at}
    upsert(connection, suppressions, [row])


def lift(connection: Connection, customer_id: str, channel: str, before: datetime) -> None:
    """Opens a channel again, if it was stopped before a time."""
    connection.execute(_LIFT, {"b_customer": customer_id, "b_channel": channel, "b_before": before})


def move_suppressions(connection: Connection, from_id: str, to_id: str) -> None:
    """Joins two ids of one person: what stops either stops both, by the newer word of the two."""
    here = suppressions.c.customer_id == from_id
    for row in connection.execute(select(suppressions).where(here).order_by(suppressions.c.channel)).all():
        suppress(connection, to_id, row.channel, row.reason, row.at, row.address)
    connection.execute(delete(suppressions).where(here))


def erase_suppressions(connection: Connection, customer_id: str) -> int:
    """Forgets a customer's; returns how many."""
    return connection.execute(delete(suppressions).where(suppressions.c.customer_id == customer_id)).rowcount

"""A named lease: work that only one process at a time may do, taken over when its holder dies."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Column, Connection, String, Table, delete, update

from service.clock import CLOCKS_APART
from service.storage.database import UtcTime, metadata, upsert

leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("until", UtcTime, nullable=False),
)


def take(connection: Connection, name: str, holder: str, now: datetime, seconds: float) -> bool:
    """Takes or renews the lease for `seconds`; False while another holder's runs.

    Call it in a `write()` transaction. Times are the caller's clock, the machine's own (not a simulated one). One that
    runs for longer than a lease does was taken by a clock that went wrong, and is free.
    """
    until = now + timedelta(seconds=seconds)
    if upsert(connection, leases, [{"name": name, "holder": holder, "until": until}], update=()):
        return True
    free = (leases.c.holder == holder) | (leases.c.until <= now) | (leases.c.until > until + CLOCKS_APART)
    changed = connection.execute(update(leases).where(leases.c.name == name, free).values(holder=holder, until=until))
    return changed.rowcount == 1


def release(connection: Connection, name: str, holder: str) -> None:
    """Gives the lease back, if it is still this holder's."""
    connection.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))

"""All events of some customers, wherever they stand just now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from features.event_log import EventLog
from service.events.inbox_store import of_customers
from service.storage.database import Database

if TYPE_CHECKING:
    import polars as pl


def events_of(database: Database, log: EventLog, customer_ids: list[str]) -> pl.DataFrame:
    """What the log and the inbox hold of these customers, each message once; rows as `features.tables.EVENTS`."""
    import polars as pl

    from service.events.frame import events_frame

    with database.read() as connection:  # before the log: what moves there is seen twice, not missed
        held = of_customers(connection, customer_ids)
    logged = log.scan(customer_ids=customer_ids).collect()
    return pl.concat([logged, events_frame(held)]).unique("message_id", keep="first", maintain_order=True)

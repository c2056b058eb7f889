"""Keeps refunds beside the orders that they are of, for whoever counts orders: either may come first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from features.vocabulary import NAMES, REPEATED
from service.customers.identity_store import joined_by
from service.customers.refund import refund_from
from service.customers.refunds_store import Order, add_refunds, lock_refunds, move_refunds, orders_refunded
from service.storage.database import Connection

_OF_ORDERS = frozenset({"ordered", "redeemed", "refunded"})


def keep_refunds(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """A handler of events, before those that ask `refunds_of`.

    A file that `opportune ingest` reads may tell an order in the instant in which the API is told its refund.
    """
    joined = joined_by(connection, events)
    told = [refund for event in events if (refund := refund_from(event)) is not None]
    if told or joined or any(order_of(event) for event in events):
        lock_refunds(connection, alone=bool(told))
    for former, customer_id in joined.items():
        move_refunds(connection, former, customer_id)
    add_refunds(connection, told)


def orders_among(connection: Connection, events: Sequence[Mapping[str, Any]]) -> set[Order]:
    """The orders of which these events tell anything: that they were made, what they were worth, what went back; and
    whose customers they are.
    """
    told = {(event["customer_id"], order) for event in events if (order := order_of(event)) is not None}
    joined = set(joined_by(connection, events).values())
    return told | orders_refunded(connection, joined) if joined else told


def order_of(event: Mapping[str, Any]) -> str | None:
    """The order that an event tells, tells again, redeems something with or gives back."""
    if event["type"] != "track" or not event.get("order_id"):
        return None
    meaning = NAMES.get(event["event"] or "")
    told = event["event"] == REPEATED or (meaning is not None and meaning.verb in _OF_ORDERS)
    return event["order_id"] if told else None

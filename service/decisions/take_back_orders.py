"""Takes back what orders did that were refunded, or that turn out to belong to another decision.

A refund is an outcome of the order's decision, with the money given back. In full it makes the order's outcome
`returned`, which no reader takes for a conversion: counts, what was still to be learnt, and what prerequisites ask for
go back. What the online layer has learnt of it stays until a new version of the model begins without it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from features.currencies import CURRENCIES
from service.customers.refund import Refund, given_back
from service.decisions.case import microseconds
from service.decisions.decision_store import count_response
from service.decisions.ledger_lines_store import was_delivered
from service.decisions.lessons_store import withdraw_conversion
from service.decisions.moments_store import take_back
from service.decisions.outcome_store import (
    RESPONSES,
    add_outcome,
    forget_outcome,
    orders_known,
    outcomes_of_order,
    responded,
    returned,
    tell_value,
    times_of,
)
from service.storage.database import Connection

_SALES = ("converted", "returned", "redeemed")
"""Where the first tells what the order was worth."""


def refund_order(connection: Connection, refund: Refund) -> None:
    """One of an order that no decision led to, or that has not come yet, changes nothing; once more, nothing twice."""
    told = outcomes_of_order(connection, refund.customer_id, refund.order_id)
    sales = [row for row in told if row.kind in (*RESPONSES, "returned")]
    if all(row.kind == "returned" for row in sales):
        return
    order = min(sales, key=lambda row: _SALES.index(row.kind))
    before = sum(row.value_cents or 0 for row in told if row.kind == "refunded" and row.message_id != refund.message_id)
    amount, whole = given_back(refund, order.value_cents, before)
    row = {
        **order._mapping,
        "message_id": refund.message_id,
        "kind": "refunded",
        "at": max(refund.at, order.at),
        "value_cents": amount,
    }
    add_outcome(connection, row)
    gone = {row.message_id for row in sales if row.kind == "returned"}
    for one in sales if whole else ():
        if one.kind != "returned":
            if one.message_id in gone:  # its file was read again
                forget_outcome(connection, one)
            else:
                returned(connection, one)
            _undo(connection, one)


def move_order(connection: Connection, event: Mapping[str, Any], decision_id: str) -> bool:
    """An order is told once more, for a decision: it is no outcome of another one any more. False where it is that
    decision's already, or was given back since.
    """
    told = outcomes_of_order(connection, event["customer_id"], event["order_id"]) if event["order_id"] else []
    orders = [row for row in told if row.kind in {"converted", "returned"}]
    if any(row.kind == "returned" or row.decision_id == decision_id for row in orders):
        return False
    for row in orders:
        forget_outcome(connection, row)
        _undo(connection, row)
    return True


def price_order(connection: Connection, event: Mapping[str, Any]) -> None:
    """An order is told once more: by a server, which may know what it was worth where the browser did not."""
    value = CURRENCIES.in_home(event["revenue_cents"], event["currency"])
    if event["order_id"] is not None and value is not None:
        tell_value(connection, event["customer_id"], event["order_id"], value)


def join_orders(connection: Connection, former: str, customer_id: str) -> None:
    """Two ids turn out to be one person: of an order that was told under both, the customer's counts, as in the log."""
    told = orders_known(connection, [former, customer_id])
    own = {row.order_id for row in told if row.customer_id == customer_id}
    for row in told:
        if row.customer_id == former and row.kind == "converted" and row.order_id in own:
            forget_outcome(connection, row)
            _undo(connection, row)


def _undo(connection: Connection, row: Any) -> None:
    """What an order's outcome did, once it is none any more."""
    if row.offer_id is None:
        return
    ours = row.channel is not None and was_delivered(connection, row.decision_id, row.offer_id)
    for name, kinds in {"converted": RESPONSES, "redeemed": ("redeemed",)}.items():
        if ours and row.kind in kinds and responded(connection, row.decision_id, row.offer_id, kinds) == 0:
            count_response(connection, row.offer_id, row.channel, [name], microseconds(row.at), by=-1)
    if responded(connection, row.decision_id, row.offer_id, RESPONSES) == 0:
        withdraw_conversion(connection, row.decision_id, row.offer_id)
    others = [at for kind in RESPONSES for at in times_of(connection, row.customer_id, row.offer_id, kind)]
    moment = row.customer_id, "converted", row.offer_id, microseconds(row.at)
    take_back(connection, moment, [microseconds(at) for at in others])

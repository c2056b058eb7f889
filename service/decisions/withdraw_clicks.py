"""Takes back what clicks did that turned out to be a machine's: their outcomes' flag, the offer's count, what
prerequisites ask for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.decisions.case import microseconds
from service.decisions.decision_store import count_response
from service.decisions.ledger_lines_store import was_delivered
from service.decisions.moments_store import take_back
from service.decisions.outcome_store import responded, times_of, withdraw_outcomes
from service.storage.database import Connection


def withdraw_clicks(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
    """`events`: clicks that were taken for a person's when they came. An offer counts a decision's click once."""
    taken = withdraw_outcomes(connection, [event["message_id"] for event in events])
    clicks = {(row.decision_id, row.offer_id, row.channel): row for row in taken if row.kind == "clicked"}
    for (decision, offer, channel), row in clicks.items():
        if offer is None or channel is None or not was_delivered(connection, decision, offer):
            continue  # it was not counted: of another offer than the decision's
        if responded(connection, decision, offer, ["clicked"]) == 0:
            count_response(connection, offer, channel, ["clicked"], microseconds(row.at), by=-1)
    told = {row.message_id: (row.offer_id, row.at) for row in taken}
    for event in events:
        customer = event["customer_id"]
        offer, at = told.get(event["message_id"], (event["offer_id"], event["timestamp"]))
        if offer is not None:
            others = [microseconds(at) for at in times_of(connection, customer, offer, "clicked")]
            take_back(connection, (customer, "clicked", offer, microseconds(at)), others)

"""A customer's way through a journey, and everything that journeys hold of a customer."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from service.journeys.enrolment_store import (
    Enrolment,
    earlier,
    erase_enrolments,
    of_customer,
)
from service.journeys.intent_store import Intent, erase_intents, of_enrolments
from service.journeys.intent_store import of_customer as sent_to_customer
from service.storage.database import Connection


def show_enrolments(connection: Connection, journey_id: str, customer_id: str) -> list[dict[str, Any]]:
    """A customer's enrolments in a journey, the newest first, with what was sent."""
    rows = earlier(connection, journey_id, customer_id)
    intents = of_enrolments(connection, [row.id for row in rows])
    return [show_enrolment(row, intents.get(row.id, [])) for row in rows]


def show_customer(connection: Connection, customer_id: str) -> list[dict[str, Any]]:
    """A customer's enrolments in all journeys, the newest first, with what was sent."""
    rows = of_customer(connection, customer_id)[::-1]
    intents = of_enrolments(connection, [row.id for row in rows])
    return [show_enrolment(row, intents.get(row.id, [])) for row in rows]


def show_enrolment(enrolment: Enrolment, intents: list[Intent]) -> dict[str, Any]:
    """One enrolment as the API answers it."""
    state = enrolment.state
    return {
        "id": enrolment.id,
        "journey_id": enrolment.journey_id,
        "version": enrolment.version,
        "customer_id": enrolment.customer_id,
        "status": enrolment.status,
        "step": None if enrolment.status == "ended" else state.step,
        "reason": state.reason,
        "enrolled_at": state.enrolled_at,
        "due_at": enrolment.due_at,
        "ended_at": enrolment.ended_at,
        "converted_at": enrolment.converted_at,
        "outcomes": dict(state.outcomes),
        "problem": enrolment.problem,
        "source": enrolment.source,
        "messages": [
            {
                "key": intent.key,
                "step": intent.step,
                "channel": intent.channel,
                "state": intent.state,
                "detail": intent.detail,
                "decision_id": intent.decision_id,
                "offer_id": intent.offer_id,
                "at": intent.finished_at or intent.created_at,
                "opened_at": intent.opened_at,
                "clicked_at": intent.clicked_at,
                "converted_at": intent.converted_at,
            }
            for intent in intents
        ],
    }


def export_customer(connection: Connection, customer_id: str) -> dict[str, Any]:
    """Everything that journeys hold of a customer."""
    rows = of_customer(connection, customer_id)
    intents, tasks = sent_to_customer(connection, customer_id)
    return {
        "enrollments": [show_enrolment(row, []) for row in rows],
        "messages": [asdict(intent) for intent in intents],
        "tasks": tasks,
    }


def erase_customer(connection: Connection, customer_id: str) -> dict[str, int]:
    """Deletes a customer's enrolments, messages and tasks, also those being worked on; the steps' counts stay."""
    messages, tasks = erase_intents(connection, customer_id)
    return {"enrollments": erase_enrolments(connection, customer_id), "messages": messages, "tasks": tasks}

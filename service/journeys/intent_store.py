"""SQL of send intents: written before a channel is called, marked after it. And of the tasks for people.

An intent's key is its enrolment, step and visit, unique: one visit of a step is one message. `attempted_at` is set
before a channel is called that cannot tell a repeated message; such an intent, found without its mark, is uncertain.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, Index, Integer, String, Table, bindparam, delete, func, or_, select, update

from service.journeys.arrival_store import chunks, plain
from service.journeys.enrolment_store import enrolments
from service.journeys.journey_store import journeys
from service.storage.database import Connection, Json, UtcTime, metadata, upsert

send_intents = Table(
    "send_intents",
    metadata,
    Column("key", String, primary_key=True),
    Column("enrolment_id", String, nullable=False),
    Column("journey_id", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("step", String, nullable=False),
    Column("visit", Integer, nullable=False),
    Column("customer_id", String, nullable=False),
    Column("kind", String, nullable=False),  # message webhook call
    Column("channel", String, nullable=False),
    Column("decision_id", String),
    Column("offer_id", String),
    Column("variant_id", String),
    Column("state", String, nullable=False),  # intended sent failed uncertain blocked
    Column("detail", String),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("attempted_at", UtcTime),
    Column("finished_at", UtcTime),
    Column("opened_at", UtcTime),
    Column("clicked_at", UtcTime),
    Column("converted_at", UtcTime),
    Index("uq_send_intents_visit", "enrolment_id", "step", "visit", unique=True),
    Index("ix_send_intents_customer", "customer_id", "finished_at"),
    Index("ix_send_intents_decision", "decision_id"),
    Index("ix_send_intents_state", "journey_id", "state"),
)

journey_tasks = Table(
    "journey_tasks",
    metadata,
    Column("key", String, primary_key=True),
    Column("journey_id", String, nullable=False),
    Column("step", String, nullable=False),
    Column("customer_id", String, nullable=False),
    Column("title", String, nullable=False),
    Column("instructions", String, nullable=False),
    Column("action", Json),
    Column("decision_id", String),
    Column("state", String, nullable=False),  # open done
    Column("due_at", UtcTime),
    Column("created_at", UtcTime, nullable=False),
    Column("closed_at", UtcTime),
    Column("outcome", String),
    Column("note", String),
    Index("ix_journey_tasks_state", "journey_id", "state"),
    Index("ix_journey_tasks_customer", "customer_id"),
)


@dataclass(frozen=True, slots=True)
class Intent:
    """One piece of work of one visit of one step."""

    key: str
    enrolment_id: str
    journey_id: str
    version: int
    step: str
    visit: int
    customer_id: str
    kind: str
    channel: str
    created_at: datetime
    decision_id: str | None = None
    offer_id: str | None = None
    variant_id: str | None = None
    state: str = "intended"
    detail: str | None = None
    attempts: int = 0
    attempted_at: datetime | None = None
    finished_at: datetime | None = None
    opened_at: datetime | None = None
    clicked_at: datetime | None = None
    converted_at: datetime | None = None


def intent_key(enrolment_id: str, step: str, visit: int) -> str:
    """The key under which a message is sent, and sent again after a crash."""
    return f"{enrolment_id}-{step}-{visit}"


def write_intents(connection: Connection, intents: Sequence[Intent]) -> dict[str, Intent]:
    """Inserts the intents that are not there yet; returns all of them as they stand."""
    rows = [{name: getattr(intent, name) for name in _COLUMNS} for intent in sorted(intents, key=_by_key)]
    upsert(connection, send_intents, rows, update=())
    return read_intents(connection, [intent.key for intent in intents])


_COLUMNS = tuple(column.name for column in send_intents.columns)


def _by_key(intent: Intent) -> str:
    return intent.key


def read_intents(connection: Connection, keys: Sequence[str]) -> dict[str, Intent]:
    """Intents by their keys."""
    found: dict[str, Intent] = {}
    for chunk in chunks(sorted(keys)):
        rows = connection.execute(select(send_intents).where(send_intents.c.key.in_(chunk)))
        found |= {row.key: Intent(**row._mapping) for row in rows}
    return found


def begin_attempt(connection: Connection, key: str, now: datetime) -> bool:
    """Notes that the channel is called now, once; False where the intent is gone, finished or already begun."""
    changed = connection.execute(
        update(send_intents)
        .where(send_intents.c.key == key, send_intents.c.state == "intended", send_intents.c.attempted_at.is_(None))
        .values(attempted_at=now, attempts=send_intents.c.attempts + 1)
    )
    return changed.rowcount == 1


@dataclass(frozen=True, slots=True)
class Mark:
    """How an attempt ended. `intended` frees it for another try."""

    key: str
    state: str
    detail: str
    attempts: int
    at: datetime


def mark_intents(connection: Connection, marks: Sequence[Mark]) -> None:
    """Writes how attempts ended. What was sent stays sent, whoever comes later."""
    unfinished = or_(send_intents.c.state == "intended", send_intents.c.state == "uncertain")
    statement = (
        update(send_intents)
        .where(send_intents.c.key == bindparam("b_key"), unfinished)
        .values(
            state=bindparam("b_state"),
            detail=bindparam("b_detail"),
            attempts=bindparam("b_attempts"),
            attempted_at=bindparam("b_attempted_at"),
            finished_at=bindparam("b_finished_at"),
        )
    )
    rows = [
        {
            "b_key": mark.key,
            "b_state": mark.state,
            "b_detail": mark.detail or None,
            "b_attempts": mark.attempts,
            "b_attempted_at": None if mark.state == "intended" else mark.at,
            "b_finished_at": None if mark.state == "intended" else mark.at,
        }
        for mark in sorted(marks, key=lambda mark: mark.key)
    ]
    if rows:
        connection.execute(statement, rows)


def reset_attempts(connection: Connection, journey_id: str) -> None:
    """Gives messages that were tried too often their tries back."""
    tried = (send_intents.c.journey_id == journey_id, send_intents.c.state == "intended")
    connection.execute(update(send_intents).where(*tried).values(attempts=0))


def put_off(connection: Connection) -> dict[str, int]:
    """How many messages of each channel wait to be tried again, having failed before."""
    of_journeys = send_intents.c.journey_id.in_(select(journeys.c.journey_id))  # by its index
    again = of_journeys & (send_intents.c.state == "intended") & (send_intents.c.attempts > 0)
    found = select(send_intents.c.channel, func.count()).where(again).group_by(send_intents.c.channel)
    return {channel: int(count) for channel, count in connection.execute(found.order_by(send_intents.c.channel))}


def by_decisions(connection: Connection, decision_ids: Iterable[str]) -> dict[str, Intent]:
    """The message that each decision led to, where a journey sent one."""
    found: dict[str, Intent] = {}
    for chunk in chunks(sorted(decision_ids)):
        wanted = select(send_intents).where(send_intents.c.decision_id.in_(chunk), send_intents.c.kind == "message")
        for row in connection.execute(wanted.order_by(send_intents.c.created_at)):
            found[row.decision_id] = Intent(**row._mapping)
    return found


def sent_to(connection: Connection, customers: Iterable[str], since: datetime) -> list[Intent]:
    """Messages to some customers that were sent, or are being sent, since a time; the newest first.

    One that was put off carries the reason until it is tried again: nobody can have opened it.
    """
    put_off = (send_intents.c.state == "intended") & send_intents.c.detail.is_not(None)
    found: list[Intent] = []
    for chunk in chunks(sorted(customers)):
        wanted = select(send_intents).where(
            send_intents.c.customer_id.in_(chunk),
            send_intents.c.kind == "message",
            send_intents.c.state.in_(("sent", "uncertain", "intended")),
            or_(~put_off, send_intents.c.attempted_at.is_not(None)),
            send_intents.c.created_at >= since,
        )
        rows = connection.execute(wanted.order_by(send_intents.c.created_at.desc(), send_intents.c.key))
        found += [Intent(**row._mapping) for row in rows]
    return found


def mark_engaged(connection: Connection, name: str, times: Mapping[str, datetime]) -> None:
    """Notes the first open, click or conversion (`opened_at`, `clicked_at`, `converted_at`) of messages."""
    column = send_intents.c[name]
    for key in sorted(times):
        connection.execute(
            update(send_intents).where(send_intents.c.key == key, column.is_(None)).values({name: times[key]})
        )


def open_task(connection: Connection, task: Mapping[str, Any]) -> None:
    """Stores a task, once by its key."""
    upsert(connection, journey_tasks, [dict(task)], keys=["key"], update=())


def list_tasks(connection: Connection, journey_id: str, state: str | None, limit: int) -> list[dict[str, Any]]:
    """A journey's tasks, those due first first."""
    wanted = select(journey_tasks).where(journey_tasks.c.journey_id == journey_id)
    if state is not None:
        wanted = wanted.where(journey_tasks.c.state == state)
    order = (func.coalesce(journey_tasks.c.due_at, journey_tasks.c.created_at), journey_tasks.c.key)
    return [plain(row) for row in connection.execute(wanted.order_by(*order).limit(limit))]


def close_task(
    connection: Connection, journey_id: str, key: str, outcome: str, note: str, now: datetime
) -> dict[str, Any] | None:
    """Closes an open task and returns it; None where none is open under this key."""
    changed = connection.execute(
        update(journey_tasks)
        .where(journey_tasks.c.key == key, journey_tasks.c.journey_id == journey_id, journey_tasks.c.state == "open")
        .values(state="done", closed_at=now, outcome=outcome, note=note)
    )
    if changed.rowcount != 1:
        return None
    row = connection.execute(select(journey_tasks).where(journey_tasks.c.key == key)).one()
    return plain(row)


def closed_task(connection: Connection, journey_id: str, key: str, outcome: str, note: str) -> dict[str, Any] | None:
    """A task that was closed with this outcome and note; None where none was."""
    mine = journey_tasks.c.key == key, journey_tasks.c.journey_id == journey_id, journey_tasks.c.state == "done"
    so = journey_tasks.c.outcome == outcome, journey_tasks.c.note == note
    row = connection.execute(select(journey_tasks).where(*mine, *so)).one_or_none()
    return None if row is None else plain(row)


def of_enrolments(connection: Connection, ids: Sequence[str]) -> dict[str, list[Intent]]:
    """The intents of some enrolments, in their order."""
    found: dict[str, list[Intent]] = {}
    for chunk in chunks(ids):
        wanted = select(send_intents).where(send_intents.c.enrolment_id.in_(chunk))
        for row in connection.execute(wanted.order_by(send_intents.c.created_at, send_intents.c.visit)):
            found.setdefault(row.enrolment_id, []).append(Intent(**row._mapping))
    return found


def of_customer(connection: Connection, customer_id: str) -> tuple[list[Intent], list[dict[str, Any]]]:
    """Everything that was sent to a customer, and the tasks about them."""
    intents = connection.execute(select(send_intents).where(send_intents.c.customer_id == customer_id))
    tasks = connection.execute(select(journey_tasks).where(journey_tasks.c.customer_id == customer_id))
    return [Intent(**row._mapping) for row in intents], [plain(row) for row in tasks]


def move_intents(connection: Connection, old: str, new: str) -> None:
    """Gives an anonymous visitor's messages and tasks to the customer they turned out to be."""
    for table in (send_intents, journey_tasks):
        connection.execute(update(table).where(table.c.customer_id == old).values(customer_id=new))


def erase_intents(connection: Connection, customer_id: str) -> tuple[int, int]:
    """Deletes a customer's intents and tasks; returns how many of each."""
    gone = [
        connection.execute(
            delete(table).where(table.c.customer_id == customer_id).execution_options(preserve_rowcount=True)
        ).rowcount
        for table in (send_intents, journey_tasks)
    ]
    return gone[0], gone[1]


def sendable(connection: Connection, keys: Sequence[str]) -> set[str]:
    """Which intents may still be sent: not erased, not finished, their enrolment and its journey still running."""
    found: set[str] = set()
    for chunk in chunks(sorted(keys)):
        wanted = (
            select(send_intents.c.key)
            .join(enrolments, enrolments.c.id == send_intents.c.enrolment_id)
            .join(journeys, journeys.c.journey_id == enrolments.c.journey_id)
            .where(
                send_intents.c.key.in_(chunk),
                send_intents.c.state == "intended",
                enrolments.c.status == "active",
                journeys.c.status == "active",
            )
        )
        found |= set(connection.execute(wanted).scalars())
    return found

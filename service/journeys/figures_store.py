"""SQL of a journey's figures, of all its versions together or of one: where enrolments stand, how they ended, what is
stuck, uncertain, or waits for a person.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select

from service.journeys.enrolment_store import enrolments
from service.journeys.intent_store import Intent, journey_tasks, send_intents
from service.storage.database import Connection

Wanted = tuple[str, int | None]
"""A journey, and one of its versions or (None) all of them."""


def _of(table: Table, wanted: Wanted) -> list[ColumnElement[bool]]:
    journey_id, version = wanted
    mine = [table.c.journey_id == journey_id]
    return mine if version is None else [*mine, table.c.version == version]


def standing_counts(connection: Connection, wanted: Wanted) -> list[tuple[str, str | None, str | None, int]]:
    """(status, step, why it ended, how many) of the enrolments: in the order of an index, so that no row is read."""
    key = (enrolments.c.status, enrolments.c.step, enrolments.c.reason)
    query = select(*key, func.count()).where(*_of(enrolments, wanted)).group_by(*key)
    return [(row[0], row[1], row[2], int(row[3])) for row in connection.execute(query)]


def count_converted(connection: Connection, wanted: Wanted) -> int:
    """How many enrolments converted."""
    converted = select(func.count()).where(*_of(enrolments, wanted), enrolments.c.converted_at.is_not(None))
    return int(connection.execute(converted).scalar_one())


def problems(connection: Connection, wanted: Wanted, limit: int) -> Sequence[Any]:
    """Enrolments' rows that are stuck or between two tries, the latest first."""
    query = select(enrolments).where(*_of(enrolments, wanted), enrolments.c.problem.is_not(None))
    return connection.execute(query.order_by(enrolments.c.last_run_at.desc()).limit(limit)).all()


def list_intents(connection: Connection, wanted: Wanted, state: str, limit: int) -> list[Intent]:
    """Intents in one state, the oldest first: what is uncertain, for a person to look at."""
    query = select(send_intents).where(*_of(send_intents, wanted), send_intents.c.state == state)
    rows = connection.execute(query.order_by(send_intents.c.created_at).limit(limit))
    return [Intent(**row._mapping) for row in rows]


def count_tasks(connection: Connection, wanted: Wanted) -> dict[str, dict[str, int]]:
    """`{step: {"open": n, "done": n}}`. A task is of the version that its intent is of."""
    key, (journey_id, version) = (journey_tasks.c.step, journey_tasks.c.state), wanted
    query = select(*key, func.count()).where(journey_tasks.c.journey_id == journey_id).group_by(*key)
    if version is not None:
        query = query.join(send_intents, send_intents.c.key == journey_tasks.c.key)
        query = query.where(send_intents.c.version == version)
    counts: dict[str, dict[str, int]] = {}
    for step, state, count in connection.execute(query):
        counts.setdefault(step, {})[state] = int(count)
    return counts

"""SQL of enrolments and of the events that wait for them.

Times here are the service's clock, but for `claimed_until`, which is the machine's: a lease is about a process that
may have died, and a simulated day is no reason to think so. Every claim raises `seq`; a pass ends with
`UPDATE … WHERE id = ? AND seq = ?`, so the late write of a process that was thought dead changes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Index,
    Integer,
    String,
    Table,
    bindparam,
    delete,
    func,
    or_,
    select,
    update,
)

from service.journeys.arrival_store import chunks, forget_events, inbox, newest_events, put_events
from service.journeys.enrolment import State, from_json, to_json
from service.journeys.journey_store import journeys
from service.storage.database import Connection, Json, UtcTime, metadata, upsert

enrolments = Table(
    "journey_enrolments",
    metadata,
    Column("id", String, primary_key=True),
    Column("journey_id", String, nullable=False),
    Column("version", Integer, nullable=False),
    Column("customer_id", String, nullable=False),
    Column("status", String, nullable=False),  # active stuck ended
    Column("reason", String),
    Column("step", String),
    Column("visit", Integer, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("due_at", UtcTime),  # None: ended or stuck
    Column("memory", Json, nullable=False),
    Column("source", Json),
    Column("guard", String, unique=True),  # holds the re-entry rule against two requests at once
    Column("enrolled_at", UtcTime, nullable=False),
    Column("ended_at", UtcTime),
    Column("last_run_at", UtcTime),
    Column("converted_at", UtcTime),
    Column("failures", Integer, nullable=False),
    Column("problem", String),
    Column("claimed_until", UtcTime),
    Index("ix_journey_enrolments_due", "journey_id", "due_at"),
    Index("ix_journey_enrolments_customer", "customer_id", "journey_id"),
    Index("ix_journey_enrolments_standing", "journey_id", "status", "step", "reason"),
)
_HAS_PROBLEM = enrolments.c.problem.is_not(None)
Index(
    "ix_journey_enrolments_problem",
    enrolments.c.journey_id,
    sqlite_where=_HAS_PROBLEM,
    postgresql_where=_HAS_PROBLEM,
)
_CONVERTED = enrolments.c.converted_at.is_not(None)
Index(
    "ix_journey_enrolments_converted",
    enrolments.c.journey_id,
    enrolments.c.converted_at,
    sqlite_where=_CONVERTED,
    postgresql_where=_CONVERTED,
)


@dataclass(frozen=True, slots=True)
class Enrolment:
    """One row, as the runner and the event handler see it."""

    id: str
    journey_id: str
    version: int
    customer_id: str
    status: str
    seq: int
    state: State
    failures: int = 0
    due_at: datetime | None = None
    ended_at: datetime | None = None
    converted_at: datetime | None = None
    claimed_until: datetime | None = None
    problem: str | None = None
    source: Mapping[str, Any] | None = None
    last_run_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a pass left an enrolment. `seen` is the last inbox event that it knew of."""

    id: str
    seq: int
    status: str
    state: State
    due_at: datetime | None
    seen: int = 0
    failures: int = 0
    problem: str | None = None
    keep_guard: bool = True


def add_enrolment(connection: Connection, enrolment: Enrolment, guard: str | None) -> bool:
    """Inserts a row; False where the guard is taken."""
    state = enrolment.state
    row = {
        "id": enrolment.id,
        "journey_id": enrolment.journey_id,
        "version": enrolment.version,
        "customer_id": enrolment.customer_id,
        "status": enrolment.status,
        "visit": state.visit,
        "seq": enrolment.seq,
        "due_at": enrolment.due_at,
        "memory": to_json(state),
        "source": None if enrolment.source is None else dict(enrolment.source),
        "guard": guard,
        "enrolled_at": state.enrolled_at,
        "failures": 0,
    }
    return upsert(connection, enrolments, [row], keys=["guard"], update=()) > 0


def free_guard(connection: Connection, guard: str) -> None:
    """Lets a customer enter again whose earlier enrolment has ended."""
    connection.execute(
        update(enrolments).where(enrolments.c.guard == guard, enrolments.c.status == "ended").values(guard=None)
    )


def find_enrolment(connection: Connection, enrolment_id: str) -> Enrolment | None:
    """One enrolment."""
    row = connection.execute(select(enrolments).where(enrolments.c.id == enrolment_id)).one_or_none()
    return None if row is None else _enrolment(row)


def earlier(connection: Connection, journey_id: str, customer_id: str) -> list[Enrolment]:
    """A customer's enrolments in a journey, the newest first."""
    wanted = select(enrolments).where(enrolments.c.customer_id == customer_id, enrolments.c.journey_id == journey_id)
    return [
        _enrolment(row)
        for row in connection.execute(wanted.order_by(enrolments.c.enrolled_at.desc(), enrolments.c.id.desc()))
    ]


def ever_enrolled(connection: Connection, journey_id: str, customers: Sequence[str], running_only: bool) -> set[str]:
    """Which of these customers are in the journey, or were once."""
    wanted = select(enrolments.c.customer_id).where(
        enrolments.c.journey_id == journey_id, enrolments.c.customer_id.in_(customers)
    )
    if running_only:
        wanted = wanted.where(enrolments.c.status != "ended")
    return set(connection.execute(wanted).scalars())


def count_active(connection: Connection, journey_id: str) -> int:
    """How many are enrolled now."""
    wanted = select(func.count()).where(
        enrolments.c.journey_id == journey_id, enrolments.c.status.in_(("active", "stuck"))
    )
    return int(connection.execute(wanted.select_from(enrolments)).scalar_one())


_ACTIVE = select(journeys.c.journey_id).where(journeys.c.status == "active")
_LONGEST_CLAIM = timedelta(minutes=10)
"""What is claimed for longer was so by a clock that went wrong, and is free."""


def _due(now: datetime, wall: datetime) -> list[ColumnElement[bool]]:
    """Due, and held by nobody."""
    claim = enrolments.c.claimed_until
    free = or_(claim.is_(None), claim <= wall, claim > wall + _LONGEST_CLAIM)
    return [enrolments.c.due_at <= now, free]


def any_due(connection: Connection, now: datetime, wall: datetime) -> bool:
    """Whether a claim would find something: one look into an index."""
    due = (enrolments.c.journey_id.in_(_ACTIVE), *_due(now, wall))
    return connection.execute(select(enrolments.c.id).where(*due).limit(1)).first() is not None


def count_due(connection: Connection, now: datetime) -> int:
    """Due rows of active journeys, claimed or not."""
    due = (enrolments.c.journey_id.in_(_ACTIVE), enrolments.c.due_at <= now)
    return int(connection.execute(select(func.count()).select_from(enrolments).where(*due)).scalar_one())


def claim_due(connection: Connection, now: datetime, wall: datetime, until: datetime, limit: int) -> list[Enrolment]:
    """Takes up to `limit` due rows that nobody holds; two claimers never get the same row.

    As many of each journey, those due first first: a welcome does not wait until a newsletter has gone to everybody.
    """
    found: list[tuple[int, Any]] = []
    for journey_id in connection.execute(_ACTIVE.order_by(journeys.c.journey_id)).scalars().all():
        # A journey at a time: so the first ones are read off the index, where a wave of a hundred thousand is due.
        first = select(enrolments.c.due_at, enrolments.c.id).where(
            enrolments.c.journey_id == journey_id, *_due(now, wall)
        )
        first = first.order_by(enrolments.c.due_at).limit(limit).with_for_update(skip_locked=True, of=enrolments)
        found += enumerate(connection.execute(first).all())
    names = [row.id for _, row in sorted(found, key=lambda one: (one[0], *one[1]))[:limit]]
    rows: dict[str, Any] = {}
    for chunk in chunks(names):
        mine = enrolments.c.id.in_(chunk)
        rows |= {row.id: row for row in connection.execute(select(enrolments).where(mine))}
        connection.execute(update(enrolments).where(mine).values(seq=enrolments.c.seq + 1, claimed_until=until))
    return [_enrolment(rows[name], claimed=True) for name in names]


def extend_claims(connection: Connection, held: Mapping[str, int], until: datetime) -> None:
    """Keeps the rows that are still being worked on."""
    renew = (
        update(enrolments)
        .where(enrolments.c.id == bindparam("b_id"), enrolments.c.seq == bindparam("b_seq"))
        .values(claimed_until=bindparam("b_until"))
    )
    rows = [{"b_id": key, "b_seq": held[key], "b_until": until} for key in sorted(held)]
    if rows:
        connection.execute(renew, rows)


def still_held(connection: Connection, held: Mapping[str, int], locked: bool = False) -> set[str]:
    """Which rows are still active under the claim's `seq`; with `locked` until the transaction ends."""
    found: set[str] = set()
    for chunk in chunks(sorted(held)):
        wanted = (
            select(enrolments.c.id, enrolments.c.seq)
            .where(enrolments.c.id.in_(chunk), enrolments.c.status == "active")
            .order_by(enrolments.c.id)
        )
        wanted = wanted.with_for_update() if locked else wanted
        found |= {row.id for row in connection.execute(wanted) if row.seq == held[row.id]}
    return found


def save(connection: Connection, outcomes: Sequence[Outcome], now: datetime, release: bool) -> set[str]:
    """Writes how a pass left its rows; returns those that were still its own.

    With `release` the claims end. A row that parks while an event has arrived that the pass did not know of is due
    again at once: nothing that comes at the moment of parking is lost.
    """
    held = still_held(connection, {outcome.id: outcome.seq for outcome in outcomes}, locked=True)
    mine = [outcome for outcome in outcomes if outcome.id in held]
    if not mine:
        return held
    arrived = newest_events(connection, [outcome.id for outcome in mine])
    write = (
        update(enrolments)
        .where(enrolments.c.id == bindparam("b_id"), enrolments.c.seq == bindparam("b_seq"))
        .values({name: bindparam(f"b_{name}") for name in _SAVED})
    )
    if release:
        write = write.values(claimed_until=None)
    connection.execute(write, [_saved(outcome, arrived.get(outcome.id, 0), now) for outcome in mine])
    ended = [outcome.id for outcome in mine if outcome.status == "ended"]
    forget_events(connection, ended)
    _free(connection, [outcome.id for outcome in mine if not outcome.keep_guard])
    return held


_SAVED = ("status", "reason", "step", "visit", "due_at", "memory", "ended_at", "last_run_at", "failures", "problem")


def _saved(outcome: Outcome, newest: int, now: datetime) -> dict[str, Any]:
    due_at = outcome.due_at
    if outcome.status == "active" and newest > outcome.seen and not outcome.failures:
        due_at = now
    values = {
        "status": outcome.status,
        "reason": outcome.state.reason,
        "step": outcome.state.step,
        "visit": outcome.state.visit,
        "due_at": due_at,
        "memory": to_json(outcome.state),
        "ended_at": now if outcome.status == "ended" else None,
        "last_run_at": now,
        "failures": outcome.failures,
        "problem": outcome.problem,
    }
    return {"b_id": outcome.id, "b_seq": outcome.seq} | {f"b_{name}": value for name, value in values.items()}


def _free(connection: Connection, ids: Sequence[str]) -> None:
    for chunk in chunks(ids):
        connection.execute(update(enrolments).where(enrolments.c.id.in_(chunk)).values(guard=None))


def add_events(connection: Connection, rows: Sequence[Mapping[str, Any]], wake: Collection[str], now: datetime) -> None:
    """Puts events into inboxes (each once, by its message id) and makes the enrolments in `wake` due.

    The rows of `journey_enrolments` are locked first, as `save` does, so one of the two sees the other's work.
    """
    there: set[str] = set()
    for chunk in chunks(sorted({row["enrolment_id"] for row in rows} | set(wake))):
        wanted = select(enrolments.c.id).where(enrolments.c.id.in_(chunk)).order_by(enrolments.c.id)
        there |= set(connection.execute(wanted.with_for_update()).scalars())
    kept = [row for row in rows if row["enrolment_id"] in there]
    put_events(connection, kept)
    for chunk in chunks(sorted(wake)):
        awake = (enrolments.c.id.in_(chunk), enrolments.c.status == "active", enrolments.c.due_at > now)
        connection.execute(update(enrolments).where(*awake).values(due_at=now))


def of_customers(connection: Connection, customers: Collection[str], ended_since: datetime) -> list[Enrolment]:
    """The enrolments of some customers that run, or ended no earlier than `ended_since`."""
    found: list[Enrolment] = []
    for chunk in chunks(sorted(customers)):
        wanted = select(enrolments).where(
            enrolments.c.customer_id.in_(chunk),
            or_(enrolments.c.status != "ended", enrolments.c.ended_at >= ended_since),
        )
        found += [_enrolment(row) for row in connection.execute(wanted.order_by(enrolments.c.id))]
    return found


def of_customer(connection: Connection, customer_id: str) -> list[Enrolment]:
    """Every enrolment of a customer, the oldest first."""
    wanted = select(enrolments).where(enrolments.c.customer_id == customer_id)
    return [_enrolment(row) for row in connection.execute(wanted.order_by(enrolments.c.enrolled_at))]


def mark_converted(connection: Connection, ids: Mapping[str, datetime]) -> None:
    """Notes when enrolments reached their goal first."""
    for key in sorted(ids):
        connection.execute(update(enrolments).where(enrolments.c.id == key).values(converted_at=ids[key]))


def end_all(connection: Connection, journey_id: str, reason: str, now: datetime) -> int:
    """Ends every running enrolment of a journey, also those being worked on; returns how many."""
    running = (enrolments.c.journey_id == journey_id, enrolments.c.status != "ended")
    ids = select(enrolments.c.id).where(*running)
    connection.execute(delete(inbox).where(inbox.c.enrolment_id.in_(ids)))
    changed = connection.execute(
        update(enrolments)
        .where(*running)
        .values(status="ended", reason=reason, ended_at=now, due_at=None, claimed_until=None, seq=enrolments.c.seq + 1)
        .execution_options(preserve_rowcount=True)
    )
    return changed.rowcount


def count_stuck(connection: Connection, journey_id: str) -> int:
    """How many enrolments of a journey are stuck; the index alone is read."""
    stuck = enrolments.c.journey_id == journey_id, enrolments.c.status == "stuck"
    return int(connection.execute(select(func.count()).select_from(enrolments).where(*stuck)).scalar_one())


def versions_in_use(connection: Connection, journey_id: str) -> set[int]:
    """The versions of a journey that somebody is in."""
    wanted = select(enrolments.c.version).where(
        enrolments.c.journey_id == journey_id, enrolments.c.status.in_(("active", "stuck"))
    )
    return set(connection.execute(wanted.distinct()).scalars())


def free_stuck(connection: Connection, journey_id: str, now: datetime) -> int:
    """Lets the stuck enrolments of a journey try again; returns how many."""
    changed = connection.execute(
        update(enrolments)
        .where(enrolments.c.journey_id == journey_id, enrolments.c.status == "stuck")
        .values(status="active", due_at=now, failures=0, problem=None, seq=enrolments.c.seq + 1)
        .execution_options(preserve_rowcount=True)
    )
    return changed.rowcount


def move_customer(connection: Connection, old: str, new: str, now: datetime) -> int:
    """Gives an anonymous visitor's enrolments to the customer they turned out to be.

    Where that customer runs through the same journey already, the visitor's enrolment ends now.
    """
    theirs = connection.execute(
        select(enrolments.c.id, enrolments.c.journey_id, enrolments.c.guard, enrolments.c.status).where(
            enrolments.c.customer_id == old
        )
    ).all()
    for row in theirs:
        guard = None if row.guard is None else f"{row.journey_id}:{new}"
        taken = (
            guard is not None and connection.execute(select(enrolments.c.id).where(enrolments.c.guard == guard)).first()
        )
        values: dict[str, Any] = {"customer_id": new, "guard": None if taken else guard}
        if taken and row.status != "ended":
            values |= {"status": "ended", "reason": "merged", "ended_at": now, "due_at": None}
            values["seq"] = enrolments.c.seq + 1
            forget_events(connection, [row.id])
        connection.execute(update(enrolments).where(enrolments.c.id == row.id).values(values))
    return len(theirs)


def erase_enrolments(connection: Connection, customer_id: str) -> int:
    """Deletes everything of a customer here, also what is claimed; returns how many enrolments there were."""
    ids = select(enrolments.c.id).where(enrolments.c.customer_id == customer_id)
    connection.execute(delete(inbox).where(inbox.c.enrolment_id.in_(ids)))
    changed = connection.execute(
        delete(enrolments).where(enrolments.c.customer_id == customer_id).execution_options(preserve_rowcount=True)
    )
    return changed.rowcount


def _enrolment(row: Any, claimed: bool = False) -> Enrolment:
    return Enrolment(
        id=row.id,
        journey_id=row.journey_id,
        version=row.version,
        customer_id=row.customer_id,
        status=row.status,
        seq=row.seq + 1 if claimed else row.seq,
        state=from_json(row.memory, row.step, row.visit, row.enrolled_at, row.reason),
        failures=row.failures,
        due_at=row.due_at,
        ended_at=row.ended_at,
        converted_at=row.converted_at,
        claimed_until=row.claimed_until,
        problem=row.problem,
        source=row.source,
        last_run_at=row.last_run_at,
    )

"""What decisions' outcomes have to teach, when each is due, and the states of the online layer. SQL only.

A delivered message teaches "did not convert" by stages, as it becomes sure; the first conversion teaches "did" at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    delete,
    exists,
    false,
    func,
    literal,
    select,
    update,
)

from service.decisions.decision_store import decisions
from service.decisions.maturity import PROMPT_AFTER, STAGES
from service.decisions.outcome_store import RESPONSES, outcomes
from service.storage.database import Connection, UtcTime, any_key, metadata, upsert

lessons = Table(
    "lessons",
    metadata,
    Column("decision_id", String, primary_key=True),
    Column("offer_id", String, primary_key=True),
    Column("channel", String, primary_key=True),
    Column("stage", Integer, primary_key=True),
    Column("customer_id", String, nullable=False),
    Column("due_at", UtcTime, nullable=False),
    Column("taken", Boolean, nullable=False),
    Index("ix_lessons_taken_due", "taken", "due_at"),
    Index("ix_lessons_customer", "customer_id"),
)
online_layers = Table(
    "online_layers",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("model_version", String, nullable=False),
    Column("made_at", UtcTime, nullable=False),
    Column("seen", Float, nullable=False),
    Column("weights", LargeBinary, nullable=False),
    Column("posterior", LargeBinary),
)
CONVERTED = 0
"""The stage of a conversion; stages of not converting count from 1."""
UNTIED, UNTIED_WORTH = -1, 0.25
"""The stage of an order that names neither decision nor offer, after no click, and what it counts: many of those
would have come without the message."""


@dataclass(frozen=True, slots=True)
class State:
    """A state of the layer. Only the newest keeps its `posterior`; `weights` are kept for replaying decisions.

    `seen`: how many outcomes it has learnt from; `made_at`: up to when.
    """

    version: int
    model_version: str
    made_at: datetime
    seen: float
    weights: bytes
    posterior: bytes | None


class Delivery(NamedTuple):
    """A message that arrived."""

    decision_id: str
    customer_id: str
    offer_id: str
    channel: str
    at: datetime


def add_deliveries(connection: Connection, arrived: Sequence[Delivery], prompt: bool = False) -> None:
    """What messages will teach if nothing comes of them; `prompt`: where orders come at once or never."""
    times = PROMPT_AFTER if prompt else [after for after, _ in STAGES]
    rows = [
        _row(*one[:4], stage, one.at + after)
        for one in arrived
        for stage, after in enumerate(times, start=CONVERTED + 1)
    ]
    upsert(connection, lessons, rows, update=())


def deliveries_among(connection: Connection, decision_ids: Sequence[str]) -> set[tuple[str, str, str]]:
    """(decision, offer, channel) of these decisions that have taught, or will teach, as delivered."""
    columns = (lessons.c.decision_id, lessons.c.offer_id, lessons.c.channel)
    mine = lessons.c.decision_id.in_(list(decision_ids)) & (lessons.c.stage > CONVERTED)
    return {tuple(row) for row in connection.execute(select(*columns).where(mine).distinct())}


def add_conversion(
    connection: Connection, decision_id: str, customer_id: str, offer_id: str, channel: str, at: datetime, tied: bool
) -> None:
    """A person ordered or redeemed after it: due at once. Once for each decision and offer, tied to it or not."""
    stage = CONVERTED if tied else UNTIED
    upsert(connection, lessons, [_row(decision_id, customer_id, offer_id, channel, stage, at)], update=())


def withdraw_conversion(connection: Connection, decision_id: str, offer_id: str) -> None:
    """It is no conversion any more. What is still to come of the delivery teaches that, and a new model all of it."""
    here = (lessons.c.decision_id == decision_id) & (lessons.c.offer_id == offer_id)
    connection.execute(delete(lessons).where(here, lessons.c.stage.in_((CONVERTED, UNTIED))))


def _row(decision_id: str, customer_id: str, offer_id: str, channel: str, stage: int, due: datetime) -> dict[str, Any]:
    return {"decision_id": decision_id, "offer_id": offer_id, "channel": channel, "stage": stage,
            "customer_id": customer_id, "due_at": due, "taken": False}  # fmt: skip


def due_lessons(connection: Connection, now: datetime, limit: int) -> list[Any]:
    """What is due and not taken, oldest first; in one order for everybody."""
    query = select(lessons).where(lessons.c.taken.is_(False) & (lessons.c.due_at <= now))
    order = (lessons.c.due_at, lessons.c.decision_id, lessons.c.offer_id, lessons.c.channel, lessons.c.stage)
    return list(connection.execute(query.order_by(*order).limit(limit)))


def take_lessons(connection: Connection, rows: Sequence[Any]) -> None:
    """Marks these as taken."""
    columns = (lessons.c.decision_id, lessons.c.offer_id, lessons.c.channel, lessons.c.stage)
    for start in range(0, len(rows), 200):
        keys = [(row.decision_id, row.offer_id, row.channel, row.stage) for row in rows[start : start + 200]]
        connection.execute(update(lessons).where(any_key(columns, keys)).values(taken=True))


def hurry_lessons(connection: Connection, channel: str, now: datetime) -> None:
    """What is still to be told of a channel's deliveries is told as where orders come at once or never."""
    for stage, after in enumerate(PROMPT_AFTER, start=CONVERTED + 1):
        late = lessons.c.taken.is_(False) & (lessons.c.due_at > now + after)
        mine = (lessons.c.channel == channel) & (lessons.c.stage == stage)
        connection.execute(update(lessons).where(late, mine).values(due_at=now + after))


def converted_of(connection: Connection, decision_ids: Sequence[str]) -> set[tuple[str, str | None]]:
    """(decision, offer) of those that people converted on."""
    known = outcomes.c.decision_id.in_(list(decision_ids)) & outcomes.c.kind.in_(RESPONSES)
    rows = connection.execute(select(outcomes.c.decision_id, outcomes.c.offer_id).where(known & ~outcomes.c.machine))
    return {(row.decision_id, row.offer_id) for row in rows}


class Reached(NamedTuple):
    """How far lessons were given back to a model: those that are `taken`, or are not, and were due by a time."""

    taken: bool
    due_at: datetime


def give_back_lessons(
    connection: Connection, reached: Reached, learnt_until: datetime | None, most: int
) -> Reached | None:
    """For a new model, which learns again what was due since the first `reached` that this is called with, but nothing
    of decisions before `learnt_until`: about `most` lessons of it, and how far that is; None at the end.

    First those that are not taken: begin with `Reached(False, since)`.
    """
    of = lessons.c
    ahead = of.taken.is_(reached.taken) & (of.due_at > reached.due_at)
    nth = select(of.due_at).where(ahead).order_by(of.due_at).offset(most - 1).limit(1)
    last = connection.execute(nth).scalar_one_or_none()
    some = ahead if last is None else ahead & (of.due_at <= last)
    known: ColumnElement[bool] = false()
    if learnt_until is not None:
        before = decisions.c.decision_id == of.decision_id, decisions.c.decided_at < learnt_until
        known = exists(select(literal(1)).where(*before))
    wrong = ~known if reached.taken else known
    connection.execute(update(lessons).where(some, wrong).values(taken=not reached.taken))
    return None if last is None else Reached(reached.taken, last)


def forget_lessons(connection: Connection, before: datetime, most: int) -> bool:
    """Drops what was due before a time, taken or not, about `most` of each at once; True when there may be more."""
    more = False
    for taken in (lessons.c.taken.is_(True), lessons.c.taken.is_(False)):  # each a stretch of the index
        old = taken & (lessons.c.due_at < before)
        at = connection.execute(
            select(lessons.c.due_at).where(old).order_by(lessons.c.due_at).offset(most - 1).limit(1)
        )
        last = at.scalar()
        connection.execute(delete(lessons).where(old if last is None else taken & (lessons.c.due_at <= last)))
        more = more or last is not None
    return more


def forget_layers(connection: Connection, before: datetime, most_bytes: int, most: int) -> bool:
    """Drops states of the layer of before a time, and the oldest of those that have more bytes together than wanted;
    never the newest. At most `most` at once; True when there may be more.
    """
    of = online_layers.c
    newest = select(of.version, func.length(of.weights).label("size")).order_by(of.version.desc()).limit(1)
    last = connection.execute(newest).first()
    if last is None:
        return False
    too_many = last.version - max(most_bytes // max(last.size, 1), 1)
    oldest = select(of.version, of.made_at).where(of.version < last.version).order_by(of.version).limit(most)
    past = [row.version for row in connection.execute(oldest) if row.made_at < before or row.version <= too_many]
    if past:
        connection.execute(delete(online_layers).where(of.version <= past[-1]))
    return len(past) == most


def newest_layer(connection: Connection) -> State | None:
    """The state that serves, with its posterior."""
    return _state(connection.execute(select(online_layers).order_by(online_layers.c.version.desc()).limit(1)).first())


def newest_number(connection: Connection) -> tuple[int, str] | None:
    """The number of the state that serves, and the model it belongs to."""
    columns = (online_layers.c.version, online_layers.c.model_version)
    row = connection.execute(select(*columns).order_by(online_layers.c.version.desc()).limit(1)).first()
    return None if row is None else (int(row.version), row.model_version)


def read_layer(connection: Connection, version: int) -> State | None:
    """One state, by its number."""
    return _state(connection.execute(select(online_layers).where(online_layers.c.version == version)).first())


def _state(row: Any) -> State | None:
    if row is None:
        return None
    return State(int(row.version), row.model_version, row.made_at, row.seen, row.weights, row.posterior)


def add_layer(connection: Connection, state: State) -> None:
    """Makes a state the one that serves. Only the one before has its posterior still: the table is long."""
    served = select(func.max(online_layers.c.version)).scalar_subquery()
    connection.execute(update(online_layers).where(online_layers.c.version == served).values(posterior=None))
    upsert(
        connection,
        online_layers,
        [{"version": state.version, "model_version": state.model_version, "made_at": state.made_at,
          "seen": state.seen, "weights": state.weights, "posterior": state.posterior}],
        update=(),
    )  # fmt: skip


def erase_lessons(connection: Connection, customer_id: str) -> int:
    """Deletes what a customer's outcomes had still to teach; what was learnt of all together stays."""
    return int(connection.execute(delete(lessons).where(lessons.c.customer_id == customer_id)).rowcount)

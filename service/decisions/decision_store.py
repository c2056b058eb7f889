"""Records of decisions, and each offer's response rates. SQL only.

A customer's decisions are found by their lines of the ledger, and by an index only where no line tells of them
(`in_ledger`): the decisions of a batch are of many customers, and each would be written to another page of it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
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
    LargeBinary,
    String,
    Table,
    bindparam,
    delete,
    false,
    func,
    select,
    text,
    type_coerce,
    union,
    update,
)

from service.decisions.ledger_store import ledger
from service.decisions.maturity import NONE_YOUNG, Young
from service.decisions.outcome_store import outcomes
from service.storage.compressed import Compressed, compressed
from service.storage.database import Connection, UtcTime, any_of, metadata, stored_time, texts, upsert
from service.storage.prepared import Prepared, insert_rows

_YOUNG = ("young_hour", "young_day", "young_week", "young_minute")
"""The counts of `Young`."""
decisions = Table(
    "decisions",
    metadata,
    Column("decision_id", String, primary_key=True),
    Column("customer_id", String, nullable=False),
    Column("decided_at", UtcTime, nullable=False),
    Column("placement", String, nullable=False),
    Column("arm", String, nullable=False),
    Column("policy", String, nullable=False),
    Column("policy_version", String, nullable=False),
    Column("offer_id", String),
    Column("channel", String),
    Column("candidates", Compressed, nullable=False),
    Column("record", Compressed, nullable=False),
    Column("in_ledger", Boolean, nullable=False, server_default=false()),
    Index(
        "ix_decisions_not_in_ledger",
        "customer_id",
        sqlite_where=text("NOT in_ledger"),
        postgresql_where=text("NOT in_ledger"),
    ),
    Index("ix_decisions_decided_at", "decided_at"),
)
offer_rates = Table(
    "offer_rates",
    metadata,
    Column("offer_id", String, primary_key=True),
    Column("channel", String, primary_key=True),
    Column("shown", BigInteger, nullable=False),
    Column("converted", BigInteger, nullable=False),
    Column("clicked", BigInteger, nullable=False, server_default="0"),
    Column("redeemed", BigInteger, nullable=False, server_default="0"),
    Column("first_at", BigInteger),
    *(Column(name, Float(53), nullable=False, server_default="0") for name in _YOUNG),
    Column("young_at", BigInteger),
    Column("delays", BigInteger, nullable=False, server_default="0"),
    Column("prompt", BigInteger, nullable=False, server_default="0"),
    Column("proven", BigInteger, nullable=False, server_default="0"),
    Column("presumed", BigInteger, nullable=False, server_default="0"),
)
_FIRST = ("decision_id", "customer_id")
_NEXT = tuple(column.name for column in decisions.c)[3:-3]
"""Columns before and behind `decided_at`; candidates, record and `in_ledger` are the last."""
_HEAD = [column for column in decisions.c if column.name not in {"record", "candidates", "in_ledger"}]
_STORED = {name: type_coerce(decisions.c[name], LargeBinary).label(name) for name in ("record", "candidates")}
"""As they lie in the database (see `compressed.plain`), so that a damaged one spoils no query."""
_RATE_HERE = (offer_rates.c.offer_id == bindparam("b_offer")) & (offer_rates.c.channel == bindparam("b_channel"))
_COUNTS = tuple(column.name for column in offer_rates.c if not column.primary_key)
_RATE = select(offer_rates).where(_RATE_HERE).with_for_update()
_SET_RATE = update(offer_rates).where(_RATE_HERE).values({name: bindparam(f"b_{name}") for name in _COUNTS})
"""Written once: what SQLAlchemy makes of a statement is kept with it."""
_TOLD = ("offer_id", "channel", "shown", "converted", "clicked", "redeemed", "first_at", "delays", "prompt", "young_at")
_EVERY_RATE = Prepared(select(*(offer_rates.c[name] for name in (*_TOLD, *_YOUNG))))
_UNTOLD = decisions.alias("untold")
_RECORDED = func.length(decisions.c.candidates) > 0
"""Whether a decision still has its record (see `forget_records`)."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Deliveries of an offer on a channel, and how many led to an order or redemption, a click, a redemption.

    `first_at`: when the first was, in microseconds. `young`: deliveries of which it cannot be told yet. `delays`: those
    orders and redemptions of which it is known how long after the delivery they came; `prompt`: within a minute.
    """

    shown: int
    converted: int
    clicked: int = 0
    redeemed: int = 0
    first_at: int | None = None
    young: Young = NONE_YOUNG
    delays: int = 0
    prompt: int = 0


class ChannelSums(NamedTuple):
    """Deliveries on a channel that were `told`, that only an answer has `proven`, and that are `presumed`; `delays`,
    `prompt` and `first_at` as in `Rate`.
    """

    told: int
    proven: int
    presumed: int
    delays: int
    prompt: int
    first_at: int | None


def add_decisions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes records; each row has every column. `in_ledger` must be false where no line is reserved with it."""
    insert_rows(connection, decisions, [_stored(row) for row in rows])


def _stored(row: Mapping[str, Any]) -> tuple[Any, ...]:
    first, then = map(row.__getitem__, _FIRST), map(row.__getitem__, _NEXT)
    # Candidates are numbers, of which LZ4 saves a fifth, for more time than the bytes take: they stay as they are (and
    # never begin with its mark, but with a multiple of eight).
    packed = row["candidates"], compressed(row["record"])
    return (*first, stored_time(row["decided_at"]), *then, *packed, row.get("in_ledger", False))


def add_missing_decisions(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Writes the records that are not there yet; returns their ids."""
    there = read_heads(connection, [row["decision_id"] for row in rows])
    new = [row for row in rows if row["decision_id"] not in there]
    add_decisions(connection, new)
    return {row["decision_id"] for row in new}


def read_decision(connection: Connection, decision_id: str) -> Any | None:
    """One decision's row, or None."""
    return connection.execute(select(decisions).where(decisions.c.decision_id == decision_id)).one_or_none()


def read_decisions(connection: Connection, decision_ids: Sequence[str]) -> list[Any]:
    """Those of these decisions that exist."""
    return list(connection.execute(select(decisions).where(decisions.c.decision_id.in_(decision_ids))))


def stored_records(connection: Connection, decision_ids: Sequence[str]) -> dict[str, bytes]:
    """The records of those of these decisions that have theirs, as stored."""
    mine = decisions.c.decision_id.in_(list(decision_ids)), _RECORDED
    rows = connection.execute(select(decisions.c.decision_id, _STORED["record"]).where(*mine))
    return {row.decision_id: bytes(row.record) for row in rows}


def read_heads(connection: Connection, decision_ids: Sequence[str]) -> dict[str, Any]:
    """Decisions by id, without their records."""
    rows = connection.execute(select(*_HEAD).where(decisions.c.decision_id.in_(decision_ids)))
    return {row.decision_id: row for row in rows}


def _of(customer_id: str) -> ColumnElement[bool]:
    told = select(ledger.c.decision_id).where(ledger.c.customer_id == customer_id)
    untold = select(_UNTOLD.c.decision_id).where(_UNTOLD.c.customer_id == customer_id, text("NOT untold.in_ledger"))
    return decisions.c.decision_id.in_(union(told, untold)) & (decisions.c.customer_id == customer_id)


def decided_since(connection: Connection, customer_ids: Sequence[str], since: datetime) -> set[str]:
    """Those of these customers for whom something was decided, reserved or delivered from a time on."""
    at, mine = stored_time(since), list(customer_ids)
    told = select(ledger.c.customer_id).where(
        ledger.c.customer_id.in_(mine), (ledger.c.at >= at) | (ledger.c.reserved_at >= at)
    )
    untold = select(_UNTOLD.c.customer_id).where(
        _UNTOLD.c.customer_id.in_(mine), text("NOT untold.in_ledger"), _UNTOLD.c.decided_at >= since
    )
    return set(connection.execute(union(told, untold)).scalars())


def decided_without_lines(connection: Connection, customer_ids: Collection[str]) -> set[str]:
    """Those of these customers with a decision without lines in the ledger: nothing was sent, or all was given back."""
    mine = any_of(_UNTOLD.c.customer_id, texts("wanted")), text("NOT untold.in_ledger")
    found = select(_UNTOLD.c.customer_id).where(*mine).distinct()
    return set(connection.execute(found, {"wanted": sorted(customer_ids)}).scalars())


def latest_decisions(connection: Connection, customer_id: str, limit: int) -> list[str]:
    """The ids of a customer's decisions that have their records, newest first."""
    newest = decisions.c.decided_at.desc(), decisions.c.decision_id.desc()
    mine = select(decisions.c.decision_id).where(_of(customer_id), _RECORDED)
    return list(connection.execute(mine.order_by(*newest).limit(limit)).scalars())


def newest_heads(connection: Connection, limit: int) -> list[Any]:
    """The newest decisions of all, without their candidates and records."""
    query = select(*_HEAD).order_by(decisions.c.decided_at.desc(), decisions.c.decision_id.desc())
    return list(connection.execute(query.limit(limit)))


def count_since(connection: Connection, since: datetime) -> int:
    """How many decisions were made from a time on; the index alone is read."""
    query = select(func.count()).select_from(decisions).where(decisions.c.decided_at >= since)
    return int(connection.execute(query).scalar_one())


def every_decision(connection: Connection, since: datetime | None = None) -> Iterator[Sequence[Any]]:
    """All decisions (made `since` a time) that have their records, with candidates alone of these, as stored, in
    chunks, ordered by id.
    """
    after, wanted = "", _RECORDED if since is None else _RECORDED & (decisions.c.decided_at >= since)
    while True:
        query = select(*_HEAD, _STORED["candidates"]).where(decisions.c.decision_id > after, wanted)
        rows = connection.execute(query.order_by(decisions.c.decision_id).limit(500)).all()
        if not rows:
            return
        yield rows
        after = rows[-1].decision_id


def answers_on(
    connection: Connection, channel: str, after: tuple[datetime, str], until: datetime, most: int
) -> list[Any]:
    """Decisions that put an offer on this channel first, behind (time, id) `after`, made before `until`."""
    of = decisions.c
    first = of.offer_id.is_not(None) & (of.channel == channel)
    behind = (of.decided_at > after[0]) | (of.decision_id > after[1])
    made = (of.decided_at >= after[0]) & behind & (of.decided_at < until)
    query = select(*_HEAD).where(made, first).order_by(of.decided_at, of.decision_id)
    return list(connection.execute(query.limit(most)))


def count_response(
    connection: Connection, offer_id: str, channel: str, more: Sequence[str], at: int, by: int = 1
) -> None:
    """Adds one (or `by`) to these counts (of `Rate`, by name, `proven`, `presumed`) of an offer on a channel.

    `at`, in microseconds, is when it was: events come late, so one that comes later may be the first.
    """
    key = {"b_offer": offer_id, "b_channel": channel}
    row = connection.execute(_RATE, key).one_or_none()
    if row is None:
        new = {"offer_id": offer_id, "channel": channel, "first_at": at}
        upsert(connection, offer_rates, [{**new, "shown": 0, "converted": 0, "clicked": 0, "redeemed": 0}], update=())
        row = connection.execute(_RATE, key).one()
    told = {**row._mapping, **{name: getattr(row, name) + by for name in more}}
    if row.first_at is not None:
        told["first_at"] = min(row.first_at, at)
    if "shown" in more:
        young = _young(row).with_delivery(at, by)
        told |= dict(zip(_YOUNG, young.counts, strict=True)) | {"young_at": young.at}
    connection.execute(_SET_RATE, key | {f"b_{name}": told[name] for name in _COUNTS})


def read_rates(connection: Connection) -> dict[tuple[str, str], Rate]:
    """Every offer's rates by (offer, channel)."""
    return {
        (row[0], row[1]): Rate(
            row[2], row[3], row[4], row[5], row[6], Young(tuple(row[10:]), row[9] or 0), row[7], row[8]
        )
        for row in _EVERY_RATE.rows(connection)
    }


def channel_sums(connection: Connection) -> dict[str, ChannelSums]:
    """By channel, over all offers."""
    of = offer_rates.c
    names = ("shown", "delays", "prompt", "proven", "presumed")
    sums = [func.sum(of[name]).label(name) for name in names]
    rows = connection.execute(select(of.channel, *sums, func.min(of.first_at).label("first_at")).group_by(of.channel))
    return {
        row.channel: ChannelSums(
            told=int(row.shown - row.proven - row.presumed),
            proven=int(row.proven),
            presumed=int(row.presumed),
            delays=int(row.delays),
            prompt=int(row.prompt),
            first_at=row.first_at,
        )
        for row in rows
    }


def _young(row: Any) -> Young:
    return Young(tuple(getattr(row, name) for name in _YOUNG), row.young_at or 0)


def move_decisions(connection: Connection, from_id: str, to_id: str) -> None:
    """Gives the decisions and outcomes of one id of a person to another. Records keep the id they were made for.

    Before `move_ledger`, by whose lines they are found.
    """
    for table, mine in ((decisions, _of(from_id)), (outcomes, outcomes.c.customer_id == from_id)):
        connection.execute(update(table).where(mine).values(customer_id=to_id))


def forget_decisions(connection: Connection, decision_ids: Sequence[str]) -> None:
    """Takes decisions off the record that nobody was told of, so that nothing came of them."""
    connection.execute(delete(decisions).where(decisions.c.decision_id.in_(decision_ids)))


def old_records(connection: Connection, since: datetime, before: datetime, most: int) -> list[tuple[str, datetime]]:
    """(decision, time) of decisions in [since, before) that have their records, the oldest first."""
    span = (decisions.c.decided_at >= since) & (decisions.c.decided_at < before)
    query = select(decisions.c.decision_id, decisions.c.decided_at).where(span, _RECORDED)
    found = connection.execute(query.order_by(decisions.c.decided_at).limit(most))
    return [(row.decision_id, row.decided_at) for row in found]


def drop_records(connection: Connection, decision_ids: Sequence[str]) -> None:
    """Takes the records and candidates off these decisions."""
    here, nothing = decisions.c.decision_id.in_(decision_ids), {"record": b"", "candidates": b""}
    if connection.dialect.name != "sqlite":
        connection.execute(update(decisions).where(here).values(nothing))
        return
    # SQLite gives back the pages of rows that go, not of those that become short.
    left = [
        {**row._mapping, **nothing} for row in connection.execute(select(*_HEAD, decisions.c.in_ledger).where(here))
    ]
    connection.execute(delete(decisions).where(here))
    add_decisions(connection, left)


def erase_decisions(connection: Connection, customer_id: str) -> dict[str, int]:
    """Deletes a customer's decisions and outcomes; rates are aggregates and stay. Returns how many of each.

    Before `erase_ledger`, by whose lines decisions are found.
    """
    return {
        table.name: connection.execute(delete(table).where(mine)).rowcount
        for table, mine in ((decisions, _of(customer_id)), (outcomes, outcomes.c.customer_id == customer_id))
    }


def held_of(connection: Connection, customer_id: str) -> tuple[Iterable[Any], Iterable[Any]]:
    """Every decision (without its record) and outcome of a customer, for their export."""
    mine = connection.execute(select(*_HEAD).where(_of(customer_id)).order_by(decisions.c.decided_at)).all()
    theirs = connection.execute(
        select(outcomes).where(outcomes.c.customer_id == customer_id).order_by(outcomes.c.at)
    ).all()
    return mine, theirs

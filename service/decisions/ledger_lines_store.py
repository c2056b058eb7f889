"""What becomes of lines of the ledger: delivered, settled, given back, moved, forgotten; whose events belong to which.

A decision that loses its last line is marked (`decisions.in_ledger`), since a customer's lines tell which decisions
are theirs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Boolean, ColumnElement, bindparam, column, delete, exists, select, table, update

from service.decisions.case import PLANNED_US, microseconds
from service.decisions.folded import unfolded
from service.decisions.ledger_store import FOREVER, IDS_AT_ONCE, LINE_HERE, ledger, unfold, unfold_all
from service.decisions.line import Line
from service.storage.database import Connection, any_of, texts, upsert

FOREIGN = "event:"
"""Before the message's id, in place of a decision's id: a line that no decision reserved."""
_DECISIONS = table("decisions", column("decision_id"), column("customer_id"), column("in_ledger", Boolean))
"""Declared in `decision_store`, which reads this table."""
_MARKED = any_of(_DECISIONS.c.decision_id, texts("ids")) & _DECISIONS.c.in_ledger
_LISTED = select(_DECISIONS.c.decision_id).where(_MARKED).order_by(_DECISIONS.c.decision_id).with_for_update()
_OWN = (ledger.c.decision_id == _DECISIONS.c.decision_id) & (ledger.c.customer_id == _DECISIONS.c.customer_id)
_LINES = select(ledger).where(ledger.c.decision_id == bindparam("b_decision"))
_CAME_BEFORE = update(ledger).where(LINE_HERE).values(at=bindparam("b_at"))
_NO_OTHER_MESSAGE = (
    update(ledger)
    .where(ledger.c.decision_id == bindparam("b_decision"), ledger.c.rank != bindparam("b_rank"))
    .where(ledger.c.expires < FOREVER)
    .values(message=False)
)
_DELIVERED = (
    update(ledger)
    .where(LINE_HERE)
    .values(message=bindparam("b_message"), impression=True, expires=None, at=bindparam("b_at"))
)
_MARK_BARE = update(_DECISIONS).where(_MARKED, ~exists().where(_OWN)).values(in_ledger=False)


@dataclass(frozen=True, slots=True)
class Delivered:
    """A line of the ledger that a delivery has used, or had used before (`first` is false); `at`, in microseconds."""

    decision_id: str
    rank: int
    offer_id: str
    channel: str
    first: bool
    at: int


def add_foreign(
    connection: Connection,
    message_id: str,
    customer_id: str,
    offer_id: str | None,
    channel: str | None,
    at: datetime,
    group: str | None = None,
) -> None:
    """Counts a message that was delivered without a decision of ours. The same message counts once.

    `group` is the offer's exclusion group.
    """
    row = {
        "decision_id": f"{FOREIGN}{message_id}",
        "rank": 1,
        "customer_id": customer_id,
        "offer_id": offer_id or "",
        "channel": channel or "",
        "message": True,
        "impression": offer_id is not None,
        "cost": 0.0,
        "at": microseconds(at),
        "expires": None,
        "placement": None,
        "exclusion_group": group,
        "shared": offer_id is not None,
    }
    upsert(connection, ledger, [row], update=())


def use(
    connection: Connection, decision_id: str, offer_id: str | None, channel: str | None, at: int, told: bool = True
) -> Delivered | None:
    """Marks what was delivered: the decision's line of this offer, as far as it is told, on this channel, if it has it.

    Among those that fit, one delivered before, else the first. The one message that the decision reserved becomes this
    one. Not `told`, but proven by an answer: then it came with the message of that channel that was delivered, if one
    was. None when the decision has no such line.
    """
    stored = connection.execute(_LINES, {"b_decision": decision_id}).all()
    rows = [row for row in unfolded(stored) if offer_id in {None, row.offer_id}]
    if not rows:
        return None
    row = min(rows, key=lambda r: (channel not in {None, r.channel}, r.expires is not None, r.rank))
    line = {"b_decision": decision_id, "b_rank": row.rank, "b_at": at}
    if row.expires is None:
        if at < row.at:  # what proved it first came later
            connection.execute(_CAME_BEFORE, line)
        return Delivered(decision_id, row.rank, row.offer_id, row.channel, False, row.at)
    if all(row.rank != one.rank for one in stored):
        unfold(connection, ledger.c.decision_id == decision_id)
    others = [one for one in stored if one.rank != row.rank]
    if any(one.message and one.expires is not None and one.expires < FOREVER for one in others):
        connection.execute(_NO_OTHER_MESSAGE, line)
    beside = any(_went(one) and one.channel == row.channel for one in others)
    connection.execute(_DELIVERED, line | {"b_message": told or not beside})
    return Delivered(decision_id, row.rank, row.offer_id, row.channel, True, at)


def delivered_among(connection: Connection, decision_ids: Sequence[str]) -> set[str]:
    """Those of these decisions of which something was delivered."""
    used = ledger.c.decision_id.in_(list(decision_ids)) & ledger.c.expires.is_(None)
    return set(connection.execute(select(ledger.c.decision_id).where(used).distinct()).scalars())


def _went(line: Any) -> bool:
    """Whether a line is a message that was delivered, or went out while the event of that is on its way."""
    return bool(line.message and (line.expires is None or line.expires >= FOREVER))


def release(connection: Connection, decision_id: str) -> int:
    """Gives back what a decision reserved and nobody delivered. Returns how many lines."""
    return _release(connection, [decision_id], ledger.c.decision_id == decision_id)


def release_decisions(connection: Connection, decision_ids: Sequence[str]) -> None:
    """Gives back what any of these decisions reserved and nobody delivered."""
    for start in range(0, len(decision_ids), IDS_AT_ONCE):
        some = decision_ids[start : start + IDS_AT_ONCE]
        _release(connection, some, ledger.c.decision_id.in_(some))


def _release(
    connection: Connection,
    decision_ids: Collection[str],
    lines: ColumnElement[bool],
    each: Sequence[Mapping[str, Any]] | None = None,
) -> int:
    """Deletes the lines that are not used, and marks those of these decisions that keep none.

    Others who take lines of the same decisions wait, else each might see the other's line and mark nothing. They wait
    for the decisions before the lines, as whoever joins two customers does: in two orders they could block each other.
    """
    held = connection.execute(_LISTED, {"ids": sorted(set(decision_ids))}).scalars().all()
    unfold_all(connection, decision_ids)
    gone = connection.execute(delete(ledger).where(lines, ledger.c.expires < FOREVER), each).rowcount
    if held:
        connection.execute(_MARK_BARE, {"ids": held})
    return gone


def delivery_id(key: str) -> str:
    """What stands for the decision in the line of a message `key` of our own that no decision reserved.

    The event of its delivery counts as the same line.
    """
    return f"{FOREIGN}delivered-{key}"


def lines_of(connection: Connection, names: Sequence[str]) -> dict[tuple[str, int], Line]:
    """The lines of some decisions, by decision and rank."""
    found: dict[tuple[str, int], Line] = {}
    for start in range(0, len(names), IDS_AT_ONCE):
        wanted = select(ledger).where(ledger.c.decision_id.in_(names[start : start + IDS_AT_ONCE]))
        found.update(((line.decision_id, line.rank), line) for line in unfolded(connection.execute(wanted)))
    return found


def release_all(connection: Connection, lines: Sequence[tuple[str, int]]) -> None:
    """Gives back those of these lines (decision, rank) that were not used."""
    if lines:
        rows = [{"b_decision": name, "b_rank": rank} for name, rank in lines]
        _release(connection, [name for name, _ in lines], LINE_HERE, rows)


def settle(connection: Connection, lines: Sequence[tuple[str, int]]) -> None:
    """Those of these lines (decision, rank) that are reserved count for good: their messages went out."""
    if lines:
        rows = [{"b_decision": name, "b_rank": rank} for name, rank in lines]
        unfold_all(connection, [name for name, _ in lines])
        here = update(ledger).where(LINE_HERE, ledger.c.expires < FOREVER)
        connection.execute(here.values(expires=FOREVER, message=True, impression=ledger.c.offer_id != ""), rows)


def decided_for(connection: Connection, customer_ids: Collection[str]) -> set[str]:
    """Those of the customers for whom something was decided: nobody else's events can belong to a decision."""
    asked, found = sorted(set(customer_ids)), set[str]()
    for start in range(0, len(asked), IDS_AT_ONCE):
        some = ledger.c.customer_id.in_(asked[start : start + IDS_AT_ONCE])
        own = ledger.c.decision_id.not_like(f"{FOREIGN}%")
        found.update(connection.execute(select(ledger.c.customer_id).where(some, own).distinct()).scalars())
    return found


def delivered_to(connection: Connection, customer_id: str, since: int, until: int) -> list[Any]:
    """Delivered lines of a customer in [since, until], newest first."""
    where = (ledger.c.customer_id == customer_id) & ledger.c.at.between(since, until) & ledger.c.expires.is_(None)
    return list(connection.execute(select(ledger).where(where).order_by(ledger.c.at.desc(), ledger.c.rank)))


def foreign_to(connection: Connection, customer_ids: Sequence[str], since: int, until: int) -> list[Any]:
    """Delivered messages to these customers in [since, until] that no decision reserved."""
    where = ledger.c.customer_id.in_(list(customer_ids)) & ledger.c.at.between(since, until)
    where &= ledger.c.decision_id.like(f"{FOREIGN}%") & ledger.c.expires.is_(None)
    return list(connection.execute(select(ledger).where(where)))


def was_delivered(connection: Connection, decision_id: str, offer_id: str) -> bool:
    """Whether a line of a decision's own offer was used."""
    mine = (ledger.c.decision_id == decision_id) & (ledger.c.offer_id == offer_id) & ledger.c.expires.is_(None)
    return connection.execute(select(1).where(mine).limit(1)).first() is not None


def offered_to(connection: Connection, customer_id: str, offer_id: str, since: int, until: int) -> list[Line]:
    """Lines of one offer to a customer in [since, until], delivered or not, newest first.

    A reservation made by `until` is one of them, though it be planned for later.
    """
    where = (ledger.c.customer_id == customer_id) & (ledger.c.at >= since - PLANNED_US)
    where &= (ledger.c.offer_id == offer_id) | ledger.c.folded.is_not(None)
    lines = [
        line
        for line in unfolded(connection.execute(select(ledger).where(where)))
        if line.offer_id == offer_id and line.at >= since and _was_by(line, until)
    ]
    return sorted(lines, key=lambda line: (-line.at, line.rank))


def _was_by(line: Line, until: int) -> bool:
    """As `ledger_store` asks of those that it reads as of a time."""
    return line.at <= until or (line.expires is not None and line.reserved_at is not None and line.reserved_at <= until)


def move_ledger(connection: Connection, from_id: str, to_id: str) -> None:
    """Joins the counts of two ids of one person."""
    connection.execute(update(ledger).where(ledger.c.customer_id == from_id).values(customer_id=to_id))


def erase_ledger(connection: Connection, customer_id: str) -> int:
    """Forgets whom the lines were for; shared limits keep their counts. Returns how many lines."""
    unfold(connection, ledger.c.customer_id == customer_id)
    anonymous = update(ledger).where(ledger.c.customer_id == customer_id).values(customer_id="")
    return connection.execute(anonymous).rowcount

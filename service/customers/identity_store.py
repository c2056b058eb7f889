"""Who an id is: links from former and anonymous ids to customers, and histories that are still to be joined."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Column, String, Table, bindparam, delete, select, update

from service.storage.database import Connection, UtcTime, any_of, metadata, slices, texts, upsert
from service.storage.prepared import Prepared

_JOINS = 7_067_267_826  # any number of our own, for Postgres' advisory locks

identities = Table(
    "identities",
    metadata,
    Column("alias_id", String, primary_key=True),
    Column("customer_id", String, nullable=False, index=True),
    Column("linked_at", UtcTime, nullable=False),
)

pending_merges = Table(
    "pending_merges",
    metadata,
    Column("alias_id", String, primary_key=True),
    Column("customer_id", String, nullable=False),
)

_OWNERS = Prepared(
    select(identities.c.alias_id, identities.c.customer_id).where(any_of(identities.c.alias_id, texts("ids")))
)

_JOINED = delete(pending_merges).where(
    pending_merges.c.alias_id == bindparam("former"), pending_merges.c.customer_id == bindparam("present")
)


@dataclass(frozen=True, slots=True)
class Link:
    """From a time on, `alias_id`, and whatever led to it, is `customer_id`."""

    alias_id: str
    customer_id: str
    at: datetime


def owners_of(connection: Connection, ids: Sequence[str]) -> dict[str, str]:
    """The present customer of each id that has another one now."""
    found: dict[str, str] = {}
    for some in slices(ids):
        found.update({alias: owner for alias, owner in _OWNERS.rows(connection, ids=some) if alias != owner})
    return found


def present_id(connection: Connection, customer_id: str) -> str:
    """The customer that an id means now: another one since they were joined, else itself."""
    return owners_of(connection, [customer_id]).get(customer_id, customer_id)


def joined_by(connection: Connection, events: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """Former id -> customer, of the `identify` and `alias` events that made one person of the two.

    An event says it itself (`joins`) once its owner was given: whom a shared device leads to behind these events is not
    always who has what was under it. After a kill between a file's transactions that is not known any more, and it is
    who it leads to now. An `identify` whose anonymous id is a user's own leads nowhere: see `LinkedIdentities`.
    """
    joined: dict[str, str] = {}
    asked: set[str] = set()
    for event in events:
        former = event.get("anonymous_id")
        if event["type"] not in {"identify", "alias"} or former is None or former == event["customer_id"]:
            continue
        if "joins" not in event:
            asked.add(former)
        elif event["joins"]:
            joined.setdefault(former, event["customer_id"])
    return dict(sorted({**owners_of(connection, sorted(asked)), **joined}.items()))


def aliases_of(connection: Connection, customer_id: str) -> list[str]:
    """Every other id of a customer."""
    rows = select(identities.c.alias_id).where(identities.c.customer_id == customer_id)
    return list(connection.execute(rows.order_by(identities.c.alias_id)).scalars())


def still_joining(connection: Connection, customer_id: str) -> list[str]:
    """Ids whose history is to become a customer's and is not yet; a shared device may be somebody else's by now."""
    rows = select(pending_merges.c.alias_id).where(pending_merges.c.customer_id == customer_id)
    return list(connection.execute(rows.order_by(pending_merges.c.alias_id)).scalars())


def linked_at(connection: Connection, ids: Sequence[str]) -> dict[str, datetime]:
    """When what linked each of these ids to its customer happened, where one is linked."""
    wanted = select(identities.c.alias_id, identities.c.linked_at)
    return {
        alias: at
        for some in slices(ids)
        for alias, at in connection.execute(wanted.where(identities.c.alias_id.in_(some)))
    }


def lock_joins(connection: Connection) -> None:
    """One process at a time joins ids, until its transaction ends: of two that do not see each other yet, one led to
    an id that the other led on. SQLite has one writer.
    """
    if connection.dialect.name != "sqlite":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_JOINS})")


def set_owners(connection: Connection, links: Sequence[Link]) -> None:
    """Links ids, in this order."""
    aliases = {link.alias_id: place for place, link in enumerate(links)}
    owners = {link.customer_id: place for place, link in enumerate(links)}
    ends = _lead_on(connection, identities, [(link.alias_id, link.customer_id) for link in links])
    for some in slices(sorted(owners)):
        connection.execute(delete(identities).where(identities.c.alias_id.in_(some)))
    rows = [
        {"alias_id": alias, "customer_id": ends[alias], "linked_at": links[place].at}
        for alias, place in sorted(aliases.items())
        if owners.get(alias, -1) < place  # else it became an owner again
    ]
    upsert(connection, identities, rows)


def forget_identities(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Removes every link from or to these ids."""
    some = list(customer_ids)
    either = identities.c.alias_id.in_(some) | identities.c.customer_id.in_(some)
    connection.execute(delete(pending_merges).where(pending_merges.c.alias_id.in_(some)))
    connection.execute(delete(pending_merges).where(pending_merges.c.customer_id.in_(some)))
    return connection.execute(delete(identities).where(either)).rowcount


def queue_merges(connection: Connection, merges: Sequence[tuple[str, str]]) -> None:
    """Notes, in this order, that history under one id in the event log and the features is to become the other's."""
    ends = _lead_on(connection, pending_merges, merges)
    upsert(connection, pending_merges, [{"alias_id": one, "customer_id": ends[one]} for one in sorted(ends)])


def read_merges(connection: Connection, limit: int) -> dict[str, str]:
    """Former id -> customer, of histories still to be joined."""
    rows = select(pending_merges).order_by(pending_merges.c.alias_id).limit(limit)
    return {row.alias_id: row.customer_id for row in connection.execute(rows)}


def finish_merges(connection: Connection, merges: Mapping[str, str]) -> None:
    """Histories that were joined, unless their target has moved on meanwhile."""
    for_each_former(connection, _JOINED, merges)


def led_on(moves: Iterable[tuple[str, str]], formers: Iterable[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Where ids lead after moves (from, to), of which each takes along whatever led there. Pure.

    Returns the end of each id that was moved, and of what led to each of the `formers` before the first move.
    """
    ends: dict[tuple[str, bool], str] = {(former, True): former for former in formers}
    led_here: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for former in formers:
        led_here[former].add((former, True))
    for moved, to in moves:
        mine = (moved, False)
        if mine in ends:
            led_here[ends[mine]].discard(mine)
        for one in (*led_here.pop(moved, ()), mine):
            ends[one] = to
            led_here[to].add(one)
    return (
        {name: to for (name, before), to in ends.items() if not before},
        {name: to for (name, before), to in ends.items() if before and to != name},
    )


def _lead_on(connection: Connection, table: Table, moves: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Leads on what led, in `identities` or `pending_merges`, to what moves; returns the end of each that moved."""
    leads = select(table.c.customer_id, table.c.alias_id)
    rows = [
        (row.customer_id, row.alias_id)
        for some in slices(sorted({moved for moved, _ in moves}))
        for row in connection.execute(leads.where(table.c.customer_id.in_(some)))
    ]
    ends, led = led_on(moves, {former for former, _ in rows})
    on = [{"led": alias, "former": former, "present": led[former]} for former, alias in sorted(rows) if former in led]
    if on:
        still = table.c.alias_id == bindparam("led"), table.c.customer_id == bindparam("former")
        connection.execute(update(table).where(*still).values(customer_id=bindparam("present", type_=String)), on)
    return ends


def for_each_former(connection: Connection, statement: Any, presents: Mapping[str, str]) -> None:
    """Runs a statement for each former id and what it is now, in one order, so that two writers do not lock up."""
    values = [{"former": former, "present": present} for former, present in sorted(presents.items())]
    if values:
        connection.execute(statement, values)

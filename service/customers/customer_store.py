"""Profiles, the record of consents, and the installation's secrets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    bindparam,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    type_coerce,
    update,
)

from service.customers.identity_store import for_each_former, identities, owners_of, pending_merges, present_id
from service.customers.profile import ConsentChange, Profile
from service.storage.database import Connection, Json, UtcTime, any_of, metadata, slices, texts, those_in, upsert
from service.storage.prepared import Prepared

customers = Table(
    "customers",
    metadata,
    Column("customer_id", String, primary_key=True),
    Column("first_seen", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("identified", Boolean, nullable=False),
    Column("timezone", String),
    Column("locale", String),
    Column("country", String),
    Column("profiling", Boolean, nullable=False),
    Column("traits", Json, nullable=False),
    Column("trait_times", Json, nullable=False),
    Column("segments", Json, nullable=False),
    Column("consents", Json, nullable=False),
    Column("consent_times", Json, nullable=False),
    Index(
        "ix_customers_in_segments",
        "customer_id",
        sqlite_where=text("length(segments) > 2"),  # more than {}
        postgresql_where=text("length(segments) > 2"),
    ),
)
consent_log = Table(
    "consent_log",
    metadata,
    Column("entry", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("customer_id", String, nullable=False, index=True),
    Column("at", UtcTime, nullable=False),
    Column("channel", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("answer", Boolean),
    Column("source", String, nullable=False),
)
customer_secrets = Table(
    "customer_secrets",
    metadata,
    Column("name", String, primary_key=True),
    Column("value", String, nullable=False),
)

_FIELDS = tuple(one.name for one in fields(Profile))


@dataclass(frozen=True, slots=True)
class Customer:
    """What a decision, a text or a journey may know of a person. `known` is false for an id never seen."""

    customer_id: str
    traits: Mapping[str, Any]
    timezone: str | None
    locale: str | None
    country: str | None
    segments: tuple[str, ...]
    consents: Mapping[str, Mapping[str, bool]]
    profiling: bool
    known: bool


_READ = select(
    customers.c.customer_id,
    customers.c.traits,
    customers.c.timezone,
    customers.c.locale,
    customers.c.country,
    customers.c.segments,
    customers.c.consents,
    customers.c.profiling,
)
_READ_SOME = Prepared(_READ.where(any_of(customers.c.customer_id, texts("ids"))))
_THERE = Prepared(select(customers.c.customer_id).where(any_of(customers.c.customer_id, texts("ids"))))


def read_customer(connection: Connection, customer_id: str) -> Customer:
    """The customer behind an id, a former id or an anonymous id; a blank one where nothing is known."""
    return read_customers(connection, [customer_id])[customer_id]


def read_customers(connection: Connection, customer_ids: Collection[str]) -> dict[str, Customer]:
    """Customers by the ids asked for; each has its present id in `customer_id`."""
    wanted = list(dict.fromkeys(customer_ids))
    found = _found(connection, wanted)
    missing = [one for one in wanted if one not in found]
    if missing:
        owners = owners_of(connection, missing)
        theirs = _found(connection, list(set(owners.values()))) if owners else {}
        for one in missing:
            owner = owners.get(one, one)
            found[one] = theirs.get(owner) or Customer(owner, {}, None, None, None, (), {}, True, False)
    return found


def with_trait(connection: Connection, values: Collection[str], limit: int) -> list[Customer]:
    """Customers of whom some trait is exactly one of these texts, by id. It looks through everybody: for people."""
    holds = or_(*(_has(connection, customers.c.traits, b":" + orjson.dumps(value)) for value in values))
    rows = connection.execute(_READ.where(holds).order_by(customers.c.customer_id).limit(limit))
    return [_known(row) for row in rows]


def segment_members(connection: Connection, segment: str, after: str, limit: int) -> list[str]:
    """Ids behind `after`, in order, of those in a segment. It looks through everybody behind it who is in any one."""
    mine = _has(connection, customers.c.segments, orjson.dumps(segment)), customers.c.customer_id > after
    rows = select(customers.c.customer_id).where(text("length(segments) > 2"), *mine)
    rows = rows.order_by(customers.c.customer_id).limit(limit)
    return list(connection.execute(rows).scalars())


def _has(connection: Connection, column: Column[Any], part: bytes) -> ColumnElement[bool]:
    """Whether some JSON has these bytes in it, read by the database."""
    place = func.instr if connection.dialect.name == "sqlite" else func.pg_catalog.position
    found: ColumnElement[bool] = place(type_coerce(column, LargeBinary), literal(part, LargeBinary)) > 0
    return found


def read_profiles(connection: Connection, customer_ids: Iterable[str], lock: bool = False) -> dict[str, Profile]:
    """Profiles by id, of those that exist; `lock` keeps other writers off until the transaction ends."""
    found: dict[str, Profile] = {}
    for some in slices(sorted(set(customer_ids))):
        rows = select(customers).where(customers.c.customer_id.in_(some)).order_by(customers.c.customer_id)
        for row in connection.execute(rows.with_for_update() if lock else rows).mappings():
            found[row["customer_id"]] = Profile(**{name: row[name] for name in _FIELDS})
    return found


def lock_profiles(connection: Connection, customer_ids: Iterable[str]) -> None:
    """Keeps other writers off those of these profiles that exist until the transaction ends. SQLite has one writer."""
    if connection.dialect.name == "sqlite":
        return
    for some in slices(sorted(set(customer_ids))):
        rows = select(customers.c.customer_id).where(customers.c.customer_id.in_(some))
        connection.execute(rows.order_by(customers.c.customer_id).with_for_update())


def lock_present(connection: Connection, customer_id: str) -> tuple[str, Profile | None]:
    """The customer that an id means now, and their profile, if there is one, kept from other writers.

    Who is joined to another id while their profile is waited for is that one: what is written to the former id then,
    a refusal too, would be nobody's.
    """
    owner = present_id(connection, customer_id)
    stored = read_profiles(connection, [owner], lock=True).get(owner)
    if stored is None:
        owner = present_id(connection, customer_id)
        stored = read_profiles(connection, [owner], lock=True).get(owner)
    return owner, stored


def write_profiles(connection: Connection, profiles: Sequence[Profile]) -> None:
    """Stores profiles, new or changed."""
    rows = [{name: getattr(profile, name) for name in _FIELDS} for profile in profiles]
    for some in slices(rows):
        upsert(connection, customers, some)


def delete_profiles(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Removes profiles; returns how many there were."""
    return sum(
        connection.execute(delete(customers).where(customers.c.customer_id.in_(some))).rowcount
        for some in slices(customer_ids)
    )


def identified_of(connection: Connection, ids: Sequence[str]) -> dict[str, bool]:
    """Of those of these ids that have a profile, whether it is a user's."""
    wanted = select(customers.c.customer_id, customers.c.identified)
    return {
        name: known
        for some in slices(ids)
        for name, known in connection.execute(wanted.where(customers.c.customer_id.in_(some)))
    }


def those_there(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of these customers that have a profile."""
    return {name for some in slices(ids) for (name,) in _THERE.rows(connection, ids=some)}


def first_seen_of(connection: Connection, ids: Sequence[str]) -> dict[str, datetime]:
    """When each of these customers was first seen; those without a profile are not in it."""
    wanted = select(customers.c.customer_id, customers.c.first_seen)
    return {
        name: at
        for some in slices(ids)
        for name, at in connection.execute(wanted.where(customers.c.customer_id.in_(some)))
    }


_TOLD_BY = (
    update(consent_log)
    .where(consent_log.c.customer_id == bindparam("former"))
    .values(customer_id=bindparam("present", type_=String))
)
"""Written once: to write a statement takes longer than to run it."""


def add_consents(connection: Connection, changes: Sequence[ConsentChange]) -> None:
    """Appends to the record of consents."""
    if changes:
        connection.execute(insert(consent_log), [asdict(change) for change in changes])


def consents_told(connection: Connection, customer_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The record of a customer's consents, oldest first."""
    rows = select(consent_log).where(consent_log.c.customer_id.in_(customer_ids)).order_by(consent_log.c.entry)
    return [
        {"at": r.at, "channel": r.channel, "purpose": r.purpose, "answer": r.answer, "source": r.source}
        for r in connection.execute(rows)
    ]


def forget_consents(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Removes the record of consents."""
    return connection.execute(delete(consent_log).where(consent_log.c.customer_id.in_(customer_ids))).rowcount


def move_consents(connection: Connection, owners: Mapping[str, str]) -> None:
    """The records of these ids become those of others."""
    for_each_former(connection, _TOLD_BY, owners)


def all_profiles(connection: Connection) -> Iterator[list[Profile]]:
    """Every profile in the order of the ids, 5,000 at a time."""
    after = ""
    while found := profiles_after(connection, after, 5_000):
        yield found
        after = found[-1].customer_id


def profiles_after(connection: Connection, after: str, limit: int) -> list[Profile]:
    """So many profiles behind an id, in the order of the ids."""
    rows = select(customers).where(customers.c.customer_id > after).order_by(customers.c.customer_id).limit(limit)
    return [Profile(**{name: row[name] for name in _FIELDS}) for row in connection.execute(rows).mappings()]


def named_elsewhere(connection: Connection, ids: Sequence[str]) -> set[str]:
    """Those of these ids that were joined with another one, or are to be, or of whom a consent is on record."""
    columns = (
        identities.c.alias_id,
        identities.c.customer_id,
        pending_merges.c.alias_id,
        pending_merges.c.customer_id,
        consent_log.c.customer_id,
    )
    return set().union(*(those_in(connection, column, ids) for column in columns))


def customer_ids(connection: Connection, after: str, limit: int) -> list[str]:
    """Ids in order, for batch work."""
    rows = select(customers.c.customer_id).where(customers.c.customer_id > after)
    return list(connection.execute(rows.order_by(customers.c.customer_id).limit(limit)).scalars())


def secret(connection: Connection, name: str, fresh: str) -> str:
    """The installation's secret of this name; `fresh` becomes it where there is none."""
    upsert(connection, customer_secrets, [{"name": name, "value": fresh}], update=())
    stored = select(customer_secrets.c.value).where(customer_secrets.c.name == name)
    return str(connection.execute(stored).scalar_one())


def _found(connection: Connection, ids: Sequence[str]) -> dict[str, Customer]:
    found: dict[str, Customer] = {}
    for some in slices(ids):
        for row in _READ_SOME.rows(connection, ids=some):
            found[row[0]] = _known(row)
    return found


def _known(row: Sequence[Any]) -> Customer:
    name, traits, zone, locale, country, segments, consents, profiling = row
    return Customer(name, traits, zone, locale, country, tuple(segments), consents, profiling, True)

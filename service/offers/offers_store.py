"""Offers and every version they ever had. A counter moves with each change, so that caches notice at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Column, Index, Integer, String, Table, bindparam, select, update

from service.offers.offer import content_hash
from service.storage.database import Connection, Json, UtcTime, any_key, metadata, upsert
from service.storage.prepared import Prepared

offers = Table(
    "offers",
    metadata,
    Column("offer_id", String, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("change", BigInteger, nullable=False),
    Column("hash", String, nullable=False),
    Column("document", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Column("deleted_at", UtcTime),
    Index("ix_offers_change", "change"),
)
offer_versions = Table(
    "offer_versions",
    metadata,
    Column("offer_id", String, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Json, nullable=False),
    Column("at", UtcTime, nullable=False),
)
catalogue_state = Table(
    "catalogue_state",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("change", BigInteger, nullable=False),
)
_CHUNK = 500
_CHANGE = Prepared(select(catalogue_state.c.change).where(catalogue_state.c.id == 1))


@dataclass(frozen=True, slots=True)
class StoredOffer:
    """An offer as it is kept; `deleted_at` is set when it was taken out of the catalogue."""

    offer_id: str
    version: int
    hash: str
    document: Mapping[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


def change_number(connection: Connection) -> int:
    """A number that grows with every change of the catalogue; 0 before the first."""
    found = _CHANGE.rows(connection)
    return int(found[0][0]) if found else 0


def put_offers(connection: Connection, documents: Mapping[str, Mapping[str, Any]], now: datetime) -> list[StoredOffer]:
    """Puts offers; a document that is the same as before changes nothing. Call it in a `write()` transaction."""
    change = _next_change(connection)
    before = {row.offer_id: row for row in read_offers(connection, list(documents), deleted=True)}
    changed: list[StoredOffer] = []
    answer: list[StoredOffer] = []
    for offer_id, document in documents.items():
        old = before.get(offer_id)
        if old is not None and old.deleted_at is None and old.document == document:
            answer.append(old)
            continue
        created = old.created_at if old else now
        version = old.version + 1 if old else 1
        new = StoredOffer(offer_id, version, content_hash(document), document, created, now, None)
        changed.append(new)
        answer.append(new)
    _write(connection, changed, change)
    return answer


def delete_offer(connection: Connection, offer_id: str, now: datetime) -> bool:
    """Takes an offer out of the catalogue; its versions stay for past decisions. False when there is none."""
    change = _next_change(connection)
    live = (offers.c.offer_id == offer_id) & offers.c.deleted_at.is_(None)
    changed = connection.execute(update(offers).where(live).values(deleted_at=now, change=change))
    return changed.rowcount == 1


def read_offers(connection: Connection, offer_ids: Sequence[str], deleted: bool = False) -> list[StoredOffer]:
    """The offers among these ids that exist."""
    found: list[StoredOffer] = []
    for start in range(0, len(offer_ids), _CHUNK):
        where = offers.c.offer_id.in_(offer_ids[start : start + _CHUNK])
        rows = connection.execute(select(offers).where(where if deleted else where & offers.c.deleted_at.is_(None)))
        found.extend(_stored(row) for row in rows)
    return found


def list_offers(connection: Connection, after: str, limit: int) -> list[StoredOffer]:
    """Live offers in the order of their ids, after one of them."""
    where = offers.c.deleted_at.is_(None) & (offers.c.offer_id > after)
    query = select(offers).where(where).order_by(offers.c.offer_id).limit(limit)
    return [_stored(row) for row in connection.execute(query)]


def all_offers(connection: Connection) -> Iterable[StoredOffer]:
    """Every offer, also those taken out, in the order of their ids."""
    return (_stored(row) for row in connection.execute(select(offers).order_by(offers.c.offer_id)))


def changed_since(connection: Connection, change: int) -> list[StoredOffer]:
    """Offers put or deleted after a change number."""
    return [_stored(row) for row in connection.execute(select(offers).where(offers.c.change > change))]


def every_version(connection: Connection, change: int) -> Iterable[StoredOffer]:
    """Every version of the offers put or deleted after a change number; `updated_at` is when each was put, and
    `deleted_at` stands at the version that was taken out."""
    query = (
        select(
            offer_versions.c.offer_id,
            offer_versions.c.version,
            offer_versions.c.document,
            offer_versions.c.at,
            offers.c.version.label("last"),
            offers.c.created_at,
            offers.c.deleted_at,
        )
        .join(offers, offers.c.offer_id == offer_versions.c.offer_id)
        .where(offers.c.change > change)
        .order_by(offer_versions.c.offer_id, offer_versions.c.version)
    )
    for row in connection.execute(query):
        gone = row.deleted_at if row.version == row.last else None
        digest = content_hash(row.document)
        yield StoredOffer(row.offer_id, row.version, digest, row.document, row.created_at, row.at, gone)


def read_versions(
    connection: Connection, wanted: Sequence[tuple[str, int]]
) -> dict[tuple[str, int], Mapping[str, Any]]:
    """Documents by (offer, version): what the catalogue said when a decision was made."""
    found: dict[tuple[str, int], Mapping[str, Any]] = {}
    columns = (offer_versions.c.offer_id, offer_versions.c.version)
    for start in range(0, len(wanted), 200):
        for row in connection.execute(select(offer_versions).where(any_key(columns, wanted[start : start + 200]))):
            found[row.offer_id, row.version] = row.document
    return found


def documents_of(connection: Connection, offer_ids: Sequence[str]) -> Iterable[tuple[str, int, Mapping[str, Any]]]:
    """Every version (offer, number, document) that these offers ever had."""
    for start in range(0, len(offer_ids), _CHUNK):
        wanted = offer_versions.c.offer_id.in_(offer_ids[start : start + _CHUNK])
        for row in connection.execute(select(offer_versions).where(wanted)):
            yield row.offer_id, row.version, row.document


def _next_change(connection: Connection) -> int:
    """Moves the counter, which also makes writers of the catalogue wait for each other on Postgres."""
    upsert(connection, catalogue_state, [{"id": 1, "change": 0}], update=())
    moved = update(catalogue_state).where(catalogue_state.c.id == bindparam("one"))
    connection.execute(moved.values(change=catalogue_state.c.change + 1), {"one": 1})
    return change_number(connection)


def _write(connection: Connection, changed: Sequence[StoredOffer], change: int) -> None:
    rows = [
        {
            "offer_id": offer.offer_id,
            "version": offer.version,
            "change": change,
            "hash": offer.hash,
            "document": offer.document,
            "created_at": offer.created_at,
            "updated_at": offer.updated_at,
            "deleted_at": None,
        }
        for offer in changed
    ]
    upsert(connection, offers, rows)
    versions = [
        {"offer_id": o.offer_id, "version": o.version, "document": o.document, "at": o.updated_at} for o in changed
    ]
    if versions:
        connection.execute(offer_versions.insert(), versions)


def _stored(row: Any) -> StoredOffer:
    return StoredOffer(
        row.offer_id, row.version, row.hash, row.document, row.created_at, row.updated_at, row.deleted_at
    )

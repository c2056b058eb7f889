"""Variants of copy, the trail of what was done to them, and a number that grows with every change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Index, Integer, String, Table, func, insert, select, update

from service.content.variant import Variant
from service.storage.database import Connection, Json, UtcTime, metadata, slices, upsert

content_variants = Table(
    "content_variants",
    metadata,
    Column("variant_id", String, primary_key=True),
    Column("offer_id", String, nullable=False),
    Column("offer_hash", String, nullable=False),
    Column("channel", String, nullable=False),
    Column("locale", String, nullable=False),
    Column("segment", String),
    Column("angle", String, nullable=False),
    Column("state", String, nullable=False),
    Column("fields", Json, nullable=False),
    Column("checks", Json, nullable=False),
    Column("lineage", Json, nullable=False),
    Column("version", Integer, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("updated_at", UtcTime, nullable=False),
    Index("ix_content_variants_standing", "state", "variant_id", "version", "updated_at", "offer_id", "offer_hash"),
    Index(None, "offer_id", "channel", "state"),
)
content_trail = Table(
    "content_trail",
    metadata,
    Column("trail_id", String, primary_key=True),
    Column("variant_id", String, nullable=False),
    Column("at", UtcTime, nullable=False),
    Column("who", String, nullable=False),
    Column("action", String, nullable=False),
    Column("detail", Json, nullable=False),
    Index(None, "variant_id", "at"),
)
content_changes = Table(
    "content_changes",
    metadata,
    Column("name", String, primary_key=True),
    Column("number", Integer, nullable=False),
)


def add_variants(connection: Connection, variants: Sequence[Variant]) -> None:
    """Stores new variants."""
    if variants:
        connection.execute(insert(content_variants), [_row(variant) for variant in variants])
        count_change(connection)


def find_variant(connection: Connection, variant_id: str, lock: bool = False) -> Variant | None:
    """The variant, or None; `lock` keeps other writers away until the transaction ends."""
    statement = select(content_variants).where(content_variants.c.variant_id == variant_id)
    row = connection.execute(statement.with_for_update() if lock else statement).one_or_none()
    return None if row is None else _variant(row)


def list_variants(
    connection: Connection,
    state: str | None = None,
    channel: str | None = None,
    locale: str | None = None,
    offer_id: str | None = None,
    limit: int = 100,
    after: str | None = None,
    language: str | None = None,
) -> list[Variant]:
    """Variants by the filters given, oldest first; `after` is the last variant_id of the page before.

    `locale` is that very one; `language`, such as `de`, is also met by `de-AT`.
    """
    columns = content_variants.c
    statement = select(content_variants).order_by(columns.variant_id).limit(limit)
    for column, value in (
        (columns.state, state),
        (columns.channel, channel),
        (columns.locale, locale),
        (columns.offer_id, offer_id),
    ):
        if value is not None:
            statement = statement.where(column == value)
    if language is not None:
        statement = statement.where(_in_language(language))
    if after is not None:
        statement = statement.where(columns.variant_id > after)
    return [_variant(row) for row in connection.execute(statement)]


def approved_variants(connection: Connection, known: Mapping[str, Variant] | None = None) -> dict[str, Variant]:
    """Every approved variant by its id, oldest first: few enough to be kept in memory.

    Those of `known` that have not changed since are not read again: texts and checks of thousands take half a second.
    """
    columns, known = content_variants.c, known or {}
    standing = select(columns.variant_id, columns.version, columns.updated_at).where(columns.state == "approved")
    newest = {row[0]: (row[1], row[2]) for row in connection.execute(standing.order_by(columns.variant_id))}
    held = {name: one for name, one in known.items() if (one.version, one.updated_at) == newest.get(name)}
    lacking = [name for name in newest if name not in held]
    for names in slices(lacking):
        held |= {one.variant_id: one for one in read_variants(connection, names) if one.state == "approved"}
    return {name: held[name] for name in newest if name in held}


def approved_for(
    connection: Connection, channel: str | None = None, language: str | None = None, offer_id: str | None = None
) -> list[tuple[str, str, str]]:
    """(variant_id, offer_id, hash of the offer that it was approved for) of every approved variant, oldest first."""
    columns = content_variants.c
    statement = select(columns.variant_id, columns.offer_id, columns.offer_hash).where(columns.state == "approved")
    for column, value in ((columns.channel, channel), (columns.offer_id, offer_id)):
        if value is not None:
            statement = statement.where(column == value)
    if language is not None:
        statement = statement.where(_in_language(language))
    return [(row[0], row[1], row[2]) for row in connection.execute(statement.order_by(columns.variant_id))]


def approved_places(connection: Connection, offer_ids: Sequence[str] | None = None) -> list[tuple[str, str, str, str]]:
    """(offer_id, hash of the offer, channel, locale) where something is approved, each once: of all offers or these."""
    columns = content_variants.c
    place = (columns.offer_id, columns.offer_hash, columns.channel, columns.locale)
    statement = select(*place).where(columns.state == "approved").distinct()
    if offer_ids is not None:
        statement = statement.where(columns.offer_id.in_(list(offer_ids)))
    return [(row[0], row[1], row[2], row[3]) for row in connection.execute(statement)]


def read_variants(connection: Connection, variant_ids: Sequence[str]) -> list[Variant]:
    """The variants among these few ids, oldest first."""
    wanted = content_variants.c.variant_id.in_(list(variant_ids))
    rows = connection.execute(select(content_variants).where(wanted).order_by(content_variants.c.variant_id))
    return [_variant(row) for row in rows]


def count_states(connection: Connection) -> dict[str, int]:
    """How many variants there are in each state."""
    rows = connection.execute(select(content_variants.c.state, func.count()).group_by(content_variants.c.state))
    return {str(state): int(number) for state, number in rows}


def replace_variant(connection: Connection, variant: Variant, expected_version: int) -> bool:
    """Writes the variant if it still has `expected_version`; False when somebody else was first."""
    changed = connection.execute(
        update(content_variants)
        .where(content_variants.c.variant_id == variant.variant_id, content_variants.c.version == expected_version)
        .values(**_row(variant))
    )
    count_change(connection)
    return changed.rowcount == 1


def add_to_trail(
    connection: Connection,
    trail_id: str,
    variant_id: str,
    at: datetime,
    who: str,
    action: str,
    detail: Mapping[str, Any],
) -> None:
    """Notes what was done, by whom (the key's label) and when."""
    connection.execute(
        insert(content_trail).values(
            trail_id=trail_id, variant_id=variant_id, at=at, who=who, action=action, detail=dict(detail)
        )
    )


def trail_of(connection: Connection, variant_ids: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The trail of each variant, oldest first."""
    rows = connection.execute(
        select(content_trail)
        .where(content_trail.c.variant_id.in_(list(variant_ids)))
        .order_by(content_trail.c.at, content_trail.c.trail_id)
    )
    trails: dict[str, list[dict[str, Any]]] = {variant_id: [] for variant_id in variant_ids}
    for row in rows:
        trails[row.variant_id].append({"at": row.at, "who": row.who, "action": row.action, **row.detail})
    return trails


def edited_at(connection: Connection, variant_ids: Sequence[str]) -> dict[str, datetime]:
    """When each of these variants was edited last; those that never were are left out."""
    mine = content_trail.c.variant_id.in_(list(variant_ids)) & (content_trail.c.action == "edit")
    last = select(content_trail.c.variant_id, func.max(content_trail.c.at).label("at")).where(mine)
    return {row.variant_id: row.at for row in connection.execute(last.group_by(content_trail.c.variant_id))}


def change_number(connection: Connection) -> int:
    """Grows with every change of any variant: one row read tells whether a cache is fresh."""
    found = connection.execute(select(content_changes.c.number).where(content_changes.c.name == "content"))
    return found.scalar_one_or_none() or 0


def count_change(connection: Connection) -> None:
    """Moves the change number on."""
    upsert(connection, content_changes, [{"name": "content", "number": 0}], update=())
    connection.execute(
        update(content_changes).where(content_changes.c.name == "content").values(number=content_changes.c.number + 1)
    )


def _in_language(language: str) -> ColumnElement[bool]:
    locale = content_variants.c.locale
    return (locale == language) | locale.startswith(f"{language}-", autoescape=True)


def _row(variant: Variant) -> dict[str, Any]:
    return {
        "variant_id": variant.variant_id,
        "offer_id": variant.offer_id,
        "offer_hash": variant.offer_hash,
        "channel": variant.channel,
        "locale": variant.locale,
        "segment": variant.segment,
        "angle": variant.angle,
        "state": variant.state,
        "fields": dict(variant.fields),
        "checks": [dict(check) for check in variant.checks],
        "lineage": dict(variant.lineage),
        "version": variant.version,
        "created_at": variant.created_at,
        "updated_at": variant.updated_at,
    }


def _variant(row: Any) -> Variant:
    return Variant(
        variant_id=row.variant_id,
        offer_id=row.offer_id,
        offer_hash=row.offer_hash,
        channel=row.channel,
        locale=row.locale,
        segment=row.segment,
        angle=row.angle,
        state=row.state,
        fields=row.fields,
        checks=tuple(row.checks),
        lineage=row.lineage,
        version=row.version,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )

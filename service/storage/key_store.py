"""API keys: shown once, stored hashed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Column, Connection, String, Table, select, update

from service.storage.database import Json, UtcTime, metadata

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("hash", String, nullable=False, unique=True),
    Column("label", String, nullable=False),
    Column("scopes", Json, nullable=False),
    Column("created_at", UtcTime, nullable=False),
    Column("revoked_at", UtcTime),
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as it is kept: never its secret."""

    key_id: str
    label: str
    scopes: tuple[str, ...]
    created_at: datetime
    revoked_at: datetime | None


def add_key(connection: Connection, key: ApiKey, hashed: str) -> None:
    """Stores a new key under its hash."""
    connection.execute(
        api_keys.insert().values(
            key_id=key.key_id,
            hash=hashed,
            label=key.label,
            scopes=list(key.scopes),
            created_at=key.created_at,
        )
    )


def find_key(connection: Connection, hashed: str) -> ApiKey | None:
    """The key with this hash, unless revoked."""
    found = connection.execute(
        select(api_keys).where(api_keys.c.hash == hashed, api_keys.c.revoked_at.is_(None))
    ).one_or_none()
    return None if found is None else _key(found)


def good_keys(connection: Connection, most: int) -> dict[str, ApiKey]:
    """The newest keys that are not revoked, so many at most, by their hashes."""
    good = select(api_keys).where(api_keys.c.revoked_at.is_(None))
    found = connection.execute(good.order_by(api_keys.c.created_at.desc()).limit(most))
    return {row.hash: _key(row) for row in found}


def list_keys(connection: Connection) -> Sequence[ApiKey]:
    """Every key, oldest first."""
    return [_key(row) for row in connection.execute(select(api_keys).order_by(api_keys.c.created_at))]


def revoke_key(connection: Connection, key_id: str, now: datetime) -> bool:
    """Ends a key; False when there is none such, or it had ended."""
    changed = connection.execute(
        update(api_keys).where(api_keys.c.key_id == key_id, api_keys.c.revoked_at.is_(None)).values(revoked_at=now)
    )
    return changed.rowcount == 1


def _key(row: object) -> ApiKey:
    return ApiKey(row.key_id, row.label, tuple(row.scopes), row.created_at, row.revoked_at)  # type: ignore[attr-defined]

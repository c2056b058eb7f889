"""First answers to requests that carry an `Idempotency-Key`, kept for a day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import orjson
import xxhash
from sqlalchemy import Column, Index, Integer, LargeBinary, String, Table, TextClause, delete, select, text, update

from service.clock import new_id
from service.storage.database import Connection, UtcTime, any_of, metadata, texts, upsert

KEEP = timedelta(days=1)
GIVE_UP = timedelta(minutes=5)
ERASED = 410
"""The status of an answer that went with a customer whom it named."""
_CONTAINS = {"sqlite": "instr(answer, :{}) > 0", "postgresql": "position(CAST(:{} AS bytea) IN answer) > 0"}

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("key", String, primary_key=True),
    Column("body_hash", String, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("status", Integer),
    Column("media_type", String),
    Column("answer", LargeBinary),
    Column("etag", String),
    Index(None, "started_at"),
)


@dataclass(frozen=True, slots=True)
class Once:
    """What a request under a key is known by; `again`: its process died, so that what it made may be there."""

    name: str
    again: bool = False

    def part(self, place: int) -> str:
        """The name of one of the things that it makes."""
        return xxhash.xxh3_128_hexdigest(f"{self.name} {place}".encode())


@dataclass(frozen=True, slots=True)
class Earlier:
    """A request seen before under the same key; `status` is None while it is still running."""

    body_hash: str
    status: int | None
    media_type: str | None
    answer: bytes | None
    etag: str | None = None


def begin(connection: Connection, key: str, body_hash: str, now: datetime) -> Earlier | Once:
    """Claims a key when it is new (or its first request died), else what is known of the earlier one.

    Until there is an answer, its place holds the name of the request: who does it again has the same.
    """
    connection.execute(delete(idempotency_keys).where(idempotency_keys.c.started_at < now - KEEP))
    started = idempotency_keys.c.started_at
    dead = idempotency_keys.c.status.is_(None) & (
        (started < now - GIVE_UP) | (started > now + GIVE_UP)
    )  # a wrong clock
    gone = delete(idempotency_keys).where(idempotency_keys.c.key == key, dead)
    died = connection.execute(gone.returning(idempotency_keys.c.answer, idempotency_keys.c.body_hash)).one_or_none()
    again = died is not None and died.answer is not None and died.body_hash == body_hash
    once = Once(bytes(died.answer).decode() if died is not None and again else new_id(now), again)
    claim = {"key": key, "body_hash": body_hash, "started_at": now, "answer": once.name.encode()}
    if upsert(connection, idempotency_keys, [claim], update=()):
        return once
    row = connection.execute(select(idempotency_keys).where(idempotency_keys.c.key == key)).one()
    return Earlier(row.body_hash, row.status, row.media_type, row.answer, row.etag)


def finish(
    connection: Connection, key: str, status: int, media_type: str, answer: bytes, etag: str | None = None
) -> None:
    """Keeps the first answer."""
    told = {"status": status, "media_type": media_type, "answer": answer, "etag": etag}
    connection.execute(update(idempotency_keys).where(idempotency_keys.c.key == key).values(told))


def answers_naming(connection: Connection, customer_ids: Sequence[str]) -> list[str]:
    """The keys of answers that name these customers. It looks through all of them, so let no writer wait for it.

    Answers name them as a value, refusals in a sentence (`'c42' is in this journey now`).
    """
    return list(connection.execute(select(idempotency_keys.c.key).where(_names(connection, customer_ids))).scalars())


def erase_answers(connection: Connection, customer_ids: Sequence[str], keys: Sequence[str], now: datetime) -> int:
    """Empties the answers that name these customers; their keys stay used, so that nothing is done a second time.

    `keys`: those of `answers_naming`, asked before. What has been answered since is looked for here, among requests
    that began in the last minutes before `now`.
    """
    young = idempotency_keys.c.started_at >= now - GIVE_UP, _names(connection, customer_ids)
    found = {*keys, *connection.execute(select(idempotency_keys.c.key).where(*young)).scalars()}
    named = any_of(idempotency_keys.c.key, texts("keys")) & idempotency_keys.c.answer.is_not(None)
    erased = update(idempotency_keys).where(named).values(status=ERASED, answer=None)
    return connection.execute(erased, {"keys": sorted(found)}).rowcount


def _names(connection: Connection, customer_ids: Sequence[str]) -> TextClause:
    names = [form for one in customer_ids for form in (orjson.dumps(one), orjson.dumps(repr(one))[1:-1])]
    told = {f"name_{number}": name for number, name in enumerate(names)}
    each = " OR ".join(_CONTAINS[connection.dialect.name].format(name) for name in told)
    return text(f"(answer IS NOT NULL AND ({each}))").bindparams(**told)


def bring_in(connection: Connection, answers: Sequence[tuple[str, Earlier]], now: datetime) -> None:
    """Keeps answers that were given while the database was away; one that it has already stays as it is."""
    for key, earlier in answers:
        claim = {"key": key, "body_hash": earlier.body_hash, "started_at": now}
        upsert(connection, idempotency_keys, [claim], update=())
        unanswered = (idempotency_keys.c.key == key) & idempotency_keys.c.status.is_(None)
        told = {name: getattr(earlier, name) for name in ("status", "media_type", "answer", "etag")}
        connection.execute(update(idempotency_keys).where(unanswered).values(told))


def forget(connection: Connection, key: str) -> None:
    """Frees a key whose request made nothing, so that it may be tried again."""
    connection.execute(delete(idempotency_keys).where(idempotency_keys.c.key == key))

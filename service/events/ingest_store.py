"""Which files were ingested, and how far the one in progress is."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import BigInteger, Column, ColumnElement, Integer, String, Table, delete, select, update

from service.storage.database import Connection, UtcTime, metadata, upsert

ingested_files = Table(
    "ingested_files",
    metadata,
    Column("file_hash", String, primary_key=True),
    Column("path", String, nullable=False),
    Column("started_at", UtcTime, nullable=False),
    Column("finished_at", UtcTime),
    Column("chunks", Integer, nullable=False),
    Column("accepted", BigInteger, nullable=False),
    Column("rejected", BigInteger, nullable=False),
    Column("stale_chunks", Integer, nullable=False),
    Column("applied", BigInteger),
)


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a file is: chunks stored, lines accepted and rejected.

    `stale_chunks` counts the parts that an earlier reading of the same content (by another mapping) has left.
    `applied` is the last line of the next chunk whose effects are made, 0 once its owners are settled; None before.
    """

    finished: bool
    chunks: int
    accepted: int
    rejected: int
    stale_chunks: int
    applied: int | None = None


def standing(connection: Connection, file_hash: str) -> Standing:
    """How far the file with this hash is; a new one has nothing."""
    row = connection.execute(select(ingested_files).where(ingested_files.c.file_hash == file_hash)).one_or_none()
    if row is None:
        return Standing(False, 0, 0, 0, 0)
    return Standing(row.finished_at is not None, row.chunks, row.accepted, row.rejected, row.stale_chunks, row.applied)


def other_readings(connection: Connection, file_hash: str, content: str) -> list[str]:
    """Readings of the same content in another way (another mapping, other names), finished or not."""
    return list(connection.execute(select(ingested_files.c.file_hash).where(_others(file_hash, content))).scalars())


def _others(file_hash: str, content: str) -> ColumnElement[bool]:
    ours = ingested_files.c.file_hash.startswith(f"{content}-", autoescape=True)
    return ours & (ingested_files.c.file_hash != file_hash)


def begin_file(connection: Connection, file_hash: str, content: str, path: str, now: datetime) -> None:
    """Notes that a file is begun, unless it was; it takes the place of other readings of the same content."""
    others = connection.execute(select(ingested_files).where(_others(file_hash, content))).all()
    connection.execute(delete(ingested_files).where(_others(file_hash, content)))
    row = {
        "file_hash": file_hash,
        "path": path,
        "started_at": now,
        "chunks": 0,
        "accepted": 0,
        "rejected": 0,
        "stale_chunks": max([0, *(max(other.chunks, other.stale_chunks) for other in others)]),
    }
    upsert(connection, ingested_files, [row], update=())


def note_chunk(connection: Connection, file_hash: str, reached: Standing) -> None:
    """Notes that another chunk of the file is stored."""
    connection.execute(
        update(ingested_files)
        .where(ingested_files.c.file_hash == file_hash)
        .values(
            chunks=reached.chunks,
            accepted=reached.accepted,
            rejected=reached.rejected,
            applied=None,
        )
    )


def note_applied(connection: Connection, file_hash: str, line: int) -> None:
    """Notes how far the effects of the chunk in progress are."""
    this = update(ingested_files).where(ingested_files.c.file_hash == file_hash)
    connection.execute(this.values(applied=line))


def finish_file(connection: Connection, file_hash: str, now: datetime) -> None:
    """Notes that all of the file is stored."""
    done = update(ingested_files).where(ingested_files.c.file_hash == file_hash)
    connection.execute(done.values(finished_at=now))

"""Bulk files into the event log: what is broken is set aside with its reason and never stops the rest.

A file is read in chunks that its content fixes. A chunk's part of the log is written first (writing it again replaces
it), then one transaction makes its effects and notes the chunk. So a run that was killed and run again leaves the
same log, profiles and rejects as one that was not.
"""

from __future__ import annotations

import gc
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import orjson
import xxhash

from service.clock import Clock, monotonic
from service.errors import FieldError
from service.events.events_lease import LEASE_S, LostLease
from service.events.frame import events_frame
from service.events.ingest_store import Standing, begin_file, finish_file, note_chunk, standing
from service.events.mapping import ColumnMapping
from service.events.normalize import BadMessage, Row, Rules, content_id, normalize
from service.events.ports import Handler, Identities, NoIdentities
from service.events.read_files import Item, check, chunks, content_hash, is_table, sources
from service.storage.database import Database

if TYPE_CHECKING:
    import polars as pl

    from features.event_log import EventLog

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Told the file in progress and how much of it is stored (0 to 1)."""
_FRAME_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class FileReport:
    """What came of one file. `already`: it had been ingested before, and nothing was done."""

    path: Path
    accepted: int
    rejected: int
    rejects: Path | None
    already: bool


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What came of all files."""

    files: tuple[FileReport, ...]

    @property
    def accepted(self) -> int:
        return sum(file.accepted for file in self.files)

    @property
    def rejected(self) -> int:
        return sum(file.rejected for file in self.files)


@dataclass(frozen=True, slots=True)
class FileIngest:
    """The parts that ingesting files needs.

    `handlers` make effects in the state, as for events over HTTP. `chores` follow at the end (joining histories);
    where a running service has the events' lease, it does them.
    """

    database: Database
    event_log: EventLog
    clock: Clock
    rules: Rules
    handlers: Sequence[Handler] = ()
    identities: Identities = field(default_factory=NoIdentities)
    chores: Sequence[Callable[[], bool]] = ()

    def ingest(
        self, paths: Sequence[Path], mapping: ColumnMapping | None = None, progress: Progress = lambda _f, _s: None
    ) -> IngestReport:
        """Ingests files, and folders of files. Raises ValueError (MappingError) for a file that cannot be read."""
        files = sources(paths)
        for path in files:
            check(path, mapping)
        with _uncollected():
            report = IngestReport(
                tuple(self._file(path, mapping if is_table(path) else None, progress) for path in files)
            )
        self._do_chores()
        return report

    def _do_chores(self) -> None:
        """A process that died keeps the lease for a few seconds; one that lives does the chores itself."""
        end = monotonic() + 2 * LEASE_S
        while True:
            try:
                for chore in self.chores:
                    while chore():
                        pass
                return
            except LostLease:
                if monotonic() > end:
                    log.info("a running service joins the histories of customers who became known")
                    return
                time.sleep(0.5)

    def _file(self, path: Path, mapping: ColumnMapping | None, progress: Progress) -> FileReport:
        content = content_hash(path)
        file_hash = f"{content}-{self._reading(mapping)}"
        with self.database.write() as connection:
            begin_file(connection, file_hash, content, str(path), self.clock.now())
            reached = standing(connection, file_hash)
        rejects = Rejects(path)
        if reached.finished:
            return FileReport(path, reached.accepted, reached.rejected, rejects.existing(), True)
        done = reached.chunks
        with rejects.draft() as draft:
            for number, (items, share) in enumerate(chunks(path, mapping)):
                rows, faults = self._rows(items)
                draft.writelines(faults)
                if number >= done:
                    reached = self._store(content, file_hash, rows, len(faults), reached)
                progress(path.name, share)
        for number in range(reached.chunks, reached.stale_chunks):
            self.event_log.append(events_frame([]), _part(content, number))
        written = rejects.finish(reached.rejected)
        with self.database.write() as connection:
            finish_file(connection, file_hash, self.clock.now())
        return FileReport(path, reached.accepted, reached.rejected, written, False)

    def _store(self, content: str, file_hash: str, rows: list[Row], rejected: int, reached: Standing) -> Standing:
        after = replace(
            reached,
            chunks=reached.chunks + 1,
            accepted=reached.accepted + len(rows),
            rejected=reached.rejected + rejected,
        )
        part = _part(content, reached.chunks)
        told = [row["customer_id"] for row in rows]
        owners = self._foreseen_owners(rows)
        self.event_log.append(_frame(rows), part)
        with self.database.write() as connection:
            _give(rows, told)
            self.identities.give_owners(connection, rows)
            if [row["customer_id"] for row in rows] != owners:  # somebody became known while the part was written
                self.event_log.append(_frame(rows), part)
            for handler in self.handlers:
                handler(connection, rows)
            note_chunk(connection, file_hash, after)
        return after

    def _foreseen_owners(self, rows: list[Row]) -> list[str]:
        """Sets the owners that the transaction after the part will find; nothing of it is kept."""
        try:
            with self.database.write() as connection:
                self.identities.give_owners(connection, rows)
                raise _UndoneError
        except _UndoneError:
            return [row["customer_id"] for row in rows]

    def _rows(self, items: Sequence[Item]) -> tuple[list[Row], list[bytes]]:
        now, rules = self.clock.now(), self.rules
        rows: list[Row] = []
        faults: list[bytes] = []
        for item in items:
            if item.fault is not None:
                faults.append(_fault(item, [FieldError("", item.fault)]))
                continue
            try:
                row = normalize(item.message, rules, now, imported=True)
            except BadMessage as bad:
                faults.append(_fault(item, bad.errors))
                continue
            if row["message_id"] is None:
                row["message_id"] = content_id(item.message)
            rows.append(row)
        return rows, faults

    def _reading(self, mapping: ColumnMapping | None) -> str:
        """Stands for what, beside the content, decides what a file becomes."""
        facts = (None if mapping is None else replace(mapping, source=""), self.rules.currency)
        return xxhash.xxh3_64_hexdigest(repr((facts, sorted(self.rules.event_names.items()))).encode())


class Rejects:
    """What could not be read of a file, beside it as `<source>.rejects.jsonl`, replaced whole at the end."""

    def __init__(self, source: Path) -> None:
        self._path = source.with_name(f"{source.name}.rejects.jsonl")
        self._draft = source.with_name(f".{source.name}.rejects.{os.getpid()}.tmp")

    def draft(self) -> IO[bytes]:
        """Where to write; nothing of it is seen before `finish`."""
        return self._draft.open("wb")

    def finish(self, count: int) -> Path | None:
        """Puts the draft into its place; with nothing rejected, an older file goes."""
        if count:
            os.replace(self._draft, self._path)
            return self._path
        self._draft.unlink(missing_ok=True)
        self._path.unlink(missing_ok=True)
        return None

    def existing(self) -> Path | None:
        """The file, where there is one."""
        return self._path if self._path.exists() else None


@contextmanager
def _uncollected() -> Iterator[None]:
    """Millions of young dictionaries without cycles: searching them for garbage costs a third of the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


class _UndoneError(Exception):
    """Rolls a transaction back that only had to look ahead."""


def _fault(item: Item, errors: Sequence[FieldError]) -> bytes:
    told = [{"field": error.field, "detail": error.detail} for error in errors]
    record: dict[str, Any] = {"line": item.line, "errors": told}
    original = {"message": item.message} if item.text is None else {"text": item.text}
    try:
        return orjson.dumps({**record, **original}) + b"\n"
    except orjson.JSONEncodeError:  # nested too deeply to be written again
        return orjson.dumps(record) + b"\n"


def _frame(rows: Sequence[Row]) -> pl.DataFrame:
    """In portions, so that the flat columns of products of a large chunk do not stand beside each other."""
    import polars as pl

    portions = [events_frame(rows[start : start + _FRAME_ROWS]) for start in range(0, len(rows), _FRAME_ROWS)]
    return pl.concat(portions or [events_frame([])])


def _give(rows: Sequence[Row], owners: Sequence[str]) -> None:
    for row, owner in zip(rows, owners, strict=True):
        row["customer_id"] = owner


def _part(content: str, number: int) -> str:
    return f"file-{content}-{number:05d}"

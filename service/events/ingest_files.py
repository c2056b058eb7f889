"""Bulk files into the event log: what is broken is set aside with its reason and never stops the rest.

A file is read in chunks that its content fixes. A chunk's part of the log is written first (writing it again replaces
it), then its effects are made, each transaction noting how far they are (file_effects.py). So a run that was killed and
run again leaves the same log, profiles and rejects as one that was not.
"""

from __future__ import annotations

import gc
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash
from numpy.typing import NDArray

from features.event_log import FILE
from features.repeated_orders import told_again_beside
from features.vocabulary import REPEATED
from service.clock import Clock, monotonic
from service.errors import FieldError, Unavailable
from service.events.events_lease import LEASE_S, EventsLease, LostLease
from service.events.file_effects import Chunk, FileEffects, part_of
from service.events.frame import events_frame
from service.events.ingest_store import Standing, begin_file, finish_file, other_readings, standing
from service.events.machine_together import judge_together
from service.events.mapping import ColumnMapping
from service.events.normalize import BadMessage, Row, Rules, content_id, normalize
from service.events.ports import Handler, Identities, NoIdentities
from service.events.quality_store import add_counts, drop_counts
from service.events.read_files import Item, check, chunks, content_hash, is_table, sources
from service.events.rebuild_store import ask_rebuild, hand_over, release_file
from service.events.rejects import Rejects, fault
from service.events.tally import Key
from service.storage.database import Database

if TYPE_CHECKING:
    from features.event_log import EventLog

log = logging.getLogger(__name__)

Progress = Callable[[str, float], None]
"""Told the file in progress and how much of it is stored (0 to 1)."""
_MOST_WATCHED = 20_000_000
_INDEX = re.compile(r"\[\d+\]")


@dataclass(frozen=True, slots=True)
class FileReport:
    """What came of one file. `already`: it had been ingested before, and nothing was done.

    `reasons`: why most of its lines were rejected, as (field, how many, what is wrong with the first of them).
    """

    path: Path
    accepted: int
    rejected: int
    rejects: Path | None
    already: bool
    reasons: tuple[tuple[str, int, str], ...] = ()


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
    where a running service has the events' lease, it does them. `lease` is this process's; None: nothing else runs.
    `service_runs`: whether a service runs beside now.
    """

    database: Database
    event_log: EventLog
    clock: Clock
    rules: Rules
    handlers: Sequence[Handler] = ()
    identities: Identities = field(default_factory=NoIdentities)
    chores: Sequence[Callable[[], bool]] = ()
    lease: EventsLease | None = None
    service_runs: Callable[[], bool] = lambda: False

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
        reached = self._begin(path, content, file_hash)
        rejects = Rejects(path)
        if reached.finished:
            return FileReport(path, reached.accepted, reached.rejected, rejects.existing(), True)
        done = reached.chunks
        several = mapping is not None and mapping.group_by is None
        effects = FileEffects(
            self.database, self.event_log, self.clock, self.handlers, self.identities, self._somebody_waits
        )
        repeats = Repeats()
        reasons = Reasons()
        with rejects.draft() as draft:
            for number, (items, share) in enumerate(chunks(path, mapping)):
                chunk, faults = self._chunk(items, reasons)
                draft.writelines(faults)
                repeats.see(chunk.rows)
                if number >= done:
                    reached = effects.store(content, file_hash, chunk, reached, several)
                progress(path.name, share)
        for number in range(reached.chunks, reached.stale_chunks):
            self.event_log.append(events_frame([]), part_of(content, number))
        again = self._gather(f"{FILE}{content}", file_hash.removeprefix(f"{content}-"), not several)
        written = rejects.finish(reached.rejected)
        with self.database.write() as connection:
            ask_rebuild(connection, again, self.event_log.buckets)
            finish_file(connection, file_hash, self.clock.now())
            release_file(connection, file_hash)
            add_counts(connection, content, repeats.counts())
        return FileReport(path, reached.accepted, reached.rejected, written, False, reasons.most())

    def _gather(self, parts: str, reading: str, apart: bool) -> set[str]:
        """Under the events' lease: erasing and joining histories change the same files.

        Beside a service that never rests the parts stay single; what another reading left must go, and orders that
        are told again be named so, or the file is not finished. Returns whose orders were.
        """
        log, again = self.event_log, set[str]()
        end = monotonic() + 2 * LEASE_S
        for bucket in range(log.buckets):
            free = self._claim()
            while not free and monotonic() <= end:
                time.sleep(0.3)
                free = self._claim()
            if free:
                log.gather(bucket, parts, reading)
            repeated = told_again_beside(log, bucket, parts, apart)
            if not free and (repeated.height or log.has_other_readings(parts, reading)):
                raise Unavailable("a running service is busy with events; run the same command again")
            if repeated.height:
                log.rename(bucket, repeated["message_id"], REPEATED)
                again.update(repeated["customer_id"])
            if free and self.lease is not None:
                self.lease.release()
        return again

    def _claim(self) -> bool:
        try:
            if self.lease is not None:
                self.lease.claim()
        except LostLease:
            return False
        return True

    def _begin(self, path: Path, content: str, file_hash: str) -> Standing:
        """Where the content was read in another way, whoever that reading told of is to be looked at in the end."""
        with self.database.read() as connection:
            others = other_readings(connection, file_hash, content)
        told = self.event_log.customers_of(f"{FILE}{content}-") if others else []
        with self.database.write() as connection:
            if others:
                ask_rebuild(connection, told, self.event_log.buckets, after_file=file_hash)
                hand_over(connection, others, file_hash)
                drop_counts(connection, content)
            begin_file(connection, file_hash, content, str(path), self.clock.now())
            return standing(connection, file_hash)

    def _somebody_waits(self) -> bool:
        """On SQLite a process that waits for the next writer's turn looks only now and then whether it has come."""
        return self.database.is_sqlite and self.service_runs()

    def _chunk(self, items: Sequence[Item], reasons: Reasons) -> tuple[Chunk, list[bytes]]:
        """The chunk, and lines for the rejects file."""
        now, rules = self.clock.now(), self.rules
        rows: list[Row] = []
        lines: list[int] = []
        faults: list[bytes] = []
        refused: Counter[str] = Counter()
        for item in items:
            if item.fault is not None:
                faults.append(fault(item, [item.fault]))
                refused[reasons.see(item.fault)] += 1
                continue
            try:
                row = normalize(item.message, rules, now, imported=True)
            except BadMessage as bad:
                faults.append(fault(item, bad.errors))
                refused[reasons.see(bad.errors[0])] += 1
                continue
            if row["message_id"] is None:
                row["message_id"] = content_id(item.message)
            rows.append(row)
            lines.append(item.line)
        machines = judge_together(rows)
        for row in rows:
            if row["machine"] is False and row["message_id"] in machines:
                row["machine"], row["machine_reason"] = True, machines[row["message_id"]]
        return Chunk(rows, lines, refused), faults

    def _reading(self, mapping: ColumnMapping | None) -> str:
        """Stands for what, beside the content, decides what a file becomes."""
        facts = (None if mapping is None else replace(mapping, source=""), self.rules.currency, self.rules.country)
        return xxhash.xxh3_64_hexdigest(repr((facts, sorted(self.rules.event_names.items()))).encode())


class Repeats:
    """Counts messages that a file holds more than once (the log drops them when it is read)."""

    def __init__(self) -> None:
        self._seen: list[NDArray[np.uint64]] = []
        self._rows = 0

    def see(self, rows: Sequence[Row]) -> None:
        self._rows += len(rows)
        if self._rows <= _MOST_WATCHED:
            digests = [xxhash.xxh3_64_intdigest(row["message_id"].encode()) for row in rows]
            self._seen.append(np.array(digests, dtype=np.uint64))

    def counts(self) -> dict[Key, int]:
        """The repeats as a count; of a file's first 20 million messages."""
        seen = np.concatenate(self._seen) if self._seen else np.empty(0, dtype=np.uint64)
        repeated = len(seen) - len(np.unique(seen))
        return {Key("", "duplicate", ""): repeated} if repeated else {}


class Reasons:
    """Why lines of a file were refused: by the field at fault, with the first that was."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def see(self, error: FieldError) -> str:
        """Counts one, and returns the name by which it is counted."""
        name = _INDEX.sub("[]", error.field)[:100] or "line"
        self._counts[name] += 1
        self._first.setdefault(name, error.detail)
        return name

    def most(self) -> tuple[tuple[str, int, str], ...]:
        """The three most frequent."""
        return tuple((name, count, self._first[name]) for name, count in self._counts.most_common(3))


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

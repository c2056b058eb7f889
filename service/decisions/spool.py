"""Decisions made while the database was away: kept on the disk of this machine, and brought in exactly once.

A file holds one line a decision: a checksum, a space, JSON. Each answer waits until its line is on the disk (fsync).
A process locks the file that it writes; the lock dies with it, so that any process may bring in what a dead one left.
Bringing in inserts a decision by its id and, only if it was new, its reservations, in one transaction; a crash
between that and taking the file away does no harm.
"""

from __future__ import annotations

import base64
import fcntl
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from io import FileIO
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

import orjson
import xxhash

from service.clock import Clock, SystemClock, monotonic
from service.decisions.decision_store import add_missing_decisions
from service.decisions.ledger_store import lock, reserve
from service.decisions.line import Line
from service.decisions.parts_store import add_parts
from service.decisions.ports import Gone, Owners
from service.decisions.record import Packed
from service.errors import Unavailable
from service.storage.database import Connection, Database
from service.telemetry import SPOOL_IMPORTED, SPOOL_WAITING, SPOOLED

log = logging.getLogger(__name__)
AT_ONCE = 500
PATIENCE_S = 2.0
"""How long the disk is waited for: one that stalls (a network's, a controller's) refuses nothing."""
AGAIN_S = 60.0
"""So often a file is tried again with decisions in it that the database does not take."""
_BYTES = ("candidates", "record")
Reserved = Sequence[Mapping[str, Any]]
Spooled = tuple[Packed, Reserved, datetime]
"""A row of the decisions with its parts, the lines of the ledger that it reserves, and when it was kept."""


class Spool:
    """One folder, shared by the processes of a machine. Safe for threads."""

    def __init__(self, folder: Path, owners: Owners, gone: Gone | None = None, clock: Clock | None = None) -> None:
        """`owners` tells the present id of each customer who has another one by now, `gone` who may be erased."""
        self._folder = folder
        self._owners, self._gone = owners, gone
        self._clock = clock or SystemClock()
        self._lock, self._bringing = threading.Lock(), threading.Lock()
        self._file: FileIO | None = None
        self.brought = 0
        """How many decisions this process brought in so far."""
        self._oldest: datetime | None = None
        self._disk = ThreadPoolExecutor(1, "spool")
        self._hangs: Future[None] | None = None
        self._stuck: dict[str, tuple[int, float]] = {}
        """How many decisions of a file could not be written, or read, and when they are tried again."""

    @property
    def stuck(self) -> int:
        """How many decisions the database did not take, though it was there: an older version wrote them, say, or the
        disk spoilt them.
        """
        return sum(count for count, _ in self._stuck.values())

    def append(self, decisions: Sequence[tuple[Packed, Reserved]]) -> None:
        """Keeps these; they are on the disk when it returns. `OSError` when they cannot be.

        One that hangs is given up, and nobody waits for it again until it has answered. What it takes after all is on
        record though its asker was refused.
        """
        if not decisions:
            return
        if self._hangs is not None and not self._hangs.done():
            raise TimeoutError("the disk does not answer")
        now = self._clock.now()
        lines = b"".join(_line(packed, reserved, now) for packed, reserved in decisions)
        keeping = self._disk.submit(self._keep, lines, len(decisions))
        try:
            keeping.result(PATIENCE_S)
        except TimeoutError:
            self._hangs = None if keeping.cancel() else keeping
            raise

    def _keep(self, lines: bytes, count: int) -> None:
        with self._lock:
            file = self._file or self._open()
            before = os.fstat(file.fileno()).st_size
            try:
                _write_whole(file, lines)
                os.fsync(file.fileno())
            except OSError:  # nobody is answered by these, and nothing shall be written behind a torn line
                self._file = None
                with file:
                    file.truncate(before)
                if not before:  # each try makes a new one
                    Path(str(file.name)).unlink(missing_ok=True)
                raise
        SPOOLED.inc(count)
        SPOOL_WAITING.inc(count)

    def writable(self) -> bool:
        """Whether this process may write there."""
        return os.access(self._folder if self._folder.is_dir() else self._folder.parent, os.W_OK)

    def takes(self) -> bool:
        """Whether the disk takes something now, by a try."""
        path = self._folder / f".{os.getpid()}.try"
        try:
            self._folder.mkdir(exist_ok=True)  # in a home that is there: one that was taken away must not seem to be
            path.write_bytes(bytes(8_192))
        except OSError:
            return False
        finally:
            path.unlink(missing_ok=True)
        return True

    def waits(self) -> bool:
        """Whether something is there to be brought in."""
        return bool(self._stuck) or (self._folder.is_dir() and any(self._folder.glob("*.jsonl")))

    def bring_in(self, database: Database) -> int:
        """Writes all that waits into the database; returns how many decisions were new. Again is safe.

        Of several threads each returns when all is in: events that are applied next find what they belong to. What the
        database does not take stays on the disk, stops no other, and is `stuck`.
        """
        with self._bringing:
            self.close()
            brought = 0
            for path in sorted(self._folder.glob("*.jsonl")) if self._folder.is_dir() else ():
                if self._stuck.get(path.name, (0, 0.0))[1] > monotonic():
                    continue
                try:
                    brought += self._bring_file_in(path, database)
                except OSError as fault:  # of another user, on a bad sector: how many are in it cannot be told
                    self._stuck[path.name] = 1, monotonic() + AGAIN_S
                    log.error("%s cannot be brought in, or be removed: %s; it is tried again in a minute", path, fault)
            there = {path.name for path in self._folder.glob("*.jsonl")}  # another process may have had more luck
            self._stuck = {name: told for name, told in self._stuck.items() if name in there}
            SPOOL_WAITING.set(self.stuck)
            self.brought += brought
        return brought

    def oldest_brought(self) -> datetime | None:
        """When the oldest decision was made of those that this process brought in since it was last asked."""
        with self._lock:
            oldest, self._oldest = self._oldest, None
        return oldest

    def close(self) -> None:
        """Lets go of the file that is being written; what is in it stays."""
        with self._lock:
            if self._file is not None:
                file, self._file = self._file, None
                file.close()

    def _bring_file_in(self, path: Path, database: Database) -> int:
        with suppress(FileNotFoundError), open(path, "rb") as file:  # else another process brought it in
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:  # another process writes it, or brings it in
                return 0
            brought = self._bring_in(file, path, database)
            if path.name not in self._stuck:
                path.unlink(missing_ok=True)  # while it is locked: who writes it sees that it has gone
            return brought
        return 0

    def _bring_in(self, file: BinaryIO, path: Path, database: Database) -> int:
        failures = list[Exception]()
        brought, waiting = 0, _read(file, path, failures)
        while some := list(islice(waiting, AT_ONCE)):  # of hours without the database memory may not hold everything
            brought += self._write_some(database, some, failures)
        SPOOL_IMPORTED.inc(brought)
        log.info("%d decisions made without the database were brought in from %s", brought, path.name)
        self._stuck.pop(path.name, None)
        if failures:
            self._stuck[path.name] = len(failures), monotonic() + AGAIN_S
            told = "%d decisions of %s cannot be brought in (%s); they stay there and are tried again in a minute"
            log.error(told, len(failures), path, failures[0], exc_info=failures[0])
        return brought

    def _write_some(self, database: Database, some: Sequence[bytes], failures: list[Exception]) -> int:
        """Together, or, where that fails, each by itself."""
        try:
            spooled = [_spooled(body) for body in some]
            with database.write() as connection:
                new = self._write(connection, spooled)
            self._note_oldest(spooled)
            return new
        except Unavailable:
            raise
        except Exception as failure:
            if len(some) == 1:
                failures.append(failure)
                return 0
        return sum(self._write_some(database, [one], failures) for one in some)

    def _note_oldest(self, spooled: Sequence[Spooled]) -> None:
        made = [one.row["decided_at"] for one, _, _ in spooled]
        with self._lock:
            self._oldest = min(made if self._oldest is None else [*made, self._oldest])

    def _write(self, connection: Connection, some: Sequence[Spooled]) -> int:
        names = sorted({str(one.row["customer_id"]) for one, _, _ in some})
        lock(connection, names, ())  # whoever joins two of them, or erases one, waits, or is seen
        owners = self._owners(connection, names)
        some = self._of_those_there(connection, some, owners)
        parts = {name: body for one, _, _ in some for name, body in one.parts.items()}
        add_parts(connection, parts)
        new = add_missing_decisions(connection, [_of_owner(one.row, owners) for one, _, _ in some])
        kept = [lines for one, lines, _ in some if one.row["decision_id"] in new]
        reserve(connection, [Line(**_of_owner(line, owners)) for lines in kept for line in lines])
        return len(new)

    def _of_those_there(
        self, connection: Connection, some: Sequence[Spooled], owners: Mapping[str, str]
    ) -> Sequence[Spooled]:
        """Without those of customers who may have been erased since: they must not come back."""
        if self._gone is None:
            return some
        since: dict[str, datetime] = {}
        for one, _, kept_at in some:
            name = owners.get(one.row["customer_id"], one.row["customer_id"])
            since[name] = min(kept_at, since.get(name, kept_at))
        gone = self._gone(connection, since)
        left = [each for each in some if _of_owner(each[0].row, owners)["customer_id"] not in gone]
        if len(left) < len(some):
            log.info("%d decisions of customers who were erased since are left out", len(some) - len(left))
        return left

    def _open(self) -> FileIO:
        self._folder.mkdir(exist_ok=True)
        path = self._folder / f"{os.getpid()}-{os.urandom(8).hex()}.jsonl"
        file = open(path, "ab", buffering=0)  # noqa: SIM115 - held open, and locked, until it is brought in
        fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink == 0:  # brought in, empty, before it was locked: nobody would find it
            file.close()
            return self._open()
        _sync_folder(self._folder)
        self._file = file
        return file


def _of_owner(row: Mapping[str, Any], owners: Mapping[str, str]) -> dict[str, Any]:
    return {**row, "customer_id": owners.get(row["customer_id"], row["customer_id"])}


def _line(packed: Packed, lines: Reserved, now: datetime) -> bytes:
    plain = {**packed.row, **{name: base64.b64encode(packed.row[name]).decode() for name in _BYTES}}
    parts = {name: body.decode() for name, body in packed.parts.items()}
    body = orjson.dumps({"decision": plain, "ledger": list(lines), "parts": parts, "kept_at": now})
    return f"{xxhash.xxh3_64_hexdigest(body)} ".encode() + body + b"\n"


def _read(file: BinaryIO, path: Path, failures: list[Exception]) -> Iterator[bytes]:
    """The whole lines of a file. Only a line without its end is the last of a crash, by which nobody was answered; any
    other that is not whole was spoilt later: it is a failure, since somebody may have been answered by it.
    """
    for number, line in enumerate(file, 1):
        checksum, _, body = line.removesuffix(b"\n").partition(b" ")
        if not line.endswith(b"\n"):
            log.warning("line %d of %s is not whole; it was never answered, and is left out", number, path.name)
        elif checksum.decode("latin-1") != xxhash.xxh3_64_hexdigest(body):
            failures.append(ValueError(f"line {number} is damaged"))
        else:
            yield body


def _spooled(body: bytes) -> Spooled:
    told = orjson.loads(body)
    row = told["decision"]
    row |= {name: base64.b64decode(row[name]) for name in _BYTES}
    row["decided_at"] = datetime.fromisoformat(row["decided_at"])
    parts = {name: body.encode() for name, body in told.get("parts", {}).items()}
    kept_at = datetime.fromisoformat(told["kept_at"]) if "kept_at" in told else row["decided_at"]
    return Packed(row, parts), told["ledger"], kept_at


def _write_whole(file: FileIO, lines: bytes) -> None:
    rest = memoryview(lines)
    while rest:
        rest = rest[file.write(rest) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

"""A chunk of a file: its part of the log, then its effects in the state, some events at a time.

Beside a service on SQLite no transaction takes long: decisions wait for who writes. Whom the events belong to is
settled once for the whole chunk; how far the effects are is noted with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from features.event_log import FILE
from features.repeated_orders import WITHIN
from features.vocabulary import REPEATED
from service.clock import Clock, monotonic
from service.events.apply_events import FEWEST_AT_ONCE, portion_after
from service.events.frame import events_frame
from service.events.inbox_store import claim_ids
from service.events.ingest_store import Standing, note_applied, note_chunk
from service.events.normalize import Row
from service.events.orders import order_key, told_before
from service.events.ports import Handler, Identities
from service.events.quality_store import add_counts
from service.events.rebuild_store import ask_rebuild
from service.events.tally import Key, tally
from service.storage.database import Connection, Database

if TYPE_CHECKING:
    import polars as pl

    from features.event_log import EventLog

HOLD_S = 0.08
"""Longer than those of single events: a transaction of few rows spends most of its time on what it costs by itself."""
_FRAME_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Chunk:
    """What a chunk of a file holds: rows in the order of their lines, and how many were refused by which field."""

    rows: list[Row]
    lines: list[int]
    refused: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class FileEffects:
    """The parts that making effects needs.

    `beside`: whether others wait for who writes: then a chunk takes several transactions, with as much time in between.
    """

    database: Database
    event_log: EventLog
    clock: Clock
    handlers: Sequence[Handler]
    identities: Identities
    beside: Callable[[], bool]

    def store(self, content: str, file_hash: str, chunk: Chunk, reached: Standing, several: bool) -> Standing:
        """Makes all of the next chunk that is not made yet. `several`: rows of a table may be lines of one order."""
        part, rows = part_of(content, reached.chunks), chunk.rows
        if reached.applied is None:
            self._settle(part, file_hash, rows)
        else:
            self._settled_before(part, rows)
        left = [place for place, line in enumerate(chunk.lines) if line > (reached.applied or 0)]
        beside = self.beside()
        at_once = FEWEST_AT_ONCE if beside else max(len(rows), 1)
        told = tally(rows)
        while True:
            places, left = left[:at_once], left[at_once:]
            some = [rows[place] for place in places]
            with self.database.write() as connection:
                began = monotonic()
                self.identities.follow(connection, some)
                counted = self._as_counted(connection, some, several)
                for handler in self.handlers:
                    handler(connection, counted)
                ask_rebuild(connection, (row["customer_id"] for row in some), self.event_log.buckets)
                if not left:
                    add_counts(connection, content, told)
                    return self._finish(connection, content, file_hash, chunk, reached)
                note_applied(connection, file_hash, chunk.lines[places[-1]])
                took = monotonic() - began
            at_once = portion_after(at_once, len(some), took, HOLD_S)
            if beside:
                time.sleep(took)

    def _settle(self, part: str, file_hash: str, rows: list[Row]) -> None:
        """Writes the part with the owners that the transaction after it is to find; if it finds others, once more."""
        told = [row["customer_id"] for row in rows]
        with self.database.read() as connection:
            self.identities.foresee_owners(connection, rows)
        owners = [row["customer_id"] for row in rows]
        self.event_log.append(_frame(rows), part)
        with self.database.write() as connection:
            _give(rows, told)
            self.identities.give_owners(connection, rows)
            if [row["customer_id"] for row in rows] != owners:  # somebody became known while the part was written
                self.event_log.append(_frame(rows), part)
            note_applied(connection, file_hash, 0)

    def _settled_before(self, part: str, rows: list[Row]) -> None:
        """After a kill between two transactions: the part tells the owners; what left it since follows its owner."""
        owners = self.event_log.owners_in(part)
        for row in rows:
            row["customer_id"] = owners.get(row["message_id"], row["customer_id"])

    def _as_counted(self, connection: Connection, rows: Sequence[Row], several: bool) -> Sequence[Row]:
        """What the state counts: of late orders, which the API may tell, too, each once."""
        now = self.clock.now()
        keys = {place: key for place, row in enumerate(rows) if row["timestamp"] >= now - WITHIN
                and (key := order_key(row)) is not None}  # fmt: skip
        fresh = claim_ids(connection, set(keys.values()), now)
        counted = list(rows)
        for place in () if several else told_before(keys, fresh):
            counted[place] = {**rows[place], "event": REPEATED}
        return counted

    def _finish(
        self, connection: Connection, content: str, file_hash: str, chunk: Chunk, reached: Standing
    ) -> Standing:
        add_counts(connection, content, {Key("", "rejected", name): count for name, count in chunk.refused.items()})
        after = replace(
            reached,
            chunks=reached.chunks + 1,
            accepted=reached.accepted + len(chunk.rows),
            rejected=reached.rejected + sum(chunk.refused.values()),
            applied=None,
        )
        note_chunk(connection, file_hash, after)
        return after


def part_of(content: str, number: int) -> str:
    """The name of the part of the log that a chunk becomes."""
    return f"{FILE}{content}-{number:05d}"


def _frame(rows: Sequence[Row]) -> pl.DataFrame:
    """In portions, so that the flat columns of products of a large chunk do not stand beside each other."""
    import polars as pl

    portions = [events_frame(rows[start : start + _FRAME_ROWS]) for start in range(0, len(rows), _FRAME_ROWS)]
    return pl.concat(portions or [events_frame([])])


def _give(rows: Sequence[Row], owners: Sequence[str]) -> None:
    for row, owner in zip(rows, owners, strict=True):
        row["customer_id"] = owner

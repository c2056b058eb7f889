"""Records of decisions as far as they can be read: one that is damaged is named and counted, and stops no other."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from service.decisions.decision_store import read_decision, stored_records
from service.decisions.parts_store import Parts
from service.decisions.record import Columns, of_another_time, unpack_candidates, unpack_columns, unsqueeze
from service.errors import Damaged, NotFound
from service.storage.compressed import plain
from service.storage.database import Connection
from service.telemetry import DAMAGED

T = TypeVar("T")
log = logging.getLogger(__name__)
_NAMED = 10
_DAMAGE = (ValueError, LookupError, TypeError, zlib.error)
"""What reading packed bytes raises that are not as they were written."""


def whole(connection: Connection, decision_id: str) -> tuple[Any, Any]:
    """A decision's row and its record, of which all that is packed can be read.

    `NotFound` where there is none (any more), `Damaged` where it cannot be read.
    """
    try:
        row = read_decision(connection, decision_id)
        if row is not None:
            record = unsqueeze(row.record, Parts(connection))
            unpack_candidates(row.candidates)
            return row, record
    except _DAMAGE as fault:
        raise _damaged(decision_id, fault) from fault
    raise NotFound(f"there is no decision {decision_id!r}; dry runs are not kept")


def records_whole(connection: Connection, decision_ids: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The records, by id, of those decisions that have theirs and can be read; the ids of those that are damaged."""
    parts = Parts(connection)
    return _each(stored_records(connection, decision_ids), lambda packed: unsqueeze(packed, parts))


def candidates_whole(rows: Sequence[Any]) -> tuple[dict[str, tuple[Columns, bool]], list[str]]:
    """By id of rows of `every_decision`: their candidates, and whether they are `of_another_time`, as far as they can
    be read; the ids of those damaged.
    """
    stored = {row.decision_id: row.candidates for row in rows}
    return _each(stored, lambda packed: (unpack_columns(packed), of_another_time(packed)))


def left_out(damaged: Sequence[str]) -> Iterator[str]:
    """What people are told of decisions that were left out."""
    if damaged:
        named = ", ".join(damaged[:_NAMED]) + (" …" if len(damaged) > _NAMED else "")
        yield f"left out: {len(damaged):,} decisions whose records are damaged ({named})"


def _each(stored: Mapping[str, bytes], read: Callable[[bytes], T]) -> tuple[dict[str, T], list[str]]:
    found: dict[str, T] = {}
    damaged: list[str] = []
    for decision_id, packed in stored.items():
        try:
            found[decision_id] = read(plain(packed))
        except _DAMAGE as fault:
            damaged.append(decision_id)
            log.warning("%s", _damaged(decision_id, fault).detail)
    return found, damaged


def _damaged(decision_id: str, fault: Exception) -> Damaged:
    DAMAGED.inc()
    return Damaged(
        f"the record of decision {decision_id!r} is damaged ({fault}); what it was is in a backup of the state"
    )

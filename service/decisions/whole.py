"""Records of decisions as far as they can be read: one that is damaged is named and counted, and stops no other."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Sequence
from typing import Any

from service.decisions.decision_store import read_decision, read_decisions
from service.decisions.parts_store import Parts
from service.decisions.record import unpack_candidates, unsqueeze
from service.errors import Damaged, NotFound
from service.storage.database import Connection
from service.telemetry import DAMAGED

log = logging.getLogger(__name__)
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
        DAMAGED.inc()
        raise Damaged(
            f"the record of decision {decision_id!r} is damaged ({fault}); what it was is in a backup of the state"
        ) from fault
    raise NotFound(f"there is no decision {decision_id!r}; dry runs are not kept")


def those_whole(connection: Connection, decision_ids: Sequence[str]) -> dict[str, tuple[Any, Any]]:
    """Rows and records, by id, of those decisions whose records are there and can be read."""
    parts = Parts(connection)
    try:
        rows = [row for row in read_decisions(connection, decision_ids) if row.record]
        return {row.decision_id: (row, unsqueeze(row.record, parts)) for row in rows}
    except _DAMAGE:  # one of them spoils the whole answer
        return dict(_singly(connection, decision_ids))


def _singly(connection: Connection, decision_ids: Sequence[str]) -> Iterator[tuple[str, tuple[Any, Any]]]:
    for decision_id in decision_ids:
        try:
            yield decision_id, whole(connection, decision_id)
        except NotFound:
            continue
        except Damaged as damaged:
            log.warning("%s", damaged.detail)

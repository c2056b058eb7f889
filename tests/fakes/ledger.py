"""What the ledger holds of customers, as tests look at it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection

from service.decisions.ledger_store import entries_by, read_lines
from service.decisions.line import Entry


def read_entries(connection: Connection, customers: Sequence[str], since: int) -> dict[str, tuple[Entry, ...]]:
    """Each customer's lines after `since` (microseconds), oldest first."""
    return {customer: entries_by(lines) for customer, lines in read_lines(connection, customers, since).items()}

"""What writing decisions costs: `python -m tests.bench.bench_writes [--lines 300000] [--url postgresql+psycopg://…]`.

A ledger of so many lines (of 20,000 customers and 100 offers), then batches of 16 decisions with a record of 11 kB and
five lines each, every batch committed to the disk. CPU µs of this process a decision; a Postgres has its own beside it.
"""

from __future__ import annotations

import argparse
import os
import random
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.clock import new_id
from service.decisions.case import microseconds
from service.decisions.decision_store import add_decisions
from service.decisions.ledger_store import reserve
from service.decisions.line import Line
from service.storage.database import Database
from service.storage.migrate import migrate

BATCH, BATCHES, WARM, FILL = 16, 400, 20, 200
START = datetime(2026, 11, 1, tzinfo=UTC)
Batch = tuple[list[dict[str, Any]], list[Line]]


def batches(size: int, candidates: bytes, record: bytes) -> Iterator[Batch]:
    """Decisions and lines of other customers each time, ten milliseconds apart."""
    chance, at = random.Random(1), START
    while True:
        rows: list[dict[str, Any]] = []
        lines: list[Line] = []
        for number in chance.sample(range(20_000), size):
            at += timedelta(milliseconds=10)
            name, customer, now = new_id(at), f"customer-{number:05d}", microseconds(at)
            row = {"decision_id": name, "customer_id": customer, "decided_at": at, "placement": "email", "arm": "model"}
            row |= {"policy": "ranked", "policy_version": "0123456789abcdef", "offer_id": "offer-1", "channel": "email"}
            rows.append(row | {"candidates": candidates, "record": record, "in_ledger": True})
            for rank, offer in enumerate(chance.sample(range(100), 5), 1):
                counts, until = (rank == 1, True, 0.01, now), now + 10**11
                lines.append(Line(name, rank, customer, f"offer-{offer:02d}", "email", *counts, until, "email", None))
        yield rows, lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--url")
    given = parser.parse_args()
    with TemporaryDirectory() as scratch:
        database = Database(given.url or f"sqlite:///{Path(scratch) / 'state.db'}")
        migrate(database)
        before = batches(FILL, b"", b"")
        for _ in range(given.lines // (5 * FILL)):
            write(database, *next(before), durable=False)
        asked = islice(batches(BATCH, _alike(3_600), _alike(7_700)), WARM + BATCHES)
        spent = [write(database, rows, lines) for rows, lines in asked]
        print(f"{sum(spent[WARM:]) / BATCH / BATCHES * 1e6:.0f} µs a decision")
        database.close()


def _alike(size: int) -> bytes:
    """Bytes that LZ4 makes as small as it makes records."""
    told = int(0.42 * size)
    return os.urandom(told) + bytes(size - told)


def write(database: Database, rows: list[dict[str, Any]], lines: list[Line], durable: bool = True) -> float:
    """CPU seconds of one transaction."""
    started = time.process_time()
    with database.write(durable) as connection:
        add_decisions(connection, rows)
        reserve(connection, lines)
    return time.process_time() - started


if __name__ == "__main__":
    main()

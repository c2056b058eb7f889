"""The decision log, its outcomes and the catalogue as the tables that training reads. Each appears whole."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from features.currencies import CURRENCIES
from service.decisions.candidate_rows import candidate_rows
from service.decisions.decision_store import every_decision
from service.decisions.outcome_store import every_outcome
from service.decisions.whole import candidates_whole, records_whole
from service.offers.offer import offer_from_document
from service.offers.offers_store import StoredOffer, all_offers
from service.offers.versions import versions_since
from service.storage.database import Connection

if TYPE_CHECKING:
    import polars as pl

    from features.tables import Table

_PART = 200_000


@dataclass(frozen=True, slots=True)
class Exported:
    """Rows of each table, and the decisions that are not in it because their records are damaged."""

    rows: dict[str, int]
    damaged: list[str]


def export_decisions(connection: Connection, folder: Path, since: datetime | None = None) -> Exported:
    """Writes decisions, outcomes, offers and offer_versions (.parquet) into `folder`; decisions made `since` a time.

    Decisions have a row for each eligible candidate that no business rule excluded, "send nothing" (no offer) included.
    An offer that was taken out of the catalogue stays in its table, ended.
    """
    from features.tables import DECISIONS, OFFER_VERSIONS, OFFERS, OUTCOMES

    folder.mkdir(parents=True, exist_ok=True)
    damaged: list[str] = []
    outcomes = ([_outcome(row) for row in rows] for rows in every_outcome(connection))
    tables = [
        (DECISIONS, (_decisions(connection, rows, damaged) for rows in every_decision(connection, since))),
        (OUTCOMES, _frames(OUTCOMES, outcomes)),
        (OFFERS, _frames(OFFERS, ([_offer(offer)] for offer in all_offers(connection)))),
        (OFFER_VERSIONS, _frames(OFFER_VERSIONS, ([version] for version in versions_since(connection, 0)))),
    ]
    return Exported({table.name: _write(table, frames, folder) for table, frames in tables}, damaged)


def _decisions(connection: Connection, rows: Sequence[Any], damaged: list[str]) -> pl.DataFrame:
    """`damaged` is told of decisions that cannot be read.

    Candidates that a business rule excluded are left out: no policy may send them, so none is judged by them. Only
    records tell, and only decisions with a propensity of 0 need to be asked.
    """
    told, unreadable = candidates_whole(rows)
    asked = [name for name, (columns, _) in told.items() if not columns.numbers[2].all()]
    records, unknown = records_whole(connection, asked)
    damaged += [*unreadable, *unknown]
    kept = [row for row in rows if row.decision_id in told and row.decision_id not in unknown]
    out = [_excluded(records.get(row.decision_id, {})) for row in kept]
    return candidate_rows(kept, [told[row.decision_id] for row in kept], out)


def _excluded(record: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(offer, channel) of candidates that a business rule excluded."""
    return {(offer, channel) for offer, channel, rule, _ in record.get("left_out", ()) if rule == "business_rule"}


def _outcome(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name != "order_id"}


def _offer(stored: StoredOffer) -> dict[str, Any]:
    offer = offer_from_document(stored.offer_id, stored.version, stored.document)
    ends = [end for end in (offer.ends_at, stored.deleted_at) if end is not None]
    price = stored.document["facts"].get("price")
    return {
        "offer_id": offer.offer_id,
        "name": stored.document["name"],
        "description": stored.document["description"],
        "category": offer.info.category,
        "product_ids": sorted(offer.info.product_ids),
        "channels": list(offer.channels),
        "discount_percent": offer.info.discount_percent,
        "price_cents": offer.info.price_cents,
        "currency": None if price is None else price["currency"] if offer.info.price_cents is None else CURRENCIES.home,
        "value": offer.value,
        "cost": offer.cost,
        "starts_at": offer.starts_at,
        "ends_at": min(ends, default=None),
        "tags": list(offer.info.tags),
        "hash": stored.hash,
    }


def _frames(table: Table, groups: Iterable[Sequence[Mapping[str, Any]]]) -> Iterator[pl.DataFrame]:
    """Groups of rows as frames, each of a part's size or a group more."""
    import polars as pl

    waiting: list[Mapping[str, Any]] = []
    for rows in groups:
        waiting.extend(rows)
        if len(waiting) >= _PART:
            yield pl.DataFrame(waiting, schema=table.schema)
            waiting = []
    yield pl.DataFrame(waiting, schema=table.schema)


def _write(table: Table, frames: Iterable[pl.DataFrame], folder: Path) -> int:
    """Writes frames in parts of bounded size, then joins them into one file."""
    import polars as pl

    from features.files import write_whole

    parts = Path(tempfile.mkdtemp(prefix=f".{table.name}-", suffix=".tmp", dir=folder))
    count = waiting_rows = 0
    waiting: list[pl.DataFrame] = []

    def flush() -> None:
        whole = pl.concat(waiting) if waiting else table.empty()
        table.conform(whole).write_parquet(parts / f"{count:012}.parquet")
        waiting.clear()

    try:
        for frame in frames:
            waiting.append(frame)
            waiting_rows += frame.height
            count += frame.height
            if waiting_rows >= _PART:
                flush()
                waiting_rows = 0
        if waiting_rows or not count:
            flush()
        joined = pl.scan_parquet(parts / "*.parquet")
        write_whole(folder / f"{table.name}.parquet", lambda draft: joined.sink_parquet(draft, compression="zstd"))
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return count

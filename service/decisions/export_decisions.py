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
from service.decisions.decision_store import every_decision, every_outcome
from service.decisions.whole import candidates_whole, records_whole
from service.offers.offer import offer_from_document
from service.offers.offers_store import StoredOffer, all_offers
from service.offers.versions import versions_since
from service.storage.database import Connection

if TYPE_CHECKING:
    from features.tables import Table

_PART = 200_000


@dataclass(frozen=True, slots=True)
class Exported:
    """Rows of each table, and the decisions that are not in it because their records are damaged."""

    rows: dict[str, int]
    damaged: list[str]


def export_decisions(connection: Connection, folder: Path) -> Exported:
    """Writes decisions, outcomes, offers and offer_versions (.parquet) into `folder`.

    Decisions have a row for each eligible candidate that no business rule excluded, "send nothing" (no offer) included.
    An offer that was taken out of the catalogue stays in its table, ended.
    """
    from features.tables import DECISIONS, OFFER_VERSIONS, OFFERS, OUTCOMES

    folder.mkdir(parents=True, exist_ok=True)
    damaged: list[str] = []
    made = (some for rows in every_decision(connection) for some in _decisions(connection, rows, damaged))
    counts = {
        "decisions": _write(DECISIONS, made, folder),
        "outcomes": _write(OUTCOMES, ([_outcome(row) for row in rows] for rows in every_outcome(connection)), folder),
        "offers": _write(OFFERS, ([_offer(offer)] for offer in all_offers(connection)), folder),
        "offer_versions": _write(OFFER_VERSIONS, ([version] for version in versions_since(connection, 0)), folder),
    }
    return Exported(counts, damaged)


def _decisions(connection: Connection, rows: Sequence[Any], damaged: list[str]) -> Iterator[list[dict[str, Any]]]:
    """`damaged` is told of decisions that cannot be read.

    Candidates that a business rule excluded are left out: no policy may send them, so none is judged by them. Only
    records tell, and only decisions with a propensity of 0 need to be asked.
    """
    told, unreadable = candidates_whole(rows)
    asked = [name for name, (lines, _) in told.items() if any(line[4] == 0.0 for line in lines)]
    records, unknown = records_whole(connection, asked)
    damaged += [*unreadable, *unknown]
    for row in rows:
        if row.decision_id in told and row.decision_id not in unknown:
            lines, another_time = told[row.decision_id]
            out = _excluded(records.get(row.decision_id, {}))
            yield _candidates(row, [line for line in lines if tuple(line[:2]) not in out], another_time)


def _excluded(record: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(offer, channel) of candidates that a business rule excluded."""
    return {(offer, channel) for offer, channel, rule, _ in record.get("left_out", ()) if rule == "business_rule"}


def _candidates(row: Any, lines: Iterable[Sequence[Any]], another_time: bool) -> list[dict[str, Any]]:
    head = {
        "decision_id": row.decision_id,
        "customer_id": row.customer_id,
        "decided_at": row.decided_at,
        "placement": row.placement,
        "arm": row.arm,
        "policy": row.policy,
        "policy_version": row.policy_version,
        "another_time": another_time,
    }
    return [
        {
            **head,
            "offer_id": offer_id,
            "channel": channel,
            "rank": rank,
            "chosen": rank == 1,
            "propensity": propensity,
            "probability": probability,
            "expected_value": value,
            "send_at": datetime.fromisoformat(send_at) if send_at else None,
            "send_at_probability": hour,
        }
        for offer_id, channel, probability, value, propensity, rank, send_at, hour in lines
    ]


def _outcome(row: Any) -> dict[str, Any]:
    return dict(row._mapping)


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


def _write(table: Table, groups: Iterable[Sequence[Mapping[str, Any]]], folder: Path) -> int:
    """Writes rows in parts of bounded size, then joins them into one file."""
    import polars as pl

    from features.files import write_whole

    parts = Path(tempfile.mkdtemp(prefix=f".{table.name}-", dir=folder))
    count = 0
    waiting: list[Mapping[str, Any]] = []

    def flush() -> None:
        frame = table.conform(pl.DataFrame([dict(row) for row in waiting], schema=table.schema))
        frame.write_parquet(parts / f"{count:012}.parquet")
        waiting.clear()

    try:
        for rows in groups:
            waiting.extend(rows)
            count += len(rows)
            if len(waiting) >= _PART:
                flush()
        if waiting or not count:
            flush()
        joined = pl.scan_parquet(parts / "*.parquet")
        write_whole(folder / f"{table.name}.parquet", lambda draft: joined.sink_parquet(draft, compression="zstd"))
    finally:
        shutil.rmtree(parts, ignore_errors=True)
    return count

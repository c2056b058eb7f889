"""What the catalogue said, version by version, as features of offers take it in (OFFER_VERSIONS)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from service.offers.offer import offer_from_document
from service.offers.offers_store import StoredOffer, every_version
from service.storage.database import Connection


def versions_since(connection: Connection, change: int) -> Iterator[dict[str, Any]]:
    """Rows of OFFER_VERSIONS of every offer changed after a change number (0: of all), each with its whole past."""
    for stored in every_version(connection, change):
        yield _row(stored, deleted=False)
        if stored.deleted_at is not None:
            yield {**_row(stored, deleted=True), "at": stored.deleted_at}


def _row(stored: StoredOffer, deleted: bool) -> dict[str, Any]:
    offer = offer_from_document(stored.offer_id, stored.version, stored.document)
    return {
        "offer_id": offer.offer_id,
        "version": stored.version,
        "at": stored.updated_at,
        "deleted": deleted,
        "name": stored.document["name"],
        "description": stored.document["description"],
        "category": offer.info.category,
        "product_ids": sorted(offer.info.product_ids),
        "channels": list(offer.channels),
        "discount_percent": offer.info.discount_percent,
        "price_cents": offer.info.price_cents,
        "value": offer.value,
        "cost": offer.cost,
        "starts_at": offer.starts_at,
        "ends_at": offer.ends_at,
    }

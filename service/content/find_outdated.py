"""Approved copy that is out of use because its offer has changed since: somebody has to look at it again."""

from __future__ import annotations

from service.content.variant import said_hash
from service.content.variant_store import approved_for
from service.offers.offers_store import read_offers
from service.storage.database import Connection


def find_outdated(
    connection: Connection, channel: str | None = None, language: str | None = None, offer_id: str | None = None
) -> list[str]:
    """Ids of such variants, oldest first; of offers that are in the catalogue."""
    approved = approved_for(connection, channel, language, offer_id)
    offers = read_offers(connection, sorted({offer_id for _, offer_id, _ in approved}))
    now = {offer.offer_id: said_hash(offer.document) for offer in offers}
    return [variant_id for variant_id, offer_id, then in approved if now.get(offer_id, then) != then]

"""Sees to it that the ledger's lines of offers with limits that customers share are found by their offer.

Most offers have none, and an index over all their lines would be a quarter of what a decision writes. So lines are
told by a mark that the offer has from its first such limit on (`ledger_store.counted_offers`); lines of the time before
are marked then, once.
"""

from __future__ import annotations

from service.decisions.ledger_store import count_by_offer, counted_of
from service.offers.catalogue import Catalogue
from service.offers.offer import offer_from_document
from service.offers.offers_store import documents_of
from service.storage.database import Connection, Database


class CountByOffer:
    """One for each process; safe for threads, because doing it twice changes nothing."""

    def __init__(self) -> None:
        self._seen: Catalogue | None = None

    def see_to(self, database: Database, connection: Connection, catalogue: Catalogue) -> None:
        """Call it before the ledger is read through `connection`, one of `Database.read()`."""
        if catalogue is self._seen:
            return
        limited = {offer.offer_id for offer in catalogue.offers if offer.shared_limits}
        new = sorted(limited - counted_of(connection, limited)) if limited else []
        if new:
            put_again = [name for name in new if catalogue.by_id[name].version > 1]
            before = sorted(
                {
                    name
                    for name, version, document in documents_of(connection, put_again)
                    if not offer_from_document(name, version, document).shared_limits
                }
            )
            with database.write_between(connection):
                count_by_offer(connection, new, before)
        self._seen = catalogue

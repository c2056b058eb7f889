"""What is made once is made before the first customer asks: statements, locale data, compiled copy."""

from __future__ import annotations

import logging

from service.content.choose_content import ContentLibrary
from service.decisions.schemas import DecisionIn
from service.decisions.steady import SteadyDecider
from service.offers.catalogue import CatalogueCache
from service.storage.database import Database

log = logging.getLogger(__name__)


def try_a_decision(steady: SteadyDecider) -> None:
    """Makes a decision that is not kept. A failure is only told: decisions have their own ladder for that."""
    for told in steady.decide_each([DecisionIn(customer_id="nobody", dry_run=True)]):
        if isinstance(told, Exception):
            log.warning("the decision that was tried at the start failed: %r", told)


def get_words_ready(database: Database, catalogue: CatalogueCache, library: ContentLibrary) -> bool:
    """A pass that compiles approved copy; one that finds all of it compiled takes microseconds a variant."""
    with database.read() as connection:
        offers = catalogue.current(connection).by_id
    library.get_ready({offer_id: offer.document for offer_id, offer in offers.items()})
    return False

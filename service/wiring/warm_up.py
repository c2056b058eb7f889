"""What is made once is made before the first customer asks: statements, locale data, compiled copy."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from service.content.choose_content import ContentLibrary
from service.content.shelf import MAX_COMPILED
from service.customers.customer_store import customer_ids
from service.decisions.schemas import DecisionIn
from service.decisions.steady import SteadyDecider
from service.decisions.together import Together
from service.errors import Unauthorized
from service.offers.catalogue import CatalogueCache
from service.storage.database import Database
from service.web.auth import Guard
from service.web.threads import in_thread

log = logging.getLogger(__name__)
FIRST_WORDS = 500
"""Texts that are compiled before the first caller, in about a tenth of a second; the others right after."""
SOME = 8
"""Customers for whom a decision is tried at the start."""


def get_ready(
    database: Database,
    catalogue: CatalogueCache,
    library: ContentLibrary,
    steady: SteadyDecider,
    placements: Iterable[str] = (),
) -> None:
    """Before anybody asks. A failure is only told: decisions have their own ladder, and the loops try again.

    `placements` are those with settings of their own; the others share theirs.
    """
    try:
        get_words_ready(database, catalogue, library, FIRST_WORDS)
        with database.read() as connection:
            known = customer_ids(connection, "", SOME)
    except Exception:
        log.exception("the copy or the customers could not be read at the start")
        known = []
    try_decisions(steady, ["nobody", *known], [*placements, "some.other"])


def try_decisions(steady: SteadyDecider, customers: Sequence[str], placements: Sequence[str] = ("default",)) -> None:
    """Makes decisions that are not kept, one alone and some together. A failure is only told."""
    try:
        asked = [
            DecisionIn(
                customer_id=customers[turn % len(customers)], placement=placements[turn % len(placements)], dry_run=True
            )
            for turn in range(max(len(customers), len(placements)))
        ]
        for told in steady.decide_each(asked):
            if isinstance(told, Exception):
                log.warning("a decision that was tried at the start failed: %r", told)
        steady.rehearse(asked[-1:])
        steady.rehearse(asked)
    except Exception as failure:
        log.warning("decisions could not be tried at the start: %r", failure)


async def try_the_way_in(guard: Guard, together: Together) -> None:
    """The rest of the first call's way: the threads that decide, its key. A failure is only told."""
    try:
        await together.decide(DecisionIn(customer_id="nobody", dry_run=True))
        await in_thread(guard.remember)
        await guard.identify("none")
    except Unauthorized:
        pass
    except Exception as failure:
        log.warning("what was tried at the start failed: %r", failure)


def get_words_ready(
    database: Database, catalogue: CatalogueCache, library: ContentLibrary, most: int = MAX_COMPILED // 2
) -> bool:
    """A pass that compiles approved copy; one that finds all of it compiled takes microseconds a variant."""
    with database.read() as connection:
        offers = catalogue.current(connection).by_id
    library.get_ready({offer_id: offer.document for offer_id, offer in offers.items()}, most)
    return False

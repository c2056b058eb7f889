"""Records bring back the offers that were weighed, and which of them had a vector of their text then."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from features.texts import TextVectors
from service.decisions.decision_store import decisions
from service.decisions.offers_then import offers_then
from service.decisions.parts_store import Parts
from service.decisions.rank_actions import Decider
from service.decisions.record import unsqueeze
from service.decisions.schemas import DecisionIn
from service.offers.catalogue import CatalogueCache
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import Desk


@pytest.mark.parametrize("with_vectors", [(), (0,), (1, 2), (0, 1, 2)])
def test_offers_are_as_they_were_weighed(tmp_path: Path, with_vectors: tuple[int, ...]) -> None:
    desk = Desk(sqlite_with_tables(tmp_path / "state.db"))
    desk.put(a={}, b={}, c={})
    with desk.database.read() as connection:
        keys = np.array(sorted(offer.text for offer in CatalogueCache().current(connection).offers))[list(with_vectors)]
    catalogue = CatalogueCache(SimpleNamespace(held=TextVectors.of("1", keys, np.ones((len(keys), 4), np.float32))))  # type: ignore[arg-type]
    decider = Decider(
        desk.database, desk.clock, desk.settings, catalogue, desk.people.read, desk.rows, desk.served, desk.content
    )
    decided = decider.decide(DecisionIn(customer_id="c1"))["decision_id"]
    desk.put(a={"value": 1.0})  # the record names versions
    with desk.database.read() as connection:
        row = connection.execute(decisions.select()).one()
        (weighed,) = offers_then(connection, {decided: unsqueeze(row.record, Parts(connection))}).values()
    assert weighed == catalogue.last.offers
    assert sum(offer.info.text is not None for offer in weighed) == len(with_vectors)

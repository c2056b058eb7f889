"""A page that tells orders alone, from no data at all: what sells best comes to the front, and rates come true."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from service.decisions.attribute_outcomes import AttributeOutcomes
from service.decisions.case import microseconds
from service.decisions.decision_store import read_rates
from service.decisions.presume_delivered import PresumeDelivered
from service.decisions.rates import PooledRates
from service.decisions.schemas import DecisionIn
from service.offers.catalogue import CatalogueCache
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import EXPLORES, Desk, settings
from tests.fakes.learning import event_of

TRUTH = {"a": 0.02, "b": 0.05, "c": 0.12, "d": 0.03}
VISITORS, AT_ONCE, EVERY = 4_000, 50, timedelta(seconds=15)


def test_what_sells_best_comes_to_the_front(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.decisions.channel_habits.EVERY_S", 0.0)
    monkeypatch.setattr("service.decisions.rank_actions.RATES_S", 0.0)
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database, settings(caps=[], **EXPLORES))
    desk.put(**{name: {"channels": ["web"], "value": 10.0} for name in TRUTH})
    decider, outcomes = desk.decider, AttributeOutcomes(CatalogueCache(), 14)
    loop, random = PresumeDelivered(database, desk.clock), np.random.default_rng(3)
    shown: list[Counter[str]] = []
    for start in range(0, VISITORS, AT_ONCE):
        asked = [DecisionIn(customer_id=f"v{start + n}", channels=["web"], top_k=1) for n in range(AT_ONCE)]
        made = [one for one in decider.decide_many(asked) if one["actions"]]
        first = [one["actions"][0]["offer_id"] for one in made]
        shown.append(Counter(first))
        orders = [one for one, offer in zip(made, first, strict=True) if random.random() < TRUTH[offer]]
        at = desk.clock.now() + timedelta(seconds=4)
        with database.write() as connection:
            outcomes(connection, [event_of("Order Completed", one, at, revenue_cents=900) for one in orders])
        desk.clock.time += EVERY
        while loop.run_pass():
            pass
    late = sum(shown[len(shown) // 2 :], Counter())
    assert late["c"] > 0.6 * late.total()
    with database.read() as connection:
        told = PooledRates(read_rates(connection), now=microseconds(desk.clock.now()))
    best, *others = (told.rate(name, "web") for name in sorted(TRUTH, key=lambda name: -TRUTH[name]))
    assert best == pytest.approx(TRUTH["c"], abs=0.06)
    assert best > max(others)
    database.close()

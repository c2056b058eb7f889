"""A great many at once, and catalogues of every size: never a failure, never a wrong count."""

from __future__ import annotations

import asyncio
from pathlib import Path

import orjson
import pytest

from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.decisions.spool import Spool
from service.decisions.steady import SteadyDecider
from service.decisions.together import Together
from service.offers.offers_store import put_offers
from service.offers.schemas import OfferIn
from service.settings import Cap
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, settings

pytestmark = pytest.mark.slow


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    caps = [Cap(max=2, per_days=7)]
    return Desk(database, settings(caps=caps, durable=False))


def test_5000_requests_at_once_are_answered_and_counted(desk: Desk, tmp_path: Path) -> None:
    """500 customers ask ten times each: two messages each, but for an offer of which there are 700."""
    desk.put(a={"channels": ["email"], "caps": [{"max": 700, "per_days": 1, "per": "everyone"}]})
    together = Together(SteadyDecider(desk.decider, Spool(tmp_path / "spool", lambda _, ids: {}), 600.0))

    async def ask() -> list[bytes]:
        asked = [DecisionIn(customer_id=f"c{n % 500}", explain=False) for n in range(5_000)]
        return list(await asyncio.gather(*(together.decide(one) for one in asked)))

    answers = [orjson.loads(told) for told in asyncio.run(ask())]
    together.close()
    assert len({answer["decision_id"] for answer in answers}) == 5_000
    assert not any("database" in answer["degraded"] for answer in answers)
    sent = [answer["customer_id"] for answer in answers if answer["actions"]]
    assert len(sent) == 700
    assert max(sent.count(name) for name in set(sent)) <= 2


def test_a_catalogue_of_100000_offers(desk: Desk) -> None:
    plain = OfferIn.model_validate({"name": "offer", "channels": ["email"]}).document()
    with desk.database.write() as connection:
        put_offers(
            connection,
            {
                f"o{n:06}": {**plain, "name": f"offer {n}", "category": f"c{n % 500}", "value": float(n % 997)}
                for n in range(100_000)
            },
            NOON,
        )
    decider = desk.decider
    decision = decider.decide(DecisionIn(customer_id="c1", top_k=100))
    assert len(decision["actions"]) == 100
    assert decision["actions"][0]["expected_value"] == pytest.approx(996 * 0.05 - 0.01)
    record = DecisionReader(desk.database, desk.served).read(decision["decision_id"])
    assert len(record["candidates"]) == 301
    assert decider.decide(DecisionIn(customer_id="c2", offers=["o099999"]))["actions"][0]["offer_id"] == "o099999"

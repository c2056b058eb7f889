"""What is on record as the probability of a first action is that, also where a limit fills up among many decisions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.storage.idempotency_store import Once
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import Desk, settings

PLACES = 5
LAST = {
    "cap": {"caps": [{"max": PLACES, "per_days": 1, "per": "everyone"}]},
    "budget": {"cost": 1.0, "budget": {"amount": PLACES, "per_days": 1}},
}


@pytest.mark.parametrize("limit", LAST)
@pytest.mark.parametrize("together", [False, True])
def test_behind_the_last_place_nobody_is_on_record_with_a_chance_of_it(
    tmp_path: Path, limit: str, together: bool
) -> None:
    """Drawn again were only those who had drawn it: of the others too many sent something else, or nothing."""
    desk = Desk(sqlite_with_tables(tmp_path / "state.db"), settings(explore_by="epsilon_greedy", epsilon=0.5))
    desk.put(few={"value": 30.0, **LAST[limit]}, many={"value": 20.0}, dear={"value": 10.0, "cost": 9.0})
    requests = [DecisionIn(customer_id=f"c{number}", channels=["email"], top_k=1) for number in range(60)]
    decider = desk.decider
    names = [f"{number:032x}" for number in range(60)]  # from which the draws come
    once = [Once(name) for name in names]
    decided: list[Any] = decider.decide_each(requests, once) if together else decider.decide_batch(requests, names)
    reader = DecisionReader(desk.database, desk.served)
    records = [reader.read(decision["decision_id"]) for decision in decided]
    sent = [record["actions"][0]["offer_id"] if record["actions"] else None for record in records]
    assert sent.count("few") == PLACES
    last = max(place for place, offer in enumerate(sent) if offer == "few")
    weighed = [{one["offer_id"] for one in record["candidates"] if one["eligible"]} for record in records]
    assert all("few" in offers for offers in weighed[: last + 1])
    assert last < 40, "nobody would be behind it"
    assert not any("few" in offers for offers in weighed[last + 1 :])
    assert {"many", None} <= set(sent[last + 1 :])


def test_of_several_decisions_for_one_customer_those_behind_weigh_what_is_left(tmp_path: Path) -> None:
    """A page asks for each of its places at once."""
    desk = Desk(sqlite_with_tables(tmp_path / "state.db"), settings(explore_by="epsilon_greedy", epsilon=0.5))
    desk.put(once={"value": 30.0, "channels": ["web"], "caps": [{"max": 1, "per_days": 1}]}, many={"channels": ["web"]})
    requests = [DecisionIn(customer_id=f"c{number // 3}", channels=["web"], top_k=1) for number in range(60)]
    decided: list[Any] = desk.decider.decide_each(requests, [Once(f"{number:032x}") for number in range(60)])
    reader = DecisionReader(desk.database, desk.served)
    seen, behind = set[str](), 0
    for decision in decided:
        record = reader.read(decision["decision_id"])
        weighed = {one["offer_id"] for one in record["candidates"] if one["eligible"]}
        customer = record["customer_id"]
        assert ("once" in weighed) == (customer not in seen)
        behind += customer in seen
        seen |= {customer} if record["actions"] and record["actions"][0]["offer_id"] == "once" else set()
    assert behind > 10

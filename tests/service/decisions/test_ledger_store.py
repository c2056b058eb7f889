from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from service.decisions.case import DAY_US, microseconds
from service.decisions.ledger_lines_store import move_ledger, release, settle, use
from service.decisions.ledger_store import reserve
from service.decisions.line import Line
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.settings import Cap
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk, NextOffer, settings
from tests.fakes.ledger import read_entries

NOW = microseconds(NOON)


def together(desk: Desk, requests: list[DecisionIn]) -> list[dict[str, Any]]:
    decider = desk.decider
    with ThreadPoolExecutor(len(requests)) as pool:
        return list(pool.map(decider.decide, requests))


@pytest.mark.parametrize("most", [1, 5])
def test_64_at_once_never_pass_the_cap_of_a_customer(database: Database, most: int) -> None:
    desk = Desk(database, settings(caps=[Cap(channel=None, max=most, per_days=7)]))
    desk.people.add("c1")
    desk.put(a={})
    desk.served.models["next-offer"] = NextOffer({"a": 0.9})
    decisions = together(desk, [DecisionIn(customer_id="c1") for _ in range(64)])
    assert sum(1 for decision in decisions if decision["actions"]) == most
    refused = next(decision for decision in decisions if not decision["actions"])
    assert refused["excluded"][0]["rule"] == "frequency_cap"
    with database.read() as connection:
        entries = read_entries(connection, ["c1"], NOW - DAY_US)["c1"]
    assert sum(entry.message for entry in entries) == most
    assert len(DecisionReader(database, desk.served).latest("c1", 100)) == 64  # every one is on record


def test_64_customers_at_once_never_pass_a_shared_cap_or_a_budget(database: Database) -> None:
    desk = Desk(database, settings(caps=[]))
    desk.put(
        scarce={"caps": [{"max": 7, "per_days": 1, "per": "everyone"}], "channels": ["email"]},
        costly={"budget": {"amount": 2.0, "per_days": 1}, "cost": 0.4, "channels": ["sms"]},
    )
    desk.served.models["next-offer"] = NextOffer({"scarce": 0.9, "costly": 0.9})
    decisions = together(desk, [DecisionIn(customer_id=f"c{n}") for n in range(64)])
    returned = [action["offer_id"] for decision in decisions for action in decision["actions"]]
    assert returned.count("scarce") == 7
    assert returned.count("costly") == 5


def test_two_batches_at_once_keep_the_caps(database: Database) -> None:
    desk = Desk(database, settings(caps=[Cap(channel=None, max=2, per_days=7)]))
    desk.put(a={})
    desk.served.models["next-offer"] = NextOffer({"a": 0.9})
    decider = desk.decider
    asked = [[DecisionIn(customer_id=f"c{(n * step) % 20}") for n in range(120)] for step in (1, 3, 7, 9)]
    with ThreadPoolExecutor(4) as pool:
        done = [decision for batch in pool.map(decider.decide_many, asked) for decision in batch]
    for n in range(20):
        assert sum(1 for d in done if d["customer_id"] == f"c{n}" and d["actions"]) == 2


def line(decision: str, rank: int = 1, offer: str = "a", channel: str = "email", **more: Any) -> Line:
    base = {
        "decision_id": decision,
        "rank": rank,
        "customer_id": "c1",
        "offer_id": offer,
        "channel": channel,
        "message": rank == 1,
        "impression": True,
        "cost": 0.0,
        "at": NOW,
        "expires": NOW + DAY_US,
        "placement": "default",
        "exclusion_group": None,
    }
    return Line(**{**base, **more})


def test_delivery_uses_one_line_and_moves_the_message_to_it(database: Database) -> None:
    with database.write() as connection:
        reserve(connection, [line("d1"), line("d1", 2, "b"), line("d1", 3, "b", "sms")])
    with database.write() as connection:
        first = use(connection, "d1", "b", "sms", NOW + 5)
        again = use(connection, "d1", "b", "sms", NOW + 9)
        assert use(connection, "nosuch", None, None, NOW) is None
    assert first is not None
    assert (first.rank, first.channel, first.first) == (3, "sms", True)
    assert again is not None
    assert not again.first
    with database.read() as connection:
        entries = {(e.offer_id, e.channel): e for e in read_entries(connection, ["c1"], 0)["c1"]}
    assert [key for key, entry in entries.items() if entry.message] == [("b", "sms")]
    assert entries["b", "sms"].expires is None
    assert entries["b", "sms"].at == NOW + 5


@pytest.mark.parametrize("told", [True, False])
def test_what_an_answer_proves_came_with_the_message_that_went_out(database: Database, told: bool) -> None:
    with database.write() as connection:
        reserve(connection, [line("d1"), line("d1", 2, "b"), line("d1", 3, "c", "sms")])
        settle(connection, [("d1", 1)])
        use(connection, "d1", "b", "email", NOW + 5, told)
        use(connection, "d1", "a", "email", NOW + 6, told)
    with database.read() as connection:
        entries = {e.offer_id: e for e in read_entries(connection, ["c1"], 0)["c1"]}
    assert {name: entry.message for name, entry in entries.items()} == {"a": True, "b": told, "c": False}
    assert entries["b"].impression


def test_released_lines_are_gone_and_delivered_ones_stay(database: Database) -> None:
    with database.write() as connection:
        reserve(connection, [line("d1"), line("d1", 2, "b"), line("d2")])
        use(connection, "d1", "a", None, NOW)
        assert release(connection, "d1") == 1
        assert release(connection, "d2") == 1
        assert len(read_entries(connection, ["c1"], 0)["c1"]) == 1


def test_a_merged_person_has_one_count(database: Database) -> None:
    with database.write() as connection:
        reserve(connection, [line("d1"), line("d2", customer_id="anonymous")])
        move_ledger(connection, "anonymous", "c1")
        found = read_entries(connection, ["c1", "anonymous"], 0)
    assert len(found["c1"]) == 2
    assert "anonymous" not in found

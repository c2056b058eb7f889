from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from sqlalchemy import text

from models.send_time import SendTimeModel
from service.decisions.choose import Candidates
from service.decisions.decision_store import decisions, move_decisions
from service.decisions.explain import _headline, _stopped
from service.decisions.pairs import columns_json
from service.decisions.parts_store import Parts
from service.decisions.read_decision import DecisionReader, export_of
from service.decisions.record import pack_candidates, unpack_candidates, unsqueeze
from service.decisions.schemas import DecisionIn
from service.errors import Damaged, NotFound
from service.offers.offers_store import delete_offer
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import EXPLORES, NOON, Desk, NextOffer, row, settings


@pytest.fixture
def desk(tmp_path: Any) -> Desk:
    database = sqlite_with_tables(tmp_path / "state.db")
    made = Desk(database, settings(**EXPLORES))
    made.people.add("c1", timezone="Europe/Paris", traits={"plan": "gold"}, segments=("new",))
    made.rows.rows["c1"] = row("c1", affinity={"shoes": (1.0, 2.0, float("nan"))}, orders_90d=2.0, gap=float("nan"))
    made.served.models = {
        "next-offer": NextOffer({"a": 0.1, "b": 0.3}),
        "send-time": replace(SendTimeModel.untrained(), tiring=0.3, version="7"),
    }
    made.put(
        a={"eligibility": "customer.features.orders_90d >= 1 && customer.traits.plan == 'gold'"},
        b={"caps": [{"max": 2, "per_days": 7, "per": "everyone"}]},
        c={"starts_at": (NOON + timedelta(days=1)).isoformat()},
        d={"eligibility": "context.page == 'cart'", "channels": ["email", "web"]},
    )
    return made


def decide(desk: Desk, **request: Any) -> dict[str, Any]:
    return desk.decider.decide(DecisionIn(customer_id="c1", **request))


def reader(desk: Desk) -> DecisionReader:
    return DecisionReader(desk.database, desk.served)


def test_every_arm_and_every_turn_replays_equal(desk: Desk) -> None:
    arms = {"model": 0.4, "random": 0.3, "business_as_usual": 0.2, "holdout": 0.1}
    desk.settings = settings(**EXPLORES, arms=arms, explore_hours=0.4)
    for n in range(40):
        desk.clock.forward(hours=7)
        decision = desk.decider.decide(DecisionIn(customer_id=f"x{n}" if n % 2 else "c1", context={"page": "cart"}))
        told = reader(desk).replay(decision["decision_id"])
        assert told["differences"] == []
        assert told["equal"]
        if decision["actions"]:
            assert {"probabilities", "send_at", "propensities"} <= set(told["decided_again"])
            assert told["from_record"] == []


def test_a_change_since_then_changes_nothing(desk: Desk) -> None:
    decision = decide(desk)
    desk.put(a={"value": 99.0}, b={"eligibility": "false"}, d={"channels": ["push"]})
    desk.people.add("c1", consents={"email": {"marketing": False}})
    desk.settings = settings(arms={"model": 0, "random": 0, "business_as_usual": 0, "holdout": 1}, caps=[], floor=0.2)
    desk.clock.forward(days=3)
    with desk.database.write() as connection:
        delete_offer(connection, "a", desk.clock.now())
        move_decisions(connection, "c1", "somebody")  # the visitor is known by now
    told = reader(desk).replay(decision["decision_id"])
    assert (told["equal"], told["differences"], told["from_record"]) == (True, [], [])
    assert reader(desk).read(decision["decision_id"])["customer"]["customer_id"] == "c1"
    explanation = reader(desk).explain(decision["decision_id"])
    assert explanation.why if decision["actions"] else explanation.why_nothing  # the draw may take "send nothing"


def test_another_model_is_said_and_the_scores_taken_from_the_record(desk: Desk) -> None:
    desk.settings = settings()
    decision = decide(desk)
    desk.served.models = {"next-offer": NextOffer({"a": 0.9}, version="4")}
    told = reader(desk).replay(decision["decision_id"])
    assert told["equal"]
    assert told["from_record"] == ["probabilities", "send_at"]


def test_a_model_that_says_something_else_is_told(desk: Desk) -> None:
    decision = decide(desk)
    desk.served.models["next-offer"] = NextOffer({"a": 0.45})  # the same version: it should not
    told = reader(desk).replay(decision["decision_id"])
    assert not told["equal"]
    assert {"candidates.a email", "candidates.b email"} <= {difference["field"] for difference in told["differences"]}


def test_a_record_that_was_touched_is_told(desk: Desk) -> None:
    import zlib

    decision = decide(desk)
    with desk.database.write() as connection:
        stored = connection.execute(decisions.select()).one()
        record = unsqueeze(stored.record, Parts(connection))
        record["seed"] += 1
        record["rules"]["floor"] = 0.1
        connection.execute(decisions.update().values(record=zlib.compress(orjson.dumps(record))))
    fields = {difference["field"] for difference in reader(desk).replay(decision["decision_id"])["differences"]}
    assert "candidates.send nothing" in fields


@pytest.mark.parametrize(
    ("name", "value"), [("rank", 7), ("expected_value", 99.0), ("propensity", 0.5), ("offer_id", "another")]
)
def test_an_answer_that_was_touched_is_told(desk: Desk, name: str, value: Any) -> None:
    import zlib

    desk.settings = settings()
    decide(desk)
    with desk.database.write() as connection:
        stored = connection.execute(decisions.select()).one()
        record = unsqueeze(stored.record, Parts(connection))
        record["actions"][0][name] = value
        connection.execute(decisions.update().values(record=zlib.compress(orjson.dumps(record))))
    told = reader(desk).replay(stored.decision_id)
    assert any(one["field"].startswith("actions.") for one in told["differences"])


def test_an_unknown_decision_is_not_found(desk: Desk) -> None:
    with pytest.raises(NotFound):
        reader(desk).replay("nosuch")
    with pytest.raises(NotFound):
        reader(desk).read("nosuch")


@pytest.mark.parametrize(
    ("column", "damage"),
    [
        ("record", lambda packed: packed[: len(packed) // 2]),
        ("record", lambda packed: b"\x00" * len(packed)),
        ("record", lambda packed: b"\x78\x9c" + packed),
        ("candidates", lambda packed: packed[: len(packed) // 2]),
    ],
)
def test_a_damaged_record_is_told_by_its_decision_and_hides_no_other(
    desk: Desk, column: str, damage: Callable[[bytes], bytes]
) -> None:
    whole, broken = (decide(desk)["decision_id"] for _ in range(2))
    here = {"id": broken}
    with desk.database.write() as connection:
        packed = connection.execute(text(f"SELECT {column} FROM decisions WHERE decision_id = :id"), here).scalar_one()
        changed = text(f"UPDATE decisions SET {column} = :packed WHERE decision_id = :id")
        connection.execute(changed, here | {"packed": damage(bytes(packed))})
    for asked in (reader(desk).read, reader(desk).replay, reader(desk).explain):
        with pytest.raises(Damaged, match=broken):
            asked(broken)
    assert [isinstance(one, Damaged) for one in reader(desk).told("c1", 2)].count(True) == 1
    with desk.database.read() as connection:
        exported = {one["decision_id"]: one for one in export_of(connection, ["c1"])["decisions"]}
    assert broken in exported[broken]["problem"]
    assert "candidates" in exported[whole]


def test_words_for_something_and_for_nothing(desk: Desk) -> None:
    desk.settings = settings()
    first = reader(desk).explain(decide(desk)["decision_id"])
    assert first.headline.startswith(("Offer a by", "Offer b by"))
    assert first.why[0].startswith("The model's policy")
    assert any("Ordered lately" in sentence for sentence in first.why)
    assert any(sentence.startswith("Offer c: starts at") for sentence in first.why_not)
    assert any("Decided from 2026-03-05 12:00 UTC on instead, Offer c by" in sentence for sentence in first.would_flip)
    assert first.why_nothing == ()
    while (decision := decide(desk))["actions"]:
        pass
    nothing = reader(desk).explain(decision["decision_id"])
    assert nothing.headline == "Nothing is sent."
    assert nothing.why_nothing[0].startswith("Rules stop all")
    assert nothing.would_flip[0].startswith(
        "From 2026-03-07 09:00 UTC on 2 more offers by email or sms can be sent, and"
    )


@pytest.mark.parametrize(
    ("timezone", "told"),
    [
        ("Europe/Paris", "at 2026-03-05 01:30 in Europe/Paris (00:30 UTC)."),
        ("America/New_York", "at 2026-03-04 19:30 in America/New_York (2026-03-05 00:30 UTC)."),
        ("Mars/Base", "at 2026-03-05 00:30 UTC."),
        ("UTC", "at 2026-03-05 00:30 UTC."),
        (None, "at 2026-03-05 00:30 UTC."),
    ],
)
def test_the_hour_is_told_by_the_customer_s_own_clock(timezone: str | None, told: str) -> None:
    record = {"customer": {"timezone": timezone}, "decided_at": NOON.isoformat()}
    first = {"offer_id": "a", "channel": "sms", "send_at": "2026-03-05T00:30:00Z"}
    assert _headline(record, first, {}) == f"Offer a by sms, {told}"
    assert _headline(record, {**first, "send_at": NOON.isoformat()}, {}) == "Offer a by sms, now."


def test_until_when_a_rule_holds_is_told_by_the_customer_s_own_clock() -> None:
    verdict = {"detail": "1 of 1 in 7 days", "until": "2026-03-05T00:30:00Z"}
    stopped = [{"offer_id": "a", "channel": "sms", "verdicts": {"offer_cap": verdict}}]
    record = {"customer": {"timezone": "Europe/Paris"}}
    assert _stopped(record, stopped, {}) == [
        "Offer a: 1 of 1 in 7 days, until 2026-03-05 01:30 in Europe/Paris (00:30 UTC)."
    ]


def test_channels_of_which_the_same_is_said_are_told_at_once(desk: Desk) -> None:
    desk.settings = settings()
    told = reader(desk).explain(decide(desk, top_k=1)["decision_id"])
    assert "Offer a by email or sms was expected to earn 1.99." in told.why_not
    assert sum(line.startswith("Offer b by") for line in told.why_not) == 1  # the other channel went


def test_what_earns_and_costs_nothing_is_not_said_to_cost(desk: Desk) -> None:
    desk.settings = settings()
    desk.put(a={"channels": ["web"], "value": 1.0}, b={"channels": ["web"], "value": 0.0})
    told = reader(desk).explain(decide(desk, channels=["web"])["decision_id"])
    assert "Offer b by web is expected to earn no more than sending nothing is worth (0.00)." in told.why_not


def test_words_for_consent_and_for_what_does_not_pay(desk: Desk) -> None:
    desk.people.add("c1", consents={"email": {"marketing": False}})
    told = reader(desk).explain(decide(desk, channels=["email"])["decision_id"])
    assert any("does not want marketing by email" in sentence for sentence in told.why_not)
    assert told.would_flip[0] == (
        "If the customer agreed to marketing by email, Offer b by email could be sent, and it would most likely "
        "come first (5.99 against 0.00)."
    )
    desk.settings = settings()
    desk.put(dear={"value": 1.0, "cost": 5.0})
    poor = reader(desk).explain(decide(desk, offers=["dear"])["decision_id"])
    assert "cost more than it earns" in poor.why_nothing[0]
    assert any("would be worth sending if an order of it were worth" in sentence for sentence in poor.would_flip)


def test_words_for_the_holdout(desk: Desk) -> None:
    desk.settings = settings(arms={"model": 0, "random": 0, "business_as_usual": 0, "holdout": 1})
    told = reader(desk).explain(decide(desk)["decision_id"])
    assert "holdout" in told.why_nothing[0]


@pytest.mark.parametrize("explore_by", ["thompson", "epsilon_greedy"])
def test_every_way_to_explore_is_drawn_by_what_is_logged_and_replayed(tmp_path: Path, explore_by: str) -> None:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database, settings(**EXPLORES, explore_by=explore_by, caps=[]))
    desk.put(a={}, b={"cost": 0.3}, c={"value": 8.0})
    desk.served.models["next-offer"] = NextOffer({"a": 0.3, "b": 0.31, "c": 0.2})
    reader = DecisionReader(database, desk.served)
    for number in range(5):
        decided = desk.decider.decide(DecisionIn(customer_id=f"c{number}"))
        record = reader.read(decided["decision_id"])
        assert sum(candidate["propensity"] for candidate in record["candidates"]) == pytest.approx(1.0)
        assert record["policy"]["rules"]["explore_by"] == explore_by
        assert reader.replay(decided["decision_id"])["equal"]


@pytest.mark.parametrize("many", [1, 5_476, 5_477])
def test_candidates_are_read_back_however_many(many: int) -> None:
    """The length of 5,477 begins as what was compressed in earlier versions."""
    offers: list[str | None] = [*(f"o{number}" for number in range(many - 1)), None]
    channels: list[str | None] = [*["email"] * (many - 1), None]
    columns = np.arange(3.0 * many).reshape(3, many)
    packed = pack_candidates(Candidates(offers, channels, columns, {}, columns_json(offers, channels)), {})
    assert [line[:2] for line in unpack_candidates(packed)] == [list(one) for one in zip(offers, channels, strict=True)]


@pytest.mark.parametrize(("apart", "equal"), [(2.0**-52, True), (1e-9, False)])
def test_another_processors_rounding_is_told_and_is_no_difference(desk: Desk, apart: float, equal: bool) -> None:
    desk.settings = settings()
    decision = decide(desk)
    assert reader(desk).replay(decision["decision_id"])["rounding"] == 0.0
    model = desk.served.models["next-offer"]
    desk.served.models["next-offer"] = NextOffer({name: chance * (1 + apart) for name, chance in model.chances.items()})
    told = reader(desk).replay(decision["decision_id"])
    assert told["equal"] is equal
    assert told["rounding"] == (pytest.approx(apart, rel=0.6) if equal else 0.0)
    assert "probabilities" in told["decided_again"]

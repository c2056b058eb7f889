"""Records go when they are older than they are to be kept; what was decided still counts."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from pydantic import ValidationError
from sqlalchemy import text

from service.decisions import forget_records
from service.decisions.decision_store import read_heads
from service.decisions.export_decisions import export_decisions
from service.decisions.forget_records import ForgetRecords
from service.decisions.read_decision import DecisionReader, export_of, kept_of
from service.decisions.schemas import DecisionIn
from service.errors import NotFound
from service.settings import Cap, Decisions
from service.storage.database import Database
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import Desk, NextOffer, settings


def desk_of(database: Database, **decisions: object) -> Desk:
    desk = Desk(database, settings(explore_by="epsilon_greedy", epsilon=0, floor=0, **decisions))
    desk.put(a={}, b={})
    desk.served.models["next-offer"] = NextOffer({"a": 0.9, "b": 0.8})
    return desk


def decided(desk: Desk, customer: str = "anna") -> str:
    return str(desk.decider.decide(DecisionIn(customer_id=customer))["decision_id"])


def recorded(database: Database) -> list[str]:
    with database.read() as connection:
        query = (
            "SELECT decision_id FROM decisions WHERE length(record) > 0 AND length(candidates) > 0 ORDER BY decided_at"
        )
        return list(connection.execute(text(query)).scalars())


def test_old_records_go_and_new_ones_stay(database: Database, tmp_path: Path) -> None:
    desk = desk_of(database, caps=[])
    old = decided(desk)
    desk.clock.forward(days=29)
    new = decided(desk)
    desk.clock.forward(days=2)
    assert ForgetRecords(database, desk.clock, 30).run_pass() is False
    assert recorded(database) == [new]
    reader = DecisionReader(database, desk.served)
    assert [one["decision_id"] for one in reader.latest("anna", 10)] == [new]
    assert [one["decision_id"] for one, _ in reader.told("anna", 10)] == [new]
    assert reader.replay(new)["equal"] is True
    for asked in (reader.read, reader.replay, reader.explain):
        with pytest.raises(NotFound, match="no longer kept"):
            asked(old)
    with database.read() as connection:
        assert set(read_heads(connection, [old, new])) == {old, new}
        held = {one["decision_id"]: one for one in export_of(connection, ["anna"])["decisions"]}
        assert (held[old]["offer_id"], "candidates" in held[old], "candidates" in held[new]) == ("a", False, True)
        export_decisions(connection, tmp_path)
    assert set(pl.read_parquet(tmp_path / "decisions.parquet")["decision_id"]) == {new}


def test_tables_begin_where_visitors_may_have_been_forgotten(database: Database, tmp_path: Path) -> None:
    desk = desk_of(database, caps=[])
    decided(desk)
    desk.clock.forward(days=9)
    new = decided(desk, "bert")
    with database.read() as connection:
        export_decisions(connection, tmp_path, desk.clock.now() - timedelta(days=1))
    assert set(pl.read_parquet(tmp_path / "decisions.parquet")["decision_id"]) == {new}


def test_who_was_decided_for_lately_is_told(database: Database) -> None:
    desk = desk_of(database, caps=[])
    decided(desk)
    desk.clock.forward(days=9)
    decided(desk, "bert")
    with database.write() as connection:  # as of one in which nothing may be sent
        connection.execute(
            text(
                "INSERT INTO decisions SELECT 'none', 'carl', decided_at, placement, arm, policy, "
                "policy_version, NULL, NULL, candidates, record, (1 = 0) FROM decisions WHERE customer_id = 'bert'"
            )
        )
    with database.read() as connection:
        asked = ["anna", "bert", "carl", "dora"]
        assert kept_of(connection, asked, desk.clock.now() - timedelta(days=1)) == {"bert", "carl"}
        assert kept_of(connection, asked, desk.clock.now() - timedelta(days=10)) == {"anna", "bert", "carl"}


def test_what_was_sent_counts_without_its_record(database: Database) -> None:
    desk = desk_of(database, caps=[Cap(channel=None, max=1, per_days=365)], reservation_hours=9_000)
    decided(desk)
    desk.clock.forward(days=40)
    ForgetRecords(database, desk.clock, 30).run_pass()
    assert recorded(database) == []
    told = desk.decider.decide(DecisionIn(customer_id="anna"))
    assert told["actions"] == []
    assert {one["rule"] for one in told["excluded"]} == {"frequency_cap"}


def test_many_go_in_portions_and_who_comes_late_goes_too(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forget_records, "AT_ONCE", 2)
    desk = desk_of(database, caps=[])
    ids = [decided(desk, f"c{number}") for number in range(5)]
    desk.clock.forward(days=31)
    forget = ForgetRecords(database, desk.clock, 30)
    left = []
    while forget.run_pass():
        left.append(len(recorded(database)))
    assert (left, recorded(database)) == ([3, 1], [])
    desk.clock.forward(days=-1, hours=-12)  # what waited on the disk is brought in with its own time
    late = decided(desk)
    desk.clock.forward(days=1, hours=12)
    assert recorded(database) == [late]
    desk.clock.forward(days=29)
    assert forget.run_pass() is False
    assert (recorded(database), len(ids)) == ([], 5)


def test_who_starts_again_looks_through_some_of_those_without_records_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(forget_records, "LOOKED_AT", 2)
    desk = desk_of(database, caps=[])
    for number in range(7):
        desk.clock.forward(seconds=1)
        decided(desk, f"c{number}")
    desk.clock.forward(days=31)
    forget = ForgetRecords(database, desk.clock, 30)
    while forget.run_pass():
        pass
    assert recorded(database) == []
    again = ForgetRecords(database, desk.clock, 30)
    assert [again.run_pass() for _ in range(4)] == [True, True, False, False]


def test_a_decision_under_a_key_is_not_made_twice(database: Database) -> None:
    desk = desk_of(database, caps=[])
    asked = [DecisionIn(customer_id="anna")]
    desk.decider.decide_many(asked, ["step 1"])
    desk.clock.forward(days=31)
    ForgetRecords(database, desk.clock, 30).run_pass()
    with pytest.raises(NotFound, match="no longer kept"):
        desk.decider.decide_many(asked, ["step 1"])


def test_the_room_is_used_again(tmp_path: Path) -> None:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = desk_of(database, caps=[])

    def pages() -> int:
        with database.read() as connection:
            return int(connection.execute(text("PRAGMA page_count")).scalar_one())

    for number in range(200):
        decided(desk, f"c{number}")
    before = pages()
    desk.clock.forward(days=31)
    while ForgetRecords(database, desk.clock, 30).run_pass():
        pass
    for number in range(150):
        decided(desk, f"c{number}")
    assert pages() <= 1.1 * before
    database.close()


def test_records_are_kept_for_as_long_as_they_are_learnt_from() -> None:
    assert Decisions().keep_records_days == 0
    assert Decisions(keep_records_days=14).keep_records_days == 14
    with pytest.raises(ValidationError, match="look 14 days back"):
        Decisions(keep_records_days=13.9)
    with pytest.raises(ValidationError, match="look 30 days back"):
        Decisions(keep_records_days=20, attribution_days=30)

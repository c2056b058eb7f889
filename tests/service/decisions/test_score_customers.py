from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from features.rows import CustomerRow
from models.uplift import uplift_name
from service.customers.customer_store import read_customers, write_profiles
from service.customers.profile import Profile
from service.decisions import score_customers as module
from service.decisions.rank_actions import Decider
from service.decisions.read_decision import DecisionReader
from service.decisions.schemas import DecisionIn
from service.decisions.score_customers import score_customers
from service.offers.catalogue import CatalogueCache
from service.storage.database import Database
from tests.fakes.decisions import EXPLORES, NOON, Desk, NextOffer, settings


@pytest.fixture
def desk(database: Database) -> Desk:
    made = Desk(database, settings(**EXPLORES))
    made.served.models["next-offer"] = NextOffer({"a": 0.1, "b": 0.3})
    made.put(a={}, b={"eligibility": "customer.features.orders_90d >= 2"})
    profiles = [Profile(f"c{n:03}", NOON, NOON, timezone="Europe/Paris") for n in range(130)]
    with database.write() as connection:
        write_profiles(connection, profiles)
    for n in range(130):
        made.rows.add(f"c{n:03}", orders_90d=float(n % 4))
    return made


def decider(desk: Desk) -> Decider:
    return Decider(
        desk.database, desk.clock, desk.settings, CatalogueCache(), read_customers, desk.rows, desk.served, desk.content
    )


def score(desk: Desk, out: Path, **more: Any) -> int:
    return score_customers(decider(desk), None, out, desk.clock.now(), **more)


def test_every_customer_has_a_row_equal_to_the_single_decision(desk: Desk, tmp_path: Path) -> None:
    out = tmp_path / "out" / "scores.parquet"
    assert score(desk, out) == 130
    frame = pl.read_parquet(out)
    assert frame["customer_id"].to_list() == [f"c{n:03}" for n in range(130)]
    assert not out.with_name("scores.parquet.parts").exists()
    for row in frame.head(8).to_dicts():
        single = decider(desk).decide(DecisionIn(customer_id=row["customer_id"], dry_run=True))
        kept = {(a["offer_id"], a["channel"]): a for a in single["actions"]}
        for action in row["actions"]:
            same = kept.get((action["offer_id"], action["channel"]))
            if same is not None:
                assert action["probability"] == same["probability"]
                assert action["expected_value"] == same["expected_value"]
                assert action["propensity"] == same["propensity"]
                assert action["send_at"] == same["send_at"]
        assert row["arm"] == single["arm"]
    assert DecisionReader(desk.database, desk.served).latest("c000", 9) == []


def test_a_run_that_was_killed_goes_on_and_ends_the_same(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 20)
    monkeypatch.setattr(module, "PER_PART", 40)
    whole, torn = tmp_path / "whole.parquet", tmp_path / "torn.parquet"
    score(desk, whole)

    class Killed(Exception):
        pass

    def kill(done: int) -> None:
        if done >= 100:
            raise Killed

    with pytest.raises(Killed):
        score(desk, torn, progress=kill)
    assert not torn.exists()
    desk.clock.forward(hours=5)  # the run goes on as of the time it began with
    seen: list[int] = []
    assert score(desk, torn, progress=seen.append) == 130
    assert seen[0] == 80
    assert pl.read_parquet(torn).equals(pl.read_parquet(whole))


def test_a_second_run_leaves_the_first_one_s_file_alone(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "CHUNK", 20)
    monkeypatch.setattr(module, "PER_PART", 40)
    out, refused = tmp_path / "scores.parquet", []

    def meanwhile(done: int) -> None:
        if done == 60:
            with pytest.raises(ValueError, match="written by another run") as told:
                score(desk, out)
            refused.append(str(told.value))
            score(desk, tmp_path / "other.parquet")

    assert score(desk, out, progress=meanwhile) == 130
    assert refused
    assert pl.read_parquet(out).equals(pl.read_parquet(tmp_path / "other.parquet"))
    assert sorted(path.name for path in tmp_path.iterdir() if "scores" in path.name) == ["scores.parquet"]


def other_arms(desk: Desk) -> None:
    desk.settings = settings(arms={"model": 0, "random": 1, "business_as_usual": 0, "holdout": 0})


def other_seed(desk: Desk) -> None:
    desk.settings = settings(**EXPLORES, seed="another")


def other_exploration(desk: Desk) -> None:
    desk.settings = settings(**EXPLORES | {"exploration": 1.0})


def other_zone(desk: Desk) -> None:
    desk.settings = settings(**EXPLORES, default_timezone="Asia/Tokyo")


def other_catalogue(desk: Desk) -> None:
    desk.put(a={"value": 77.0})


def other_model(desk: Desk) -> None:
    desk.served.models["next-offer"] = NextOffer({"a": 0.6, "b": 0.1}, version="4")


def no_model(desk: Desk) -> None:
    del desk.served.models["next-offer"]


def the_next_day(desk: Desk) -> None:
    desk.clock.forward(hours=24)


class Uplift:
    version, serves = "1", True

    def caused(self, rows: Sequence[CustomerRow]) -> list[float]:
        return [0.5] * len(rows)


def an_uplift_model(desk: Desk) -> None:
    desk.served.models[uplift_name("default")] = Uplift()


def test_parts_made_with_the_same_are_used(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _starts_with(desk, tmp_path, monkeypatch, lambda _: None) == 60


@pytest.mark.parametrize(
    "change",
    [
        other_arms,
        other_seed,
        other_exploration,
        other_zone,
        other_catalogue,
        other_model,
        no_model,
        an_uplift_model,
        the_next_day,
    ],
)
def test_parts_made_with_anything_else_are_not_used(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Desk], None]
) -> None:
    assert _starts_with(desk, tmp_path, monkeypatch, change) == 0
    score(desk, tmp_path / "whole.parquet")
    assert pl.read_parquet(tmp_path / "scores.parquet").equals(pl.read_parquet(tmp_path / "whole.parquet"))


def _starts_with(desk: Desk, folder: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Desk], None]) -> int:
    """How many customers' rows a run keeps of one that was killed before the change."""
    monkeypatch.setattr(module, "CHUNK", 20)
    monkeypatch.setattr(module, "PER_PART", 20)

    def kill(done: int) -> None:
        if done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score(desk, folder / "scores.parquet", progress=kill)
    change(desk)
    seen: list[int] = []
    score(desk, folder / "scores.parquet", progress=seen.append)
    return seen[0]


def test_no_customers_make_an_empty_file(database: Database, tmp_path: Path) -> None:
    assert score(Desk(database), tmp_path / "scores.parquet") == 0
    assert pl.read_parquet(tmp_path / "scores.parquet").height == 0

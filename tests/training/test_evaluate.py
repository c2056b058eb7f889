from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from features.event_log import EventLog
from features.offers import OfferInfo
from features.rows import CustomerRow
from features.tables import DECISIONS, EVENTS, OFFER_VERSIONS, OFFERS, OUTCOMES, UTC_TIME
from training import challenger, matured_log
from training.evaluate import _scales, evaluate
from training.matured_log import MaturedLog
from training.target_policies import best

START = datetime(2026, 1, 1, tzinfo=UTC)
CHANCE = {"a": 0.30, "b": 0.15, "c": 0.05}
VALUE = {"a": 1.0, "b": 4.0, "c": 2.0}


def write_log(home: Path, decisions: int = 6_000, **changes: Any) -> None:
    """Decisions by chance between three offers and nothing (propensities .4 .3 .2 .1), with their true responses."""
    random = np.random.default_rng(2)
    names: list[str | None] = ["a", "b", "c", None]
    rows, outcomes = [], []
    for n in range(decisions):
        arm = changes.get("arms", ["model", "random"])[n % 2]
        p = np.array(changes.get(arm, changes.get("propensities", [0.4, 0.3, 0.2, 0.1])))
        chosen = int(random.choice(4, p=p))
        if arm == "business_as_usual":
            chosen = 1
        at = START + timedelta(minutes=n)
        for index, name in enumerate(names):
            rows.append(
                {
                    "decision_id": f"d{n}",
                    "customer_id": f"c{n % 997}",
                    "decided_at": at,
                    "placement": "email",
                    "arm": arm,
                    "policy": "default",
                    "policy_version": "1",
                    "offer_id": name,
                    "channel": "email" if name else None,
                    "rank": 1 if index == chosen else None,
                    "chosen": index == chosen,
                    "propensity": float(p[index]),
                    "probability": CHANCE[name] if name else None,
                    "expected_value": CHANCE[name] * VALUE[name] if name else 0.0,
                    "send_at": None,
                }
            )
        name = names[chosen]
        if name and random.random() < changes.get("chance", CHANCE)[name]:
            outcomes.append(("converted", n, name, at, False))
        if random.random() < 0.2:
            outcomes.append(("converted", n, name, at, True))  # machines earn nothing
    frame = pl.DataFrame(
        [
            {
                "decision_id": f"d{n}",
                "customer_id": f"c{n % 997}",
                "offer_id": name,
                "channel": "email",
                "kind": kind,
                "at": at + timedelta(hours=1),
                "value_cents": 100,
                "machine": machine,
                "message_id": f"m{i}",
            }
            for i, (kind, n, name, at, machine) in enumerate(outcomes)
        ],
        schema=OUTCOMES.schema,
    )
    offer = OFFERS.sample(3, 1).with_columns(
        offer_id=pl.Series(list(VALUE)), value=pl.Series(list(VALUE.values())), cost=pl.lit(0.0)
    )
    tables = home / "tables"
    tables.mkdir(parents=True)
    DECISIONS.validate(pl.DataFrame(rows, schema=DECISIONS.schema)).write_parquet(tables / "decisions.parquet")
    frame.write_parquet(tables / "outcomes.parquet")
    offer.write_parquet(tables / "offers.parquet")


def value(report: Any, measure: int, name: str) -> Any:
    return next(e for e in report.measures[measure].estimates if e.name == name)


def test_known_policies_get_their_true_values(tmp_path: Path) -> None:
    write_log(tmp_path)
    uniform = evaluate("uniform", tmp_path, matured_days=0)
    assert uniform.refused is None
    assert (uniform.decisions, uniform.customers) == (6_000, 997)
    assert uniform.weights is not None
    assert uniform.weights.mean == pytest.approx(1, abs=0.05)
    truths = {
        "uniform": (sum(CHANCE.values()) / 4, sum(CHANCE[n] * VALUE[n] for n in CHANCE) / 4),
        "greedy": (CHANCE["b"], CHANCE["b"] * VALUE["b"]),
    }
    for policy, (rate, net) in truths.items():
        report = evaluate(policy, tmp_path, matured_days=0)
        for name in ("IPS", "SNIPS", "DR", "SNDR"):
            assert value(report, 0, name).value == pytest.approx(rate, rel=0.12)
            assert value(report, 1, name).low <= net <= value(report, 1, name).high
    assert "effective sample size" in str(uniform)


def test_what_an_offer_costs_is_taken_off_whatever_comes_of_it(tmp_path: Path) -> None:
    write_log(tmp_path)
    path = tmp_path / "tables" / "offers.parquet"
    pl.read_parquet(path).with_columns(cost=pl.lit(0.5)).write_parquet(path)
    truth = sum(CHANCE[name] * VALUE[name] - 0.5 for name in CHANCE) / 4
    report = evaluate("uniform", tmp_path, matured_days=0)
    for name in ("IPS", "SNIPS", "DR", "SNDR"):
        assert value(report, 1, name).low <= truth <= value(report, 1, name).high < 0


def test_what_was_rarely_tried_and_led_to_nothing_yet_may_still_be_worth_something(tmp_path: Path) -> None:
    """Had the offers tried once in fifty times done as guessed, uniform would be worth .125 and 0.25."""
    write_log(tmp_path, 1_200, propensities=[0.94, 0.02, 0.02, 0.02], chance=CHANCE | {"b": 0.0, "c": 0.0})
    report = evaluate("uniform", tmp_path, matured_days=0)
    assert value(report, 0, "IPS").low < CHANCE["a"] / 4 < 0.125 < value(report, 0, "IPS").high
    assert value(report, 1, "IPS").low < CHANCE["a"] / 4 < 0.25 < value(report, 1, "IPS").high


def test_where_nothing_came_of_one_half_of_the_customers_nothing_is_sure(tmp_path: Path) -> None:
    """One order in all: the guess for who shares a half with it stands on customers of whom none ordered."""
    write_log(tmp_path, 1_200, propensities=[0.94, 0.02, 0.02, 0.02], chance=dict.fromkeys(CHANCE, 0.01))
    outcomes = pl.read_parquet(tmp_path / "tables" / "outcomes.parquet")
    outcomes.filter(~pl.col("machine")).head(1).write_parquet(tmp_path / "tables" / "outcomes.parquet")
    scales = _scales(MaturedLog(tmp_path, 0))["scale"].unique().sort()
    expected = sum(CHANCE[name] * 600 * p for name, p in (("a", 0.94), ("b", 0.02), ("c", 0.02)))
    assert scales.to_list() == pytest.approx([1 / (expected + 1), 2 / (expected + 1)], rel=0.15)


def test_the_arm_that_tried_what_the_policy_wants_counts_most(tmp_path: Path) -> None:
    write_log(tmp_path, model=[0.002, 0.994, 0.002, 0.002], random=[0.25] * 4)
    for policy, rate in (("uniform", sum(CHANCE.values()) / 4), ("greedy", CHANCE["b"])):
        report = evaluate(policy, tmp_path, matured_days=0)
        assert report.weights is not None
        assert report.weights.effective > 2_500  # of 3,000 decisions of the arm that tells of it
        assert report.weights.mean == pytest.approx(1, abs=0.02)
        assert value(report, 0, "SNIPS").value == pytest.approx(rate, abs=0.02)


def test_where_a_rule_pins_an_offer_the_arm_by_chance_speaks_alone(tmp_path: Path) -> None:
    write_log(tmp_path, model=[0.0, 1.0, 0.0, 0.0], random=[0.25] * 4)
    report = evaluate("uniform", tmp_path, matured_days=0)
    assert report.weights is not None
    assert report.weights.effective == pytest.approx(3_000)
    assert value(report, 0, "SNIPS").value == pytest.approx(sum(CHANCE.values()) / 4, abs=0.02)
    assert [line for line in report.lines() if "the arm model of email says nothing: in 75%" in line]
    greedy = evaluate("greedy", tmp_path, matured_days=0)  # which the pinned offer is: both arms speak
    assert greedy.weights is not None
    assert greedy.weights.effective > 3_000
    assert not [line for line in greedy.lines() if "says nothing" in line]


def test_the_usual_is_what_its_arm_sends(tmp_path: Path) -> None:
    write_log(tmp_path, arms=["random", "business_as_usual"])
    report = evaluate("business-as-usual", tmp_path, matured_days=0)
    assert report.decisions == 3_000  # its own arm has no propensities to learn from
    assert value(report, 0, "SNIPS").value == pytest.approx(CHANCE["b"], rel=0.2)


@pytest.mark.parametrize(
    ("policy", "changes", "days", "word"),
    [
        ("uniform", {"propensities": [1.0, 0.0, 0.0, 0.0]}, 0, "propensity 0"),
        ("greedy", {"propensities": [0.989, 0.001, 0.005, 0.005], "decisions": 1_000}, 0, "evidence"),
        ("greedy", {"propensities": [0.97, 0.02, 0.005, 0.005], "decisions": 1_000}, 0, "30 are needed"),
        ("business-as-usual", {"decisions": 100}, 0, "no decision of the business_as_usual arm"),
        ("uniform", {"decisions": 100}, 14, "older than 14 days"),
        ("challenger", {"decisions": 100}, 0, "no challenger"),
        ("uniform", {"chance": dict.fromkeys("abc", 0.0)}, 0, "None of the 6,000 decisions has led to an order"),
        ("greedy", {"chance": {"a": 0.3, "b": 0.0, "c": 0.05}}, 0, "decisions in which the log chose as this policy"),
    ],
)
def test_what_the_log_cannot_tell_is_refused(
    tmp_path: Path, policy: str, changes: dict[str, Any], days: float, word: str
) -> None:
    write_log(tmp_path, **changes)
    report = evaluate(policy, tmp_path, matured_days=days)
    assert word in (report.refused or "")
    assert report.lines()[0].startswith(f"{policy}: no estimate")


def test_propensities_that_do_not_fit_the_choices_are_refused(tmp_path: Path) -> None:
    write_log(tmp_path)
    path = tmp_path / "tables" / "decisions.parquet"
    turned = pl.col("offer_id").replace_strict({"a": 0.1, "b": 0.2, "c": 0.3}, default=0.4, return_dtype=pl.Float64)
    pl.read_parquet(path).with_columns(propensity=turned).write_parquet(path)
    refused = evaluate("uniform", tmp_path, matured_days=0).refused or ""
    assert refused.startswith("The mean weight is 1.6")
    assert "the logged propensities do not fit the choices" in refused


@pytest.mark.parametrize(("share", "refused"), [(0.02, False), (0.1, True)])
def test_of_the_decisions_hardly_any_may_lack_what_the_policy_wants(
    tmp_path: Path, share: float, refused: bool
) -> None:
    """Uniform wants a quarter of an offer that in so many decisions was never tried: half a percent of all, or more."""
    write_log(tmp_path)
    path = tmp_path / "tables" / "decisions.parquet"
    number = pl.col("decision_id").str.slice(1).cast(pl.Int64)
    barred = (number // 2 % 100 < 100 * share) & (pl.col("offer_id") == "c") & ~pl.col("chosen")
    table = pl.read_parquet(path)
    table.with_columns(propensity=pl.when(barred).then(0.0).otherwise("propensity")).write_parquet(path)
    assert ("propensity 0" in (evaluate("uniform", tmp_path, matured_days=0).refused or "")) is refused


def test_without_a_log_and_with_an_unknown_policy(tmp_path: Path) -> None:
    assert "exported" in (evaluate("uniform", tmp_path).refused or "")
    with pytest.raises(ValueError, match="choose uniform"):
        evaluate("nosuch", tmp_path)
    for table, name in ((DECISIONS, "decisions"), (OUTCOMES, "outcomes"), (OFFERS, "offers")):
        (tmp_path / "tables").mkdir(exist_ok=True)
        table.empty().write_parquet(tmp_path / "tables" / f"{name}.parquet")
    assert "empty" in (evaluate("uniform", tmp_path).refused or "")


def test_the_challenger_is_asked_as_of_each_decision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_log(tmp_path, decisions=400)
    tables = tmp_path / "tables"
    edited: Any = pl.read_parquet(tables / "decisions.parquet")["decided_at"].mean()
    said = [
        {**row, "version": version, "at": at, "deleted": False, "discount_percent": discount}
        for row in pl.read_parquet(tables / "offers.parquet").iter_rows(named=True)
        for version, at, discount in ((1, START, 10.0), (2, edited, 30.0))
    ]
    versions = pl.DataFrame(said, schema_overrides={"starts_at": UTC_TIME, "ends_at": UTC_TIME})
    OFFER_VERSIONS.conform(versions.select(list(OFFER_VERSIONS.columns))).write_parquet(
        tables / "offer_versions.parquet"
    )
    seen: list[CustomerRow | None] = []

    class Challenger:
        def score(
            self, row: CustomerRow | None, offers: list[OfferInfo], channels: list[str], at: datetime
        ) -> np.ndarray:
            seen.append(row)
            assert row is None or row.as_of == at
            assert all(offer.discount_percent == (10.0 if at < edited else 30.0) for offer in offers)
            return np.array([[0.9 if offer.offer_id == "c" else 0.1] * len(channels) for offer in offers])

    class Served:
        def __init__(self, _: Path) -> None: ...

        def refresh(self) -> bool:
            return True

        def get(self, name: str, alias: str) -> Any:
            assert (name, alias) == ("next-offer", "challenger")
            return Challenger()

    monkeypatch.setattr(challenger, "ServedModels", Served)
    event = EVENTS.sample(1, 3).with_columns(
        customer_id=pl.lit("c1"), timestamp=pl.lit(START - timedelta(days=3)), received_at=pl.lit(START)
    )
    EventLog(tmp_path / "events").append(event.cast(dict(EVENTS.schema)), "part")
    report = evaluate("challenger", tmp_path, matured_days=0)
    assert report.refused is None
    assert value(report, 0, "SNIPS").value == pytest.approx(CHANCE["c"], abs=0.08)
    assert [row.customer_id for row in seen if row is not None] == ["c1"]
    assert len(seen) == 400


def test_a_challenger_is_not_judged_by_what_has_taught_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sends b wherever it knows that b was answered, which is worth nothing in the decisions to come."""
    write_log(tmp_path, decisions=3_000)
    outcomes = pl.read_parquet(tmp_path / "tables" / "outcomes.parquet").filter(~pl.col("machine"), offer_id="b")
    middle = START + timedelta(minutes=1_500)
    known = set(outcomes.select(pl.col("at") - timedelta(hours=1)).filter(pl.col("at") < middle).to_series())

    class Challenger:
        learnt_until: datetime | None = middle
        trained: Mapping[str, str] = {}

        def refresh(self) -> bool:
            return True

        def get(self, _: str, __: str) -> Any:
            return self

        def score(self, _: Any, offers: list[OfferInfo], channels: list[str], at: datetime) -> np.ndarray:
            wanted = "b" if at in known else "c"
            return np.array([[0.9 if offer.offer_id == wanted else 0.01] * len(channels) for offer in offers])

    monkeypatch.setattr(challenger, "ServedModels", lambda _: Challenger())
    report = evaluate("challenger", tmp_path, matured_days=0)
    assert (report.decisions, report.since) == (1_500, middle)
    assert value(report, 0, "SNIPS").value == pytest.approx(CHANCE["c"], abs=0.03)
    assert "left out: decisions before 2026-01-02, of which it has learnt what came" in str(report)
    monkeypatch.setattr(Challenger, "learnt_until", None)  # its head has learnt from none, its trees from all orders
    monkeypatch.setattr(Challenger, "trained", {"labels_until": (START + timedelta(days=9)).isoformat()})
    assert "none since is older than 0 days yet" in str(evaluate("challenger", tmp_path, matured_days=0))


def test_the_challenger_reads_the_events_once_whatever_the_pieces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_log(tmp_path, decisions=400)
    read: list[int] = []

    class Served:
        def __init__(self, _: Path) -> None: ...

        def refresh(self) -> bool:
            return True

        def get(self, _: str, __: str) -> Any:
            return self

        def score(self, _: Any, offers: list[OfferInfo], channels: list[str], at: datetime) -> np.ndarray:
            chance = 0.1 + at.second / 100
            return np.array([[chance if offer.offer_id == "c" else 0.3] * len(channels) for offer in offers])

    def scan(_: EventLog, *, buckets: Sequence[int]) -> pl.LazyFrame:
        read.extend(buckets)
        return EVENTS.empty().lazy()

    monkeypatch.setattr(challenger, "ServedModels", Served)
    monkeypatch.setattr(EventLog, "scan", scan)
    whole = evaluate("challenger", tmp_path, matured_days=0)
    assert (whole.refused, sorted(read)) == (None, sorted(set(read)))
    once = sorted(read)
    read.clear()
    monkeypatch.setattr(matured_log, "PIECE", 64)
    assert str(evaluate("challenger", tmp_path, matured_days=0)) == str(whole)
    assert sorted(read) == once


@pytest.mark.parametrize("rows", [7, 64, 1_000])
@pytest.mark.parametrize("policy", ["uniform", "greedy", "business-as-usual"])
def test_a_log_read_in_pieces_tells_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, policy: str
) -> None:
    write_log(tmp_path, 400, arms=["model", "business_as_usual"])
    whole = evaluate(policy, tmp_path, matured_days=0)
    monkeypatch.setattr(matured_log, "PIECE", rows)
    pieces = list(MaturedLog(tmp_path, 0).pieces())
    assert len(pieces) > 1
    assert sum(piece.height for piece in pieces) == 800
    assert all(piece.group_by("decision_id").len()["len"].eq(4).all() for piece in pieces)
    again = evaluate(policy, tmp_path, matured_days=0)
    assert (whole.refused, whole.decisions, whole.period) == (again.refused, again.decisions, again.period)
    assert str(again) == str(whole)


def test_the_greedy_policy_sends_nothing_where_that_is_worth_as_much(tmp_path: Path) -> None:
    write_log(tmp_path, 400)
    log = pl.read_parquet(tmp_path / "tables" / "decisions.parquet")
    sent = best(log, pl.col("expected_value")).filter(pl.col("target") == 1.0)
    assert (sent.height, set(sent["offer_id"])) == (400, {"b"})
    level = log.with_columns(expected_value=pl.lit(0.0))
    sent = best(level, pl.col("expected_value")).filter(pl.col("target") == 1.0)
    assert (sent.height, set(sent["offer_id"])) == (400, {None})


def test_decisions_as_of_another_time_are_left_out_and_counted(tmp_path: Path) -> None:
    """One as of next year would make all of today's old enough, besides."""
    write_log(tmp_path / "plain", 3_000)
    write_log(tmp_path, 3_000)
    path = tmp_path / "tables" / "decisions.parquet"
    log = pl.read_parquet(path)
    other = log.filter(pl.col("decision_id").is_in(["d1", "d2"])).with_columns(
        decision_id="other" + pl.col("decision_id"),
        decided_at=pl.col("decided_at") + timedelta(days=365),
        another_time=True,
    )
    pl.concat([log, other]).write_parquet(path)
    plain = evaluate("uniform", tmp_path / "plain", matured_days=0.5)
    told = evaluate("uniform", tmp_path, matured_days=0.5)
    assert (plain.left_out, told.left_out) == (0, 2)
    assert replace(told, left_out=0) == plain
    assert "left out: 2 decisions asked for as of another time" in told.lines()
    other.write_parquet(path)
    assert evaluate("uniform", tmp_path, matured_days=0.5).lines()[-1].startswith("left out: 2")


def test_a_log_of_arms_that_try_nothing_says_which(tmp_path: Path) -> None:
    write_log(tmp_path, 200, arms=["holdout", "business_as_usual"])
    report = evaluate("greedy", tmp_path, matured_days=0.0)
    assert report.refused is not None
    assert "of the arms business_as_usual, holdout, which try nothing" in report.refused

"""Drift of served models and their challengers' shadow scores, on a whole service with real models in `served/`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from sqlalchemy import select

from features.rows import CustomerRow
from models.load import write_golden
from models.propensity import PropensityModel
from models.reference import Reference
from models.send_time import SendTimeModel
from service.commands import drift_command
from service.decisions.check_drift import _losses, _promises, _tails, lines, shifted
from service.decisions.drift_store import erase_shadow, shadow_scores
from service.decisions.frozen_row import row_from_json
from service.decisions.served_vectors import sample
from service.events.inbox_store import add_events
from service.events.normalize import normalize
from service.telemetry import exposition
from service.wiring.model_watch import ModelWatch
from tests.fakes.decisions import damage
from tests.fakes.house import House
from tests.fakes.model_cases import FEATURES, propensity

CUSTOMERS = 60


def serve(home: Path, model: PropensityModel, frame: pl.DataFrame | None, **aliases: str) -> None:
    """Puts versions of a model into `served/`, as the child that watches MLflow would."""
    for version in aliases.values():
        folder = home / "served" / model.name / version
        model.save(folder)
        write_golden(model, folder, pl.DataFrame(np.ones((2, len(FEATURES))), schema=list(FEATURES)))
        if frame is not None:
            Reference.of(model, frame).save(folder)
    (home / "served" / "aliases.json").write_text(json.dumps({model.name: aliases}))


def orders(house: House, name: str, customers: int = CUSTOMERS) -> None:
    """Every customer orders, some often."""
    messages = []
    for number in range(customers):
        for order in range(1 + number % 4):
            mark = f"{name}-{number}-{order}"
            message = {"type": "track", "event": "Order Completed", "userId": f"c{number}", "messageId": mark,
                       "properties": {"revenue": 5 + number, "order_id": mark}}  # fmt: skip
            messages.append(normalize(message, house.parts.rules, house.parts.clock.now()))
    with house.parts.database.write() as connection:
        add_events(connection, messages, house.now)
    house.settle()
    house.forward(5)


def decide_all(house: House) -> None:
    for number in range(CUSTOMERS):
        house.decide(f"c{number}")


def known_now(house: House) -> pl.DataFrame:
    """The models' inputs of everybody, as decisions were served them."""
    with house.parts.database.read() as connection:
        served = sample(connection, house.now - timedelta(days=1), house.now, CUSTOMERS, 0.0).vectors
    return pl.DataFrame([{name: vector.row.values[name] for name in FEATURES} for vector in served])


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = House(tmp_path_factory.mktemp("drift") / "home")
    made.settle()
    orders(made, "first")
    decide_all(made)
    yield made
    made.parts.close()


def test_what_is_as_in_training_has_not_moved(house: House) -> None:
    serve(house.settings.home, propensity(), known_now(house), champion="1")
    report = house.parts.drift.run()
    churn = report["models"]["churn"]
    assert (report["decisions"], churn["version"], churn["problem"]) == (CUSTOMERS, "1", None)
    assert set(churn["inputs"]) == set(FEATURES)
    assert shifted(report) == []
    assert churn["inputs"]["delivered_30d"]["psi"] == 0
    assert churn["calibration"] == {"rows": 0, "needed": 50}
    assert drift_command(house.settings, 100)


def test_another_population_is_named_and_told_to_metrics(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    others = known_now(house).with_columns(orders_90d=pl.lit(30.0), delivered_30d=pl.lit(None, pl.Float64))
    serve(house.settings.home, propensity(), others, champion="2")
    watch = ModelWatch(house.parts.database, house.parts.drift, house.parts.shadow)
    report = house.parts.drift.run()
    assert {"churn: input orders_90d", "churn: input delivered_30d"} <= set(shifted(report))
    missing = report["models"]["churn"]["inputs"]["delivered_30d"]
    assert (missing["missing_before"], missing["missing"]) == (1, 0)
    watch.run_pass()
    text = exposition().decode()
    assert 'opportune_drift_input_psi{feature="orders_90d",model="churn"}' in text
    assert 'opportune_drift_input_missing{feature="delivered_30d",model="churn"} -1.0' in text
    assert 'opportune_model_trained_until_timestamp_seconds{model="churn"} 1.7' in text
    assert house.parts.drift.latest() == report  # an hour has not gone by
    assert not drift_command(house.settings, 100)
    assert "orders_90d" in capsys.readouterr().out


def test_hours_of_the_send_time_model_are_watched(house: House) -> None:
    parts, home = house.parts, house.settings.home
    model = SendTimeModel.untrained()
    with parts.database.read() as connection:
        served = sample(connection, house.now - timedelta(days=1), house.now, CUSTOMERS, 0.0)
    rows = [vector.row for vector in served.vectors]
    folder = home / "served" / model.name / "1"
    model.save(folder)
    write_golden(model, folder, pl.DataFrame({"channel": ["email"], "hour_of_week": [9]}))
    (home / "served" / "aliases.json").write_text(json.dumps({model.name: {"champion": "1"}}))
    chances = np.array(model.best_chances(rows), np.float64)
    Reference.of_numbers(model.inputs(rows), chances).save(folder)
    same = parts.drift.run()["models"][model.name]
    assert same["problem"] is None
    assert {"orders_counted", "share_evening"} <= set(same["inputs"])
    assert not any(shift["shifted"] for shift in (*same["inputs"].values(), same["scores"]))
    others = {name: values + 3 for name, values in model.inputs(rows).items()}
    Reference.of_numbers(others, chances * 2).save(folder)
    report = parts.drift.run()
    assert {"send-time: input orders_counted", "send-time: scores"} <= set(shifted(report))


def test_a_version_without_a_reference_says_so(house: House) -> None:
    serve(house.settings.home, propensity(), None, champion="3")
    assert "keeps no reference" in house.parts.drift.run()["models"]["churn"]["problem"]


def test_a_challenger_shadows_and_decides_nothing(house: House) -> None:
    parts, home = house.parts, house.settings.home
    serve(home, propensity(), known_now(house), champion="4")
    parts.models.refresh()
    assert parts.shadow.run() == 0
    other = propensity(mix=0.0)
    serve(home, other, known_now(house), challenger="5")
    (home / "served" / "aliases.json").write_text(json.dumps({"churn": {"champion": "4", "challenger": "5"}}))
    parts.models.refresh()
    assert parts.shadow.run(most=40) == 40
    assert parts.shadow.run() == 0  # all newer ones are scored, older ones were passed over
    made = house.decide("c1")
    assert parts.shadow.run() == 1
    with parts.database.read() as connection:
        rows = {row.decision_id: row for row in connection.execute(select(shadow_scores))}
    row = parts.online.read(["c1"], rows[made].decided_at)[0]
    assert row is not None
    assert (rows[made].version, rows[made].champion, rows[made].customer_id) == ("5", "4", "c1")
    assert rows[made].score == other.score(row).probability
    assert rows[made].champion_score == propensity().score(row).probability
    beside = parts.drift.run()["models"]["churn"]["shadow"]
    assert (beside["version"], beside["rows"]) == ("5", 41)
    assert beside["matured"] == {"rows": 0, "needed": 50}
    with parts.database.write() as connection:
        assert erase_shadow(connection, ["c1"]) == 1
        assert erase_shadow(connection, ["c1"]) == 0


def test_a_challenger_without_a_champion_is_scored_alone(house: House) -> None:
    serve(house.settings.home, propensity(), known_now(house), challenger="8")
    house.parts.models.refresh()
    assert house.parts.shadow.run(most=10) == 10
    told = house.parts.drift.run()["models"]["churn"]
    assert (told["version"], told["problem"], told["shadow"]["rows"]) == (None, "no champion serves", 10)
    assert "champion_mean" not in told["shadow"]
    report = {"decisions": 1, "damaged": [], "seconds": 0, "models": {"churn": told}}
    assert any("challenger 8: mean" in line for line in lines(report))


def test_decisions_from_before_a_feature_are_passed_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that were trained with a new feature, beside records of before: an upgrade, or a feature of one's own."""
    serve(house.settings.home, propensity(), known_now(house), champion="12", challenger="13")
    house.parts.models.refresh()

    def recorded_before(value: Mapping[str, Any] | None) -> CustomerRow | None:
        row = row_from_json(value)
        old = row is not None and row.customer_id != "c3"
        return replace(row, values={k: v for k, v in row.values.items() if k != FEATURES[2]}) if old else row

    monkeypatch.setattr("service.decisions.served_vectors.row_from_json", recorded_before)
    house.decide("c3")
    house.decide("c4")
    assert house.parts.shadow.run(most=2) == 1
    told = house.parts.drift.run()["models"]["churn"]
    assert told["problem"] == "1 of 50 customers to compare"
    assert told["calibration"] == {"rows": 0, "needed": 50}
    assert told["shadow"]["rows"] == 1


def test_a_challenger_that_fails_stops_nobody(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PropensityModel, "probabilities", lambda *_: 1 / 0)
    serve(house.settings.home, propensity(), known_now(house), champion="9", challenger="10")
    house.parts.models.refresh()
    house.decide("c2")
    assert house.parts.shadow.run() == 0
    assert "ZeroDivisionError" in house.parts.drift.run()["models"]["churn"]["problem"]


def test_matured_promises_are_held_against_what_happened(house: House) -> None:
    """The champion promises that few churn; everybody but every fourth customer did."""
    sure = replace(propensity(mix=0.0), trained={"labels_until": "2026-01-01T00:00:00+00:00"})
    linear = replace(sure.linear, weight=sure.linear.weight * 0, missing=sure.linear.missing * 0, intercept=-3.0)
    few, many = (replace(sure, linear=replace(linear, intercept=level), calibration=type(sure.calibration)())
                 for level in (-3.0, 1.0))  # fmt: skip
    home, parts = house.settings.home, house.parts
    serve(home, few, known_now(house), champion="6")
    serve(home, many, known_now(house), challenger="7")
    (home / "served" / "aliases.json").write_text(json.dumps({"churn": {"champion": "6", "challenger": "7"}}))
    parts.models.refresh()
    decide_all(house)
    assert parts.shadow.run(most=CUSTOMERS) == CUSTOMERS
    house.forward(timedelta(days=20).total_seconds())
    orders(house, "again", customers=15)
    house.forward(timedelta(days=40).total_seconds())
    decide_all(house)
    report = parts.drift.run()["models"]["churn"]
    promise = report["calibration"]
    assert (promise["rows"], promise["outcomes"]) == (CUSTOMERS, CUSTOMERS - 15)
    assert promise["promised"] == pytest.approx(1 / (1 + np.exp(3)))
    assert promise["observed"] == 0.75
    assert promise["shifted"]
    matured = report["shadow"]["matured"]
    assert matured["rows"] >= CUSTOMERS
    assert matured["gain"] > 5 * matured["error"]


def test_a_damaged_record_stops_no_comparison_and_is_named(house: House, capsys: pytest.CaptureFixture[str]) -> None:
    serve(house.settings.home, propensity(), known_now(house), champion="11")
    broken = house.decide("newest")
    house.forward(timedelta(days=70).total_seconds())
    decide_all(house)
    late = house.decide("newest")
    for decision in (broken, late):
        damage(house.parts.database, decision)
    report = house.parts.drift.run()
    assert report["decisions"] == CUSTOMERS
    assert report["damaged"] == sorted([broken, late])  # matured promises are read, too
    assert "customers to compare" in report["models"]["churn"]["problem"]  # nobody ordered lately: none applies
    assert report["models"]["churn"]["calibration"]["rows"] == 15
    drift_command(house.settings, 100)
    assert "left out: 2 decisions whose records are damaged (" in capsys.readouterr().out


def test_kept_promises_are_not_reported() -> None:
    random = np.random.default_rng(2)
    promised = random.uniform(0.05, 0.6, 2000)
    found: Any = _promises(promised, (random.random(2000) < promised).astype(float))
    assert not found["shifted"]
    assert found["psi"] < 0.05
    assert found["ece"] < 0.06
    halved: Any = _promises(promised, (random.random(2000) < promised / 2).astype(float))
    assert halved["shifted"]
    assert halved["errors"] < -5


def test_rare_outcomes_are_no_broken_promise_because_two_came() -> None:
    """Of 50 promises of .005 two are kept in 2.6% of samples, four in a thousandth of them at most."""
    rare = np.full(50, 0.005)
    assert _tails(rare, 2) == pytest.approx((0.99794, 0.02613), abs=1e-5)
    for outcomes, broken in ((0, False), (2, False), (4, True)):
        found: Any = _promises(rare, (np.arange(50) < outcomes).astype(float))
        assert found["shifted"] is broken


def test_a_customer_is_looked_at_by_the_first_decision_of_a_span(house: House) -> None:
    """Of which one it is nothing may follow from what they did afterwards."""
    made = []
    for _ in range(6):
        house.forward(60)
        made.append(house.decide("c1"))
    since, until = house.now - timedelta(seconds=330), house.now
    with house.parts.database.read() as connection:
        for seed in range(4):
            assert [one.decision_id for one in sample(connection, since, until, 5, seed).vectors] == made[:1]


def test_a_gain_is_no_surer_for_being_measured_on_the_same_customer_again() -> None:
    def row(customer: str) -> Any:
        return SimpleNamespace(customer_id=customer, score=0.4, champion="1", champion_score=0.3)

    apart = _losses([row(f"c{n}") for n in range(100)], [float(n % 4 == 0) for n in range(100)])
    same = _losses([row(f"c{n % 25}") for n in range(100)], [float(n % 25 % 4 == 0) for n in range(100)])
    assert same["error"] > 1.9 * apart["error"]

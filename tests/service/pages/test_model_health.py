"""Drift, shadow scores and uplift on /models."""

from __future__ import annotations

from typing import Any

import httpx
import orjson

from service.decisions.drift_store import add_drift_check
from service.decisions.skew_store import add_check
from tests.service.pages.conftest import House

SHIFT = {"psi": 0.42, "chance": 0.05, "rows": 500, "missing_before": 0.0, "missing": 0.25, "shifted": True}
STILL = {**SHIFT, "psi": 0.01, "missing": 0.0, "shifted": False}


def _report(**churn: Any) -> dict[str, Any]:
    found = {"version": "3", "trained_until": "2026-01-01T00:00:00+00:00", "problem": None, "scores": STILL,
             "inputs": {"orders_30d": SHIFT, "tenure_days": STILL}, "calibration": {"rows": 7, "needed": 50},
             "shadow": None}  # fmt: skip
    return {"at": "2026-02-01T00:00:00+00:00", "made_at": "2026-02-01T00:00:00+00:00", "seconds": 1.0,
            "decisions": 500, "models": {"churn": found | churn}}  # fmt: skip


def _keep(house: House, report: dict[str, Any]) -> None:
    with house.parts.database.write() as connection:
        add_drift_check(connection, house.parts.clock.now(), report)


async def test_without_checks_the_page_says_how_to_make_them(reader: httpx.AsyncClient) -> None:
    page = (await reader.get("/models")).text
    assert "opportune drift" in page
    assert "opportune skew" in page


async def test_drift_of_inputs_scores_and_promises(house: House, reader: httpx.AsyncClient) -> None:
    skew = {"at": "2026-02-01T00:00:00+00:00", "made_at": "2026-02-01T00:00:00+00:00", "seconds": 0.1,
            "checked": {"decisions": 9, "values": 700},
            "mismatches": {"decisions": 1, "values": 2, "by_feature": {}, "examples": []},
            "behind": {"decisions": 1, "worst_seconds": 4.5}, "nulls": {"age": 0.5, "orders_30d": 0.0},
            "skipped": {}}  # fmt: skip
    with house.parts.database.write() as connection:
        add_check(connection, house.parts.clock.now(), skew)
    _keep(house, _report())
    page = (await reader.get("/models")).text
    assert "2 of 700 values differ" in page
    assert "at most by 4.5 s" in page
    assert "age unknown in 50.0%" in page
    assert "1 of 2 inputs moved" in page
    assert "churn: drift of inputs" in page
    assert "7 of 50 promises old enough" in page
    assert "Of version 3; the next check" in page  # nothing serves here
    promise = {"rows": 300, "outcomes": 90, "promised": 0.1, "observed": 0.3, "errors": 9.0, "ece": 0.2, "psi": 0.11,
               "log_loss": 0.7, "points": [[0.1, 0.3, 300]], "shifted": True}  # fmt: skip
    _keep(house, _report(calibration=promise))
    page = (await reader.get("/models")).text
    assert "promised 10.0%, observed 30.0% of 300" in page
    assert "matured promises against what happened" in page


async def test_a_challenger_beside_the_champion(house: House, reader: httpx.AsyncClient) -> None:
    _keep(house, _report(shadow={"version": "4", "rows": 0}))
    assert "It has scored no decision yet" in (await reader.get("/models")).text
    matured = {"rows": 80, "champion_log_loss": 0.5, "challenger_log_loss": 0.4, "gain": 0.1, "error": 0.01}
    beside = {"version": "4", "rows": 200, "champion_mean": 0.1234, "challenger_mean": 0.2345, "psi": 0.2,
              "correlation": None, "matured": matured}  # fmt: skip
    _keep(house, _report(shadow=beside))
    page = (await reader.get("/models")).text
    for figure in ("0.1234", "0.2345", "0.5000", "0.4000"):
        assert figure in page


async def test_a_model_that_could_not_be_compared_says_why(house: House, reader: httpx.AsyncClient) -> None:
    _keep(house, _report(problem="keeps no <reference>", inputs={}, scores=None, calibration=None))
    page = (await reader.get("/models")).text
    assert "keeps no &lt;reference&gt;" in page
    assert "drift of inputs" not in page


async def test_uplift_in_money(house: House, reader: httpx.AsyncClient) -> None:
    folder = house.parts.settings.home / "reports"
    (folder / "uplift").mkdir(parents=True)
    (folder / "training").mkdir()
    estimate = {"value": 0.06, "low": 0.04, "high": 0.08}
    money = {"value": 5655.5, "low": 3703.5, "high": 7556.8}
    one = {"name": "do_not_disturb", "customers": 99, "share": 0.08, "predicted": -0.02, "observed": estimate,
           "untreated": 0.2, "worth": money}  # fmt: skip
    report = {"name": "weekly", "version": "1", "of": "contacted against never", "outcome": "ordered", "usable": True,
              "customers": 1200, "treated": 600, "average_uplift": estimate, "qini": estimate, "learner": "two models",
              "segments": [one], "money": {"value": 10.0, "cost": 0.5},
              "policies": {"all": money, "persuadables": money, "by_response": money, "contacted": 9},
              "curve": {"contacted": [0, 10, 20], "gained": [0, 3, 4]}}  # fmt: skip
    (folder / "uplift" / "weekly.json").write_bytes(orjson.dumps(report))
    result = {"name": "uplift-weekly", "version": "1", "promoted": True, "verdict": "customers differ",
              "metrics": {"qini": 0.06}, "rivals": {"one rule": {"qini": 0.05}}}  # fmt: skip
    (folder / "training" / "uplift-weekly.json").write_bytes(orjson.dumps(result))
    page = (await reader.get("/models")).text
    assert "Do not disturb" in page
    assert "5,656" in page
    assert "uplift-weekly: Qini curve" in page
    assert "customers differ" in page

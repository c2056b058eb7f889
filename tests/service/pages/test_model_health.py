"""Drift, shadow scores and uplift on /models."""

from __future__ import annotations

from typing import Any

import httpx

from service.decisions.drift_store import add_drift_check
from service.decisions.skew_store import add_check
from tests.fakes.model_reports import drift_report, write_uplift
from tests.service.pages.conftest import House


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
    _keep(house, drift_report())
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
    _keep(house, drift_report(calibration=promise))
    page = (await reader.get("/models")).text
    assert "promised 10.0%, observed 30.0% of 300" in page
    assert "matured promises against what happened" in page


async def test_a_challenger_beside_the_champion(house: House, reader: httpx.AsyncClient) -> None:
    _keep(house, drift_report(shadow={"version": "4", "rows": 0}))
    assert "It has scored no decision yet" in (await reader.get("/models")).text
    matured = {"rows": 80, "champion_log_loss": 0.5, "challenger_log_loss": 0.4, "gain": 0.1, "error": 0.01}
    beside = {"version": "4", "rows": 200, "champion_mean": 0.1234, "challenger_mean": 0.2345, "psi": 0.2,
              "correlation": None, "matured": matured}  # fmt: skip
    _keep(house, drift_report(shadow=beside))
    page = (await reader.get("/models")).text
    for figure in ("0.1234", "0.2345", "0.5000", "0.4000"):
        assert figure in page


async def test_a_model_that_could_not_be_compared_says_why(house: House, reader: httpx.AsyncClient) -> None:
    _keep(house, drift_report(problem="keeps no <reference>", inputs={}, scores=None, calibration=None))
    page = (await reader.get("/models")).text
    assert "keeps no &lt;reference&gt;" in page
    assert "drift of inputs" not in page


async def test_uplift_in_money(house: House, reader: httpx.AsyncClient) -> None:
    write_uplift(house.parts.settings.home)
    page = (await reader.get("/models")).text
    assert "Do not disturb" in page
    assert "5,656" in page
    assert "Contact adds +6.00 points to the share of “ordered” (+4.00 to +8.00)" in page
    assert "uplift-weekly: Qini curve" in page
    assert "customers differ" in page

"""Small reports on models, as training and the hourly checks leave them; figures invented."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

SHIFT = {"psi": 0.42, "chance": 0.05, "rows": 500, "missing_before": 0.0, "missing": 0.25, "shifted": True}
STILL = {**SHIFT, "psi": 0.01, "missing": 0.0, "shifted": False}


def drift_report(**churn: Any) -> dict[str, Any]:
    """A check of drift of a churn model, with what `churn` says otherwise."""
    found = {"version": "3", "trained_until": "2026-01-01T00:00:00+00:00", "problem": None, "scores": STILL,
             "inputs": {"orders_30d": SHIFT, "tenure_days": STILL}, "calibration": {"rows": 7, "needed": 50},
             "shadow": None}  # fmt: skip
    return {"at": "2026-02-01T00:00:00+00:00", "made_at": "2026-02-01T00:00:00+00:00", "seconds": 1.0,
            "decisions": 500, "models": {"churn": found | churn}}  # fmt: skip


def write_uplift(home: Path) -> None:
    """The report of an uplift model of the placement `weekly`, and its result of training."""
    folder = home / "reports"
    (folder / "uplift").mkdir(parents=True)
    (folder / "training").mkdir(exist_ok=True)
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

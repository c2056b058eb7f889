"""What `/models` shows beside versions: what was served, drift, the challenger's shadow, uplift's segments in money."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.decisions.check_skew import latest_report
from service.decisions.drift_store import latest_drift
from service.pages.charts import Bar
from service.pages.report_page import read_json
from service.storage.database import Database

UPLIFT = "uplift-"
_INPUTS, _NULLS = 12, 5


def health_of(database: Database) -> dict[str, Any]:
    """`served`: mismatches, staleness and nulls of served vectors; `drift`: the newest check; None where none ran."""
    with database.read() as connection:
        skew, drift = latest_report(connection), latest_drift(connection)
    nulls = sorted((skew or {}).get("nulls", {}).items(), key=lambda one: (-one[1], one[0]))
    return {"served": skew, "missing": [(name, share) for name, share in nulls if share > 0][:_NULLS], "drift": drift}


def drift_of(report: Mapping[str, Any] | None, name: str, version: str | None) -> dict[str, Any] | None:
    """What the newest check says of a model, with its inputs that moved most as bars; None where it says nothing.

    A check of another version than the one that serves says so (`outdated`).
    """
    found = (report or {}).get("models", {}).get(name)
    if found is None:
        return None
    inputs = list(found["inputs"].items())
    bars = [Bar(key, shift["psi"], f"{shift['psi']:.2f}", shift["shifted"]) for key, shift in inputs[:_INPUTS]]
    moved = [(key, shift) for key, shift in inputs if shift["shifted"]]
    return {**found, "bars": bars, "moved": moved, "outdated": found["version"] != version}


def uplift_of(home: Path, name: str) -> dict[str, Any] | None:
    """The newest report of an uplift model, with its Qini curve beside contacting by chance."""
    if not name.startswith(UPLIFT):
        return None
    report = read_json(home / "reports" / "uplift" / f"{name.removeprefix(UPLIFT)}.json")
    if not report or "curve" not in report:
        return None
    contacted, gained = report["curve"]["contacted"], report["curve"]["gained"]
    chance = [gained[-1] * count / contacted[-1] for count in contacted]
    return {**report, "lines": [("by uplift", gained), ("by chance", chance)]}

"""What `/` shows after a demo: its report (`reports/demo.json`), each figure said to be real or simulated."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson

from models.registry import ServedModels
from service.customers.customer_store import read_profiles
from service.decisions.explain import DEGRADED
from service.pages.charts import Bar
from service.pages.home_page import home_view
from service.pages.words import ARM_NAMES, figure, percent
from service.storage.database import Database

PAGE_WORDS = {
    "/impact": "what decisions bring, beside the other arms of each placement",
    "/review": "copy that waits for approval, and new copy",
    "/customers": "why a person gets what, and why not",
    "/offers": "the catalogue, and what keeps an offer from being shown",
    "/journeys": "how many are at which step",
    "/experiments": "what a change brings, and whether that is sure",
    "/models": "which versions serve, and how good they are",
    "/data": "what comes in, and what is wrong with it",
}


def report_view(home: Path, database: Database, models: ServedModels, now: datetime) -> dict[str, Any]:
    """The demo's `report`, the zones of its customers and the bars of its charts; where none ran, see `home_view`."""
    report = read_json(home / "reports" / "demo.json")
    if report is None:
        return {"report": None, "page_words": PAGE_WORDS, **home_view(database, models, now)}
    customers = [decision["customer"] for decision in report.get("decisions") or []]
    with database.read() as connection:
        zones = {name: profile.timezone for name, profile in read_profiles(connection, customers).items()}
    return {
        "report": report,
        "zones": zones,
        "model_charts": {model["name"]: model_bars(model) for model in report.get("models") or []},
        "arm_bars": arm_bars(report["world"]) if report.get("world") else [],
        "degraded": DEGRADED,
        "experiment_bars": experiment_bars(report.get("experiment") or {}),
    }


def read_json(path: Path) -> Any | None:
    """The JSON in a file; None where there is no such file or it is not whole."""
    try:
        return orjson.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError, orjson.JSONDecodeError):
        return None


def model_bars(model: Mapping[str, Any]) -> list[Bar]:
    """The model's headline figure above its rivals'."""
    own = [("opportune", model.get("value"), True)]
    rivals = [(str(rival["name"]).replace("_", " "), rival.get("value"), False) for rival in model.get("rivals") or []]
    return [Bar(name, value, figure(value), ours) for name, value, ours in [*own, *rivals] if value is not None]


def arm_bars(world: Mapping[str, Any]) -> list[Bar]:
    """True value of a decision: by chance, by each arm with its interval, and the best that there is."""
    bars = [Bar("random choice", world["random"], figure(world["random"]))]
    named = {ARM_NAMES.get(arm, arm): figures for arm, figures in world.get("arms", {}).items() if arm != "random"}
    if (world.get("model_untrained") or {}).get("decisions"):  # else the model's arm is all trained
        named |= {"model, before training": world["model_untrained"], "model, trained": world["model_trained"]}
    for label, figures in named.items():
        if figures.get("decisions"):
            low, high = figures.get("interval") or (None, None)
            text = f"{figure(figures['value'])} ({percent(figures.get('gap_closed'), 0)} of the gap)"
            bars.append(Bar(label, figures["value"], text, label.startswith("model"), low, high))
    return [*bars, Bar("best there is", world["best"], figure(world["best"]))]


def experiment_bars(experiment: Mapping[str, Any]) -> list[Bar]:
    """Each arm's level of the goal."""
    arms = [arm for arm in experiment.get("arms") or [] if arm.get("value") is not None]
    return [
        Bar(str(arm["key"]), arm["value"], f"{arm['shown']} of {arm['exposures']:,}", not arm["control"])
        for arm in arms
    ]

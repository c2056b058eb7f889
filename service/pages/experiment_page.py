"""Setting up experiments on the pages: an order of the form, and what the buttons do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from service.errors import Conflict, FieldError, Invalid
from service.experiments.define_experiment import define_experiment, get_experiment
from service.experiments.experiment_store import find_experiment
from service.experiments.schemas import ExperimentIn
from service.pages.form_faults import in_words_of
from service.storage.database import Database
from service.web.problems import invalid_from

ASKED = ("id", "name", "hypothesis", "variants", "event", "days")
"""The fields of the form."""
MOVES = {"start": "running", "stop": "stopped"}
DONE = {
    "saved": "Saved as a draft: nobody takes part before it is started.",
    "start": "Running: customers are assigned as they come.",
    "stop": "Stopped: the result stands as it was, and everybody gets the same from now on.",
}
LABELS = {"name": "Name", "hypothesis": "What is expected", "variants": "Variants", "body": "Variants",
          "metric.event": "Goal", "metric.window_days": "Days"}  # fmt: skip
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,127}")


def save(database: Database, asked: Mapping[str, str], now: datetime) -> None:
    """Declares a new experiment as a draft; `Invalid` names what is wrong, `Conflict` an id that is taken."""
    if not _ID.fullmatch(asked["id"]):
        told = "begins with a letter or a digit and goes on with these, '.', '_', ':' and '-'"
        raise Invalid(f"the id {told}", [FieldError("id", told)])
    variants = [one.strip() for one in asked["variants"].split(",") if one.strip()]
    if not all(_ID.fullmatch(one) for one in variants):
        told = "each begins with a letter or a digit and goes on with these, '.', '_', ':' and '-', without blanks"
        raise Invalid(f"Variants: {told}", [FieldError("Variants", told)])
    body = {
        **{name: asked[name] for name in ("name", "hypothesis")},
        "status": "draft",
        "variants": variants,
        "metric": {"event": asked["event"], "window_days": asked["days"]},
    }
    with database.write() as connection:
        if find_experiment(connection, asked["id"], lock=True):
            raise Conflict(f"there is an experiment {asked['id']!r}; give this one another id")
        define_experiment(connection, asked["id"], _checked(body), now)


def move(database: Database, experiment_id: str, verb: str, ship: str | None, now: datetime) -> None:
    """Starts an experiment, or stops it: then everybody gets the variant `ship`, by default the control."""
    with database.write() as connection:
        shown = get_experiment(connection, experiment_id)
        definition = {name: shown[name] for name in ExperimentIn.model_fields}
        changed = {**definition, "status": MOVES[verb], "ship": ship or definition["ship"]}
        define_experiment(connection, experiment_id, _checked(changed), now)


def _checked(body: Mapping[str, Any]) -> ExperimentIn:
    try:
        return ExperimentIn.model_validate(body)
    except ValidationError as wrong:
        raise in_words_of(LABELS, invalid_from(wrong)) from wrong

"""Declares an experiment, or changes what may be changed once somebody takes part."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from features.catalogue import FEATURE_NAMES
from models.declaration import near
from service.errors import Conflict, FieldError, Invalid, NotFound
from service.experiments.definition import Experiment, experiment_from
from service.experiments.experiment_store import (
    counted_names,
    find_experiment,
    has_exposures,
    list_experiments,
    save_experiment,
)
from service.experiments.goals_store import drop_goals
from service.experiments.schemas import ExperimentIn
from service.storage.database import Connection

_FIXED = ("variants", "control", "seed", "namespace", "metric", "cuped")


def define_experiment(
    connection: Connection, experiment_id: str, body: ExperimentIn, now: datetime
) -> tuple[dict[str, Any], bool]:
    """Stores the definition; returns it and whether it is new.

    `Conflict` when subjects are exposed and the change would mix two experiments: other variants, weights, seed,
    goal, or what a guardrail counts under its name. Status, coverage (which moves nobody), texts, which guardrails
    there are, and dates may change at any time.
    """
    stored = find_experiment(connection, experiment_id, lock=True)
    definition = body.model_dump(mode="json")
    if stored and stored["definition"] == definition:
        return shown(stored), False
    _refuse_an_unknown_feature(body.cuped, stored["definition"]["cuped"] if stored else None)
    row = {
        "id": experiment_id,
        "version": stored["version"] + 1 if stored else 1,
        "definition": definition,
        "created_at": stored["created_at"] if stored else now,
        "updated_at": now,
        "stopped_at": _stopped_at(stored, definition, now),
        "pauses": _pauses(stored, definition, now),
    }
    if stored:
        before, after = experiment_from(stored), experiment_from(row)
        if has_exposures(connection, experiment_id):
            _refuse_mixing(stored["definition"], definition)
            _refuse_recounting(connection, before, after)
        drop_goals(connection, experiment_id, [one for one in before.metrics if one not in after.metrics])
    save_experiment(connection, row)
    return shown(row), stored is None


def _stopped_at(old: Mapping[str, Any] | None, new: Mapping[str, Any], now: datetime) -> datetime | None:
    """A change to what is stopped already leaves the time as it was."""
    if new["status"] != "stopped":
        return None
    return old["stopped_at"] if old and old["stopped_at"] else now


def _pauses(old: Mapping[str, Any] | None, new: Mapping[str, Any], now: datetime) -> list[list[str]] | None:
    """What was stopped and is started again was shown to nobody meanwhile."""
    known: list[list[str]] = (old or {}).get("pauses") or []
    if old and old["stopped_at"] and new["status"] != "stopped":
        known = [*known, [old["stopped_at"].isoformat(), now.isoformat()]]
    return known or None


def _refuse_mixing(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    changed = [field for field in _FIXED if _essence(old, field) != _essence(new, field)]
    if changed:
        raise Conflict(
            f"people were already exposed, so {', '.join(changed)} cannot change; stop this experiment and "
            "declare another under a new id",
            [FieldError(field, "fixed since the first exposure") for field in changed],
        )


def _refuse_recounting(connection: Connection, old: Experiment, new: Experiment) -> None:
    """What is counted is kept by the metric's name, also when its guardrail is taken out."""
    before, after = ({rail.metric.name: rail.metric for rail in one.guardrails} for one in (old, new))
    changed = {name for name in before.keys() & after.keys() if before[name] != after[name]}
    changed |= counted_names(connection, old.id, after.keys() - before.keys())
    if changed:
        names = ", ".join(map(repr, sorted(changed)))
        raise Conflict(
            f"people were already exposed, so what is counted as the guardrail {names} cannot change; give the new one "
            "a `name` of its own",
            [FieldError("guardrails", f"something else was counted as {names} before")],
        )


def _refuse_an_unknown_feature(named: str | None, before: str | None) -> None:
    """CUPED would take nothing out, and nobody would see it. One that was there once may be named still."""
    if named not in {None, before, *FEATURE_NAMES}:
        told = f"there is no feature {named!r}{near(str(named), FEATURE_NAMES)}"
        raise Invalid(f"cuped: {told}", [FieldError("cuped", told)])


def _essence(definition: Mapping[str, Any], field: str) -> Any:
    """Variants without their texts: a description may be corrected at any time. A goal by what it says, since one of
    before cannot have what was added to the form."""
    if field == "metric":
        return {name: value for name, value in definition["metric"].items() if value is not None}
    if field != "variants":
        return definition.get(field)
    return [(variant["key"], round(variant["weight"], 9)) for variant in definition["variants"]]


def get_experiment(connection: Connection, experiment_id: str) -> dict[str, Any]:
    """The experiment as shown to a client. `NotFound` when there is none."""
    stored = find_experiment(connection, experiment_id)
    if stored is None:
        raise NotFound(f"there is no experiment {experiment_id!r}; declare it with PUT /v1/experiments/{{id}}")
    return shown(stored)


def get_experiments(connection: Connection) -> list[dict[str, Any]]:
    """All experiments as shown to a client, by id."""
    return [shown(row) for row in list_experiments(connection)]


def shown(stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored row as clients see it."""
    return {
        "id": stored["id"],
        "version": stored["version"],
        "created_at": stored["created_at"],
        "updated_at": stored["updated_at"],
        "stopped_at": stored["stopped_at"],
        **stored["definition"],
    }

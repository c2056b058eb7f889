"""Gives a customer a variant and records the exposure, once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.errors import NotFound
from service.experiments.assignment import assign_variant
from service.experiments.definition import Experiment, experiment_from
from service.experiments.experiment_store import STANDING, Exposure, add_exposures, find_experiment, find_exposures
from service.storage.database import Connection

Covariate = Callable[[str, str, datetime], float | None]
"""(customer id, feature name, time of the exposure) -> the feature's value before it; None when unknown."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A customer's variant (None: takes no part), the flag's value, and why (OpenFeature's reasons).

    `new` says that this evaluation, if it is a use, is the customer's first exposure.
    """

    experiment: Experiment
    variant: str | None
    value: Any
    reason: str
    new: bool


def assign(
    connection: Connection,
    experiment_id: str,
    customer_id: str,
    now: datetime,
    covariate: Covariate | None = None,
) -> str | None:
    """The customer's variant, recorded as an exposure at `now` if it is the first; None: takes no part.

    Call it in a `write()` transaction. `NotFound` when there is no such experiment. A stopped experiment gives
    everybody the shipped variant, else control, and records nothing; nor does one that events expose.
    """
    verdict = judge(connection, load(connection, experiment_id), customer_id, now)
    if not verdict.new or verdict.experiment.exposed_by == "event":
        return verdict.variant
    return expose(connection, verdict, customer_id, now, covariate)


def load(connection: Connection, experiment_id: str) -> Experiment:
    """The experiment that was declared under this id. `NotFound` when there is none."""
    stored = None if experiment_id.startswith(STANDING) else find_experiment(connection, experiment_id)
    if stored is None:
        raise NotFound(f"there is no experiment {experiment_id!r}")
    return experiment_from(stored)


def judge(connection: Connection, experiment: Experiment, customer_id: str, now: datetime) -> Verdict:
    """What the customer gets, without recording anything."""
    if experiment.status == "stopped":
        shipped = experiment.ship or experiment.control
        return Verdict(experiment, shipped, experiment.value_of(shipped), _stopped(experiment), False)
    earlier = find_exposures(connection, [customer_id], [experiment.id])
    if earlier and earlier[0].variant in experiment.plan.variants:
        variant = earlier[0].variant
        return Verdict(experiment, variant, experiment.value_of(variant), "SPLIT", False)
    if not experiment.enrols(now):
        return Verdict(experiment, None, experiment.value_of(experiment.control), "DISABLED", False)
    chosen = assign_variant(experiment.plan, customer_id)
    if chosen is None:
        return Verdict(experiment, None, experiment.value_of(experiment.control), "DEFAULT", False)
    return Verdict(experiment, chosen, experiment.value_of(chosen), "SPLIT", True)


def _stopped(experiment: Experiment) -> str:
    return "STATIC" if experiment.ship else "DISABLED"


def expose(
    connection: Connection, verdict: Verdict, customer_id: str, now: datetime, covariate: Covariate | None
) -> str | None:
    """Records the exposure and returns the variant that stands: another process may have been first."""
    experiment = verdict.experiment
    assert verdict.variant is not None
    known = before(covariate, experiment, customer_id, now)
    add_exposures(connection, [Exposure(experiment.id, customer_id, verdict.variant, now, known)])
    return find_exposures(connection, [customer_id], [experiment.id])[0].variant


def before(covariate: Covariate | None, experiment: Experiment, customer_id: str, at: datetime) -> float | None:
    """What CUPED takes noise out by: the experiment's feature as it was before an exposure."""
    return covariate(customer_id, experiment.covariate, at) if covariate and experiment.covariate else None

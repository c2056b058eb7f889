"""Exposures that events tell: Segment's "Experiment Viewed", in whatever order they come."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from service.events.match import name_of
from service.experiments.amounts import Event, properties_of
from service.experiments.assign_customer import Covariate, before, expose, judge
from service.experiments.definition import Experiment
from service.experiments.experiment_store import Exposure, find_exposures, put_exposures
from service.experiments.goals_store import Subject
from service.storage.database import Connection

SEEN = "Experiment Viewed"


def record_seen(
    connection: Connection,
    experiments: Mapping[str, Experiment],
    events: Iterable[Event],
    covariate: Covariate | None,
) -> set[Subject]:
    """Who is exposed now, or earlier than was known.

    The customer saw the variation that the event names (`variation_id` or `variation_name`, a variant's key), else the
    one that assignment gives. Of several the first, by time, is the customer's: that one was drawn at random.
    """
    changed: set[Subject] = set()
    for event in events:
        if name_of(event) != SEEN:
            continue
        properties = properties_of(event)
        experiment = experiments.get(str(properties.get("experiment_id")))
        if experiment is None or experiment.exposed_by == "decision":
            continue
        if not experiment.shows(event["timestamp"]):
            continue  # what ships is what everybody sees
        if experiment.stopped_at is not None:
            experiment = replace(experiment, status="running")  # as it was then: what is told late counts, too
        if _record(connection, experiment, event, _told(experiment, properties), covariate):
            changed.add((experiment.id, event["customer_id"]))
    return changed


def _record(
    connection: Connection, experiment: Experiment, event: Event, told: str | None, covariate: Covariate | None
) -> bool:
    customer_id, at = event["customer_id"], event["timestamp"]
    known = find_exposures(connection, [customer_id], [experiment.id])
    if not known:
        verdict = judge(connection, experiment, customer_id, at)
        if verdict.new:
            expose(connection, replace(verdict, variant=told or verdict.variant), customer_id, at, covariate)
        return verdict.new
    seen = _with(known[0], experiment, told, at)
    if seen == known[0]:
        return False
    if seen.at != known[0].at:
        seen = replace(seen, covariate=before(covariate, experiment, customer_id, at))
    put_exposures(connection, [seen])
    return True


def _with(exposure: Exposure, experiment: Experiment, told: str | None, at: datetime) -> Exposure:
    """An exposure, and what was seen at another time. Where using a flag exposes, the service knows itself when."""
    variant = told or exposure.variant
    crossed = exposure.crossed or variant != exposure.variant
    if at < exposure.at and experiment.exposed_by == "event" and experiment.enrols(at):
        return replace(exposure, variant=variant, at=at, crossed=crossed)
    return replace(exposure, crossed=crossed)


def _told(experiment: Experiment, properties: Mapping[str, Any]) -> str | None:
    named = (properties.get("variation_id"), properties.get("variation_name"))
    return next((str(one) for one in named if one is not None and str(one) in experiment.plan.variants), None)

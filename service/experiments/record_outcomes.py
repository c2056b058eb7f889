"""What exposed customers did, from events: goals within their window, exposures seen on a page, merged persons."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from features.vocabulary import NAMES, REPEATED, same_meaning
from service.customers.identity_store import joined_by
from service.customers.keep_refunds import order_of, orders_among
from service.events.match import holds, name_of
from service.experiments.amounts import Event, amount_of, worth_of
from service.experiments.assign_customer import Covariate
from service.experiments.count_goals import count_goals, metric_of, over_at, withdraw_goals
from service.experiments.definition import Experiment, Metric
from service.experiments.experiment_store import STANDING, Exposure, all_experiments, find_exposures, rename_subject
from service.experiments.goals_store import (
    KEPT,
    Goal,
    Subject,
    erase_goals,
    forget_goals,
    goals_of,
    goals_of_orders,
    goals_told_by,
    save_goals,
)
from service.experiments.join_subjects import join_subjects
from service.experiments.people_store import with_history
from service.experiments.record_seen import record_seen
from service.storage.database import Connection

_SALES = frozenset({"ordered", "redeemed"})


def apply_outcomes(
    connection: Connection, events: Sequence[Event], now: datetime, covariate: Covariate | None = None
) -> None:
    """Counts the events that experiments wait for, each once.

    An event counts for an exposure when it happened at or after it, within the metric's window and before the
    experiment was stopped, whenever it comes; where events tell exposures, up to a week before them. Opens and clicks
    of machines never count. What an order counts for goes back with its refund, if that was before the stop. Call it
    in a `write()` transaction, behind `keep_refunds`.
    """
    changed: set[Subject] = set()
    joined = joined_by(connection, events)
    for former in sorted(with_history(connection, joined)) if joined else ():
        changed |= join_subjects(connection, former, joined[former])
    experiments = {experiment.id: experiment for experiment in all_experiments(connection)}
    if not experiments:
        return
    changed |= record_seen(connection, experiments, events, covariate)
    goals = {goal.key: goal for goal in _goals(connection, experiments, events, now)}
    told = {goal.key for goal in goals_told_by(connection, [goal.message_id for goal in goals.values()])}
    fresh = [goal for key, goal in goals.items() if key not in told]
    ordered = goals_of_orders(connection, orders_among(connection, events))
    priced = _priced(experiments, ordered, events)
    save_goals(connection, priced)
    count_goals(connection, experiments, fresh, [*goals_of(connection, changed), *ordered, *priced])
    if fresh:
        forget_goals(connection, now)


def withdraw_outcomes(connection: Connection, events: Sequence[Event]) -> None:
    """Takes back what these events counted for when they came: clicks that turned out to be a machine's."""
    withdraw_goals(connection, goals_told_by(connection, [event["message_id"] for event in events]))


def _goals(
    connection: Connection, experiments: Mapping[str, Experiment], events: Iterable[Event], now: datetime
) -> Iterable[Goal]:
    """What events may count for: of customers who are exposed, or whose exposure an event may still tell."""
    waiting = _waiting(experiments.values())
    wanted = [event for event in events if not event.get("machine") and name_of(event) in waiting]
    by_customer: dict[str, dict[str, Exposure]] = defaultdict(dict)
    for exposure in find_exposures(connection, (event["customer_id"] for event in wanted)):
        by_customer[exposure.customer_id][exposure.experiment_id] = exposure
    for event in wanted:
        for experiment_id, metrics in waiting[name_of(event)].items():
            exposed = by_customer[event["customer_id"]].get(experiment_id)
            for metric, name in metrics:
                if _fits(event, metric, name) and _may_count(event, metric, experiments[experiment_id], exposed):
                    yield _goal(event, experiment_id, metric, name, now)


def _may_count(event: Event, metric: Metric, experiment: Experiment, exposure: Exposure | None) -> bool:
    """Whether an event counts, or would if its exposure turned out to be earlier."""
    if exposure is None:
        told_by_event = experiment.exposed_by == "event" and experiment.status != "draft"
        return told_by_event and experiment.shows(event["timestamp"])
    return bool(event["timestamp"] < over_at(exposure.at, metric, experiment))


def _goal(event: Event, experiment_id: str, metric: Metric, name: str, now: datetime) -> Goal:
    meaning = NAMES.get(event["event"] or "") if event["type"] == "track" else None
    order = order_of(event) if meaning is not None and meaning.verb in _SALES else None
    return Goal(
        message_id=event["message_id"],
        experiment_id=experiment_id,
        metric=name,
        customer_id=event["customer_id"],
        at=event["timestamp"],
        amount=amount_of(event, metric),
        kept_until=now + KEPT,
        order_id=order,
        cents=None if order is None else worth_of(event),
    )


def _priced(experiments: Mapping[str, Experiment], ordered: Iterable[Goal], events: Iterable[Event]) -> list[Goal]:
    """Orders of which only a second message, as of a server, tells what they were worth."""
    again = {(event["customer_id"], event["order_id"]): event for event in events
             if event["event"] == REPEATED and worth_of(event) is not None}  # fmt: skip
    priced = []
    for goal in ordered:
        event = again.get((goal.customer_id, goal.order_id))
        metric = metric_of(experiments[goal.experiment_id], goal.metric)
        if event is not None and metric is not None and goal.cents is None:
            amount = goal.amount or amount_of(event, metric)
            priced.append(replace(goal, cents=worth_of(event), amount=amount))
    return priced


def _waiting(experiments: Iterable[Experiment]) -> dict[str | None, dict[str, list[tuple[Metric, str]]]]:
    """Event name -> experiment id -> the metrics it feeds, each with the name it is stored under.

    People name the events that they send; what nobody declared counts all that mean the same (`SMS Unsubscribed`, too).
    """
    waiting: dict[str | None, dict[str, list[tuple[Metric, str]]]] = defaultdict(lambda: defaultdict(list))
    for experiment in experiments:
        for metric in experiment.metrics:
            for name in same_meaning(metric.event) if experiment.id.startswith(STANDING) else [metric.event]:
                waiting[name][experiment.id].append((metric, metric.name))
            if metric.denominator is not None:
                waiting[metric.denominator][experiment.id].append((metric, metric.below))
    return waiting


def _fits(event: Event, metric: Metric, name: str) -> bool:
    """Whether an event of the metric's name, or of its denominator's, is one that it counts (under `name`)."""
    in_channel = metric.channel is None or event.get("channel") == metric.channel
    return in_channel and (name != metric.name or holds(metric.where, event))


def erase_subject(connection: Connection, customer_id: str) -> int:
    """Erases the person and keeps the aggregate: the id is replaced by a random token that nobody knows.

    Returns in how many experiments the person was.
    """
    erase_goals(connection, customer_id)
    return rename_subject(connection, customer_id, f"erased:{secrets.token_hex(12)}")


def exported(connection: Connection, customer_id: str) -> list[dict[str, Any]]:
    """What is held about a person here, for an export."""
    return [
        {"experiment_id": each.experiment_id, "variant": each.variant, "at": each.at}
        for each in find_exposures(connection, [customer_id])
    ]

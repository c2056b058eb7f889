"""What exposed customers did, from events: goals within their window, exposures seen on a page, merged persons."""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

import orjson

from features.currencies import CURRENCIES
from service.customers.customer_store import joined_by
from service.events.match import holds, name_of
from service.experiments.assign_customer import Covariate, expose, judge
from service.experiments.definition import Experiment, Metric
from service.experiments.early_goals_store import (
    EarlyGoal,
    Subject,
    erase_early,
    forget_early,
    keep_early,
    move_early,
    take_early,
)
from service.experiments.experiment_store import (
    Exposure,
    ValueKey,
    add_exposures,
    add_values,
    all_experiments,
    find_exposures,
    remove_exposures,
    rename_subject,
    take_values,
)
from service.storage.database import Connection

Event = Mapping[str, Any]
Values = dict[ValueKey, tuple[int, float]]
SEEN = "Experiment Viewed"
_MONEY = frozenset({"revenue", "total", "value", "subtotal", "tax", "shipping", "discount", "price"})
"""Properties of Segment's events that are money."""


def apply_outcomes(connection: Connection, events: Sequence[Event], covariate: Covariate | None = None) -> None:
    """Counts the events that experiments wait for; every event must be given once.

    An event counts for an exposure when it happened at or after it, within the metric's window and before the
    experiment was stopped, whenever it comes; where events tell exposures, up to a week before them. Opens and clicks
    of machines never count. Segment's "Experiment Viewed" (`experiment_id`) is an exposure. Call it in a `write()`
    transaction.
    """
    for former, customer_id in joined_by(connection, events).items():
        merge_subject(connection, former, customer_id)
    experiments = {experiment.id: experiment for experiment in all_experiments(connection)}
    if not experiments:
        return
    exposed = _record_seen(connection, experiments, events, covariate)
    human = [event for event in events if not event.get("machine")]
    counted, early = _counted(connection, experiments, human)
    add_values(connection, counted)
    keep_early(connection, early)
    _catch_up(connection, experiments, exposed)


def withdraw_outcomes(connection: Connection, events: Sequence[Event]) -> None:
    """Takes back what these events counted for when they came: clicks that turned out to be a machine's."""
    counted, _ = _counted(connection, {each.id: each for each in all_experiments(connection)}, events)
    forget_early(connection, [event["message_id"] for event in events])
    add_values(connection, {key: (-count, -total) for key, (count, total) in counted.items()})


def _counted(
    connection: Connection, experiments: Mapping[str, Experiment], events: Iterable[Event]
) -> tuple[Values, list[EarlyGoal]]:
    """What events count for, by exposure and metric: how many, and their sum; and what they would count for customers
    whose exposure an event may still tell.
    """
    waiting = _waiting(experiments.values())
    goals = [event for event in events if name_of(event) in waiting]
    by_customer: dict[str, list[Exposure]] = defaultdict(list)
    for exposure in find_exposures(connection, (event["customer_id"] for event in goals)):
        by_customer[exposure.customer_id].append(exposure)
    added: Values = {}
    early: list[EarlyGoal] = []
    for event in goals:
        customer, at = event["customer_id"], event["timestamp"]
        exposed_at = {exposure.experiment_id: exposure.at for exposure in by_customer[customer]}
        for experiment_id, metrics in waiting[name_of(event)].items():
            experiment = experiments[experiment_id]
            for metric, name in metrics:
                if not _fits(event, metric, name):
                    continue
                if experiment_id not in exposed_at:
                    if experiment.exposed_by == "event" and experiment.status == "running":
                        came, amount = event.get("received_at") or at, _amount(event, metric)
                        early.append(EarlyGoal(event["message_id"], experiment_id, name, customer, at, amount, came))
                elif _in_time(at, exposed_at[experiment_id], metric, experiment):
                    _add(added, (experiment_id, customer, name), _amount(event, metric))
    return added, early


def _catch_up(
    connection: Connection, experiments: Mapping[str, Experiment], exposed: Mapping[Subject, datetime]
) -> None:
    """Counts what came before the events that told these exposures."""
    added: Values = {}
    for goal in take_early(connection, exposed):
        experiment = experiments[goal.experiment_id]
        metric = next((one for one in experiment.metrics if goal.metric in {one.name, one.below}), None)
        at = exposed[goal.experiment_id, goal.customer_id]
        if metric is not None and _in_time(goal.at, at, metric, experiment):
            _add(added, (goal.experiment_id, goal.customer_id, goal.metric), goal.amount)
    add_values(connection, added)


def _waiting(experiments: Iterable[Experiment]) -> dict[str | None, dict[str, list[tuple[Metric, str]]]]:
    """Event name -> experiment id -> the metrics it feeds, each with the name it is stored under."""
    waiting: dict[str | None, dict[str, list[tuple[Metric, str]]]] = defaultdict(lambda: defaultdict(list))
    for experiment in experiments:
        for metric in experiment.metrics:
            waiting[metric.event][experiment.id].append((metric, metric.name))
            if metric.denominator is not None:
                waiting[metric.denominator][experiment.id].append((metric, metric.below))
    return waiting


def _fits(event: Event, metric: Metric, name: str) -> bool:
    """Whether an event of the metric's name, or of its denominator's, is one that it counts (under `name`)."""
    in_channel = metric.channel is None or event.get("channel") == metric.channel
    return in_channel and (name != metric.name or holds(metric.where, event))


def _in_time(at: datetime, exposed_at: datetime, metric: Metric, experiment: Experiment) -> bool:
    ends_at, stopped_at = exposed_at + metric.window, experiment.stopped_at
    return exposed_at <= at < (min(ends_at, stopped_at) if stopped_at else ends_at)


def _amount(event: Event, metric: Metric) -> float:
    """The number that the metric sums; 0 where the event carries none. Money is of the home currency; where it is in
    another one without a rate, it is not counted."""
    if metric.value is None:
        return 0.0
    given: Any
    if metric.value in ("revenue_cents", "discount_cents") and event.get(metric.value) is not None:
        given = CURRENCIES.in_home(event[metric.value], event.get("currency"))
    elif metric.value in _MONEY and event.get("currency") not in (None, CURRENCIES.home):
        given = _in_home(_properties(event).get(metric.value), event["currency"])
    else:
        given = _properties(event).get(metric.value)
    usable = isinstance(given, int | float) and not isinstance(given, bool) and math.isfinite(given)
    return float(given) if usable and given is not None else 0.0


def _in_home(given: Any, currency: str) -> float | None:
    """A property that is money, in the home currency."""
    rate = CURRENCIES.rates.get(currency)
    return given * float(rate) if rate is not None and type(given) in (int, float) else None


def _properties(event: Event) -> Mapping[str, Any]:
    given = event.get("properties")
    parsed = orjson.loads(given) if isinstance(given, str | bytes) and given else given
    return parsed if isinstance(parsed, Mapping) else {}


def _add(added: dict[ValueKey, tuple[int, float]], key: ValueKey, amount: float) -> None:
    count, total = added.get(key, (0, 0.0))
    added[key] = (count + 1, total + amount)


def _record_seen(
    connection: Connection,
    experiments: Mapping[str, Experiment],
    events: Iterable[Event],
    covariate: Covariate | None,
) -> dict[Subject, datetime]:
    """ "Experiment Viewed" exposes the customer to the variant that assignment gives. Who is exposed now, and when."""
    exposed: dict[Subject, datetime] = {}
    for event in events:
        if name_of(event) != SEEN:
            continue
        experiment = experiments.get(str(_properties(event).get("experiment_id")))
        if experiment is None:
            continue
        if experiment.stopped_at is not None and event["timestamp"] < experiment.stopped_at:
            experiment = replace(experiment, status="running")  # as it was then: what is told late counts, too
        verdict = judge(connection, experiment, event["customer_id"], event["timestamp"])
        if verdict.new:
            expose(connection, verdict, event["customer_id"], event["timestamp"], covariate)
            exposed[experiment.id, event["customer_id"]] = event["timestamp"]
    return exposed


def merge_subject(connection: Connection, former: str, customer_id: str) -> None:
    """An anonymous visitor became a known person: one exposure an experiment, the earlier one.

    What was counted stays where both had the same variant; where they differ, the later exposure and what was
    counted under it go, because nobody can tell which variant caused it.
    """
    move_early(connection, former, customer_id)
    _merge_exposures(connection, former, customer_id)
    exposed = {(each.experiment_id, customer_id): each.at for each in find_exposures(connection, [customer_id])}
    if exposed:
        _catch_up(connection, {each.id: each for each in all_experiments(connection)}, exposed)


def _merge_exposures(connection: Connection, former: str, customer_id: str) -> None:
    theirs = find_exposures(connection, [former])
    if not theirs:
        return
    mine = {exposure.experiment_id: exposure for exposure in find_exposures(connection, [customer_id])}
    counted = {name: take_values(connection, name) for name in (former, customer_id)}
    remove_exposures(connection, former)
    remove_exposures(connection, customer_id)
    kept = dict(mine)
    for exposure in theirs:
        rival = mine.get(exposure.experiment_id)
        if rival is None or exposure.at < rival.at:
            kept[exposure.experiment_id] = exposure
    variant_of = {(each.customer_id, each.experiment_id): each.variant for each in (*theirs, *mine.values())}
    add_exposures(
        connection,
        [Exposure(each.experiment_id, customer_id, each.variant, each.at, each.covariate) for each in kept.values()],
    )
    added: dict[ValueKey, tuple[int, float]] = {}
    for name, taken in counted.items():
        for (experiment_id, _, metric), (count, total) in taken.items():
            if variant_of.get((name, experiment_id)) == kept[experiment_id].variant:
                key = (experiment_id, customer_id, metric)
                before = added.get(key, (0, 0.0))
                added[key] = (before[0] + count, before[1] + total)
    add_values(connection, added)


def erase_subject(connection: Connection, customer_id: str) -> int:
    """Erases the person and keeps the aggregate: the id is replaced by a random token that nobody knows.

    Returns in how many experiments the person was.
    """
    erase_early(connection, customer_id)
    return rename_subject(connection, customer_id, f"erased:{secrets.token_hex(12)}")


def exported(connection: Connection, customer_id: str) -> list[dict[str, Any]]:
    """What is held about a person here, for an export."""
    return [
        {"experiment_id": each.experiment_id, "variant": each.variant, "at": each.at}
        for each in find_exposures(connection, [customer_id])
    ]

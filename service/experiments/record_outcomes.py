"""What exposed customers did, from events: goals within their window, exposures seen on a page, merged persons."""

from __future__ import annotations

import math
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson

from features.currencies import CURRENCIES
from service.customers.customer_store import joined_by
from service.events.match import holds, name_of
from service.experiments.assign_customer import Covariate, expose, judge
from service.experiments.definition import Experiment, Metric
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
SEEN = "Experiment Viewed"
_MONEY = frozenset({"revenue", "total", "value", "subtotal", "tax", "shipping", "discount", "price"})
"""Properties of Segment's events that are money."""


def apply_outcomes(connection: Connection, events: Sequence[Event], covariate: Covariate | None = None) -> None:
    """Counts the events that experiments wait for; every event must be given once.

    An event counts for an exposure when it happened at or after it, within the metric's window and before the
    experiment was stopped, whenever it comes. Opens and clicks of machines never count. Segment's "Experiment
    Viewed" (`experiment_id`) is an exposure. Call it in a `write()` transaction.
    """
    for former, customer_id in joined_by(connection, events).items():
        merge_subject(connection, former, customer_id)
    experiments = {experiment.id: experiment for experiment in all_experiments(connection)}
    if not experiments:
        return
    _record_seen(connection, experiments, events, covariate)
    human = [event for event in events if not event.get("machine")]
    add_values(connection, _counted(connection, experiments, human))


def withdraw_outcomes(connection: Connection, events: Sequence[Event]) -> None:
    """Takes back what these events counted for when they came: clicks that turned out to be a machine's."""
    counted = _counted(connection, {each.id: each for each in all_experiments(connection)}, events)
    add_values(connection, {key: (-count, -total) for key, (count, total) in counted.items()})


def _counted(
    connection: Connection, experiments: Mapping[str, Experiment], events: Iterable[Event]
) -> dict[ValueKey, tuple[int, float]]:
    """What events count for, by exposure and metric: how many, and their sum."""
    waiting = _waiting(experiments.values())
    goals = [event for event in events if name_of(event) in waiting]
    by_customer: dict[str, list[Exposure]] = defaultdict(list)
    for exposure in find_exposures(connection, (event["customer_id"] for event in goals)):
        by_customer[exposure.customer_id].append(exposure)
    added: dict[ValueKey, tuple[int, float]] = {}
    for event in goals:
        for exposure in by_customer[event["customer_id"]]:
            for metric, name in waiting[name_of(event)].get(exposure.experiment_id, ()):
                if name == metric.name and not holds(metric.where, event):
                    continue
                if _counts(event, exposure.at, metric, experiments[exposure.experiment_id].stopped_at):
                    _add(added, (exposure.experiment_id, exposure.customer_id, name), _amount(event, metric))
    return added


def _waiting(experiments: Iterable[Experiment]) -> dict[str | None, dict[str, list[tuple[Metric, str]]]]:
    """Event name -> experiment id -> the metrics it feeds, each with the name it is stored under."""
    waiting: dict[str | None, dict[str, list[tuple[Metric, str]]]] = defaultdict(lambda: defaultdict(list))
    for experiment in experiments:
        for metric in experiment.metrics:
            waiting[metric.event][experiment.id].append((metric, metric.name))
            if metric.denominator is not None:
                waiting[metric.denominator][experiment.id].append((metric, metric.below))
    return waiting


def _counts(event: Event, exposed_at: datetime, metric: Metric, stopped_at: datetime | None) -> bool:
    in_channel = metric.channel is None or event.get("channel") == metric.channel
    ends_at = exposed_at + metric.window
    return in_channel and exposed_at <= event["timestamp"] < (min(ends_at, stopped_at) if stopped_at else ends_at)


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
) -> None:
    """ "Experiment Viewed" exposes the customer to the variant that assignment gives."""
    for event in events:
        if name_of(event) != SEEN:
            continue
        experiment = experiments.get(str(_properties(event).get("experiment_id")))
        if experiment is None:
            continue
        verdict = judge(connection, experiment, event["customer_id"], event["timestamp"])
        if verdict.new:
            expose(connection, verdict, event["customer_id"], event["timestamp"], covariate)


def merge_subject(connection: Connection, former: str, customer_id: str) -> None:
    """An anonymous visitor became a known person: one exposure an experiment, the earlier one.

    What was counted stays where both had the same variant; where they differ, the later exposure and what was
    counted under it go, because nobody can tell which variant caused it.
    """
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
    return rename_subject(connection, customer_id, f"erased:{secrets.token_hex(12)}")


def exported(connection: Connection, customer_id: str) -> list[dict[str, Any]]:
    """What is held about a person here, for an export."""
    return [
        {"experiment_id": each.experiment_id, "variant": each.variant, "at": each.at}
        for each in find_exposures(connection, [customer_id])
    ]

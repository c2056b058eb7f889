"""What goals count for: those in time after their subject's exposure, orders less what was given back.

It follows from what is known now alone, so it may be asked again whenever that changes: an exposure told late, a
person joined, an order priced or refunded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from service.customers.refund import Refund, share_left
from service.customers.refunds_store import refunds_of
from service.experiments.amounts import net_of
from service.experiments.definition import Experiment, Metric
from service.experiments.experiment_store import ValueKey, add_values, find_exposures
from service.experiments.goals_store import ORDERS_KEPT, Goal, Order, remove_goals, save_goals
from service.storage.database import Connection

Experiments = Mapping[str, Experiment]
_PART = tuple[str, str, str, str]
"""Experiment, metric, customer, order."""


def count_goals(connection: Connection, experiments: Experiments, fresh: Sequence[Goal], kept: Iterable[Goal]) -> None:
    """Counts goals that came (`fresh`) and counts anew those that are `kept`: of an order, all of it."""
    known = {goal.key: goal for goal in kept}
    concerned = [*known.values(), *fresh]
    if not concerned:
        return
    exposures = find_exposures(
        connection, {goal.customer_id for goal in concerned}, {g.experiment_id for g in concerned}
    )
    exposed_at = {(exposure.experiment_id, exposure.customer_id): exposure.at for exposure in exposures}
    refunds = refunds_of(connection, {order for goal in concerned if (order := _order(goal)) is not None})
    left = _left(experiments, concerned, refunds)
    changed, added = [], defaultdict(list)
    for goal in concerned:
        at = exposed_at.get((goal.experiment_id, goal.customer_id))
        times, counted = _counts_for(goal, experiments[goal.experiment_id], at, left.get(_part(goal), 1.0))
        if goal.key not in known or (times, counted) != (goal.times, goal.counted):
            longer = goal.at + ORDERS_KEPT if times and goal.order_id is not None else goal.kept_until
            until = max(goal.kept_until, longer)
            changed.append(replace(goal, times=times, counted=counted, kept_until=until))
            added[_value(goal)].append((times - goal.times, counted - goal.counted))
    save_goals(connection, changed)
    _add(connection, added)


def withdraw_goals(connection: Connection, withdrawn: Sequence[Goal]) -> None:
    """Takes back what goals count for, and forgets them."""
    added: dict[ValueKey, list[tuple[int, float]]] = defaultdict(list)
    for goal in withdrawn:
        added[_value(goal)].append((-goal.times, -goal.counted))
    remove_goals(connection, [goal.key for goal in withdrawn])
    _add(connection, added)


def metric_of(experiment: Experiment, stored: str) -> Metric | None:
    """The metric that is stored under a name; None where the experiment has it no more."""
    return next((one for one in experiment.metrics if stored in {one.name, one.below}), None)


def over_at(exposed_at: datetime, metric: Metric, experiment: Experiment) -> datetime:
    """From when on nothing of a subject counts."""
    ends_at, stopped_at = exposed_at + metric.window, experiment.stopped_at
    return min(ends_at, stopped_at) if stopped_at else ends_at


def _counts_for(
    goal: Goal, experiment: Experiment, exposed_at: datetime | None, left: float | None
) -> tuple[int, float]:
    metric = metric_of(experiment, goal.metric)
    if metric is None:
        return goal.times, goal.counted
    if exposed_at is None or not exposed_at <= goal.at < over_at(exposed_at, metric, experiment):
        return 0, 0.0
    if not experiment.shows(goal.at):
        return 0, 0.0
    return net_of(goal.amount, metric, left)


def _left(
    experiments: Experiments, concerned: Iterable[Goal], refunds: Mapping[Order, Sequence[Refund]]
) -> dict[_PART, float | None]:
    """What is left of orders that were refunded while their experiment was not stopped. Lines of a table are parts of
    one order."""
    parts: dict[_PART, list[Goal]] = defaultdict(list)
    for goal in concerned:
        if _order(goal) in refunds:
            parts[_part(goal)].append(goal)
    left: dict[_PART, float | None] = {}
    for part, goals in parts.items():
        given = [each for each in refunds[part[2:]] if experiments[part[0]].shows(each.at)]
        worth = [goal.cents for goal in goals]
        left[part] = share_left(given, None if None in worth else sum(cents or 0 for cents in worth))
    return left


def _order(goal: Goal) -> Order | None:
    return None if goal.order_id is None else (goal.customer_id, goal.order_id)


def _part(goal: Goal) -> _PART:
    return goal.experiment_id, goal.metric, goal.customer_id, goal.order_id or ""


def _value(goal: Goal) -> ValueKey:
    return goal.experiment_id, goal.customer_id, goal.metric


def _add(connection: Connection, added: Mapping[ValueKey, Sequence[tuple[int, float]]]) -> None:
    sums = {key: (sum(times for times, _ in each), sum(total for _, total in each)) for key, each in added.items()}
    add_values(connection, {key: plus for key, plus in sums.items() if plus != (0, 0.0)})

"""An anonymous visitor became a known person: one subject, with the earlier exposure of both."""

from __future__ import annotations

from dataclasses import replace

from service.experiments.count_goals import withdraw_goals
from service.experiments.experiment_store import (
    ValueKey,
    add_exposures,
    add_values,
    find_exposures,
    remove_exposures,
    take_values,
)
from service.experiments.goals_store import Subject, goals_of_customer, move_goals
from service.storage.database import Connection


def join_subjects(connection: Connection, former: str, customer_id: str) -> set[Subject]:
    """Whose goals are to be counted anew.

    The variant that was seen first stands, with all that either did since: it was drawn at random, and what made the
    person come under the other id, too, may be its doing. Who saw two is told apart (`crossed`). An order that was
    told under both ids counts once, the customer's.
    """
    own = {(each.experiment_id, each.metric, each.order_id) for each in goals_of_customer(connection, customer_id)}
    told_twice = [
        goal
        for goal in goals_of_customer(connection, former)
        if goal.order_id is not None and (goal.experiment_id, goal.metric, goal.order_id) in own
    ]
    withdraw_goals(connection, told_twice)
    move_goals(connection, former, customer_id)
    _join_exposures(connection, former, customer_id)
    return {(exposure.experiment_id, customer_id) for exposure in find_exposures(connection, [customer_id])}


def _join_exposures(connection: Connection, former: str, customer_id: str) -> None:
    theirs = find_exposures(connection, [former])
    if not theirs:
        return
    kept = {exposure.experiment_id: exposure for exposure in find_exposures(connection, [customer_id])}
    for exposure in theirs:
        rival = kept.get(exposure.experiment_id)
        first = exposure if rival is None or exposure.at < rival.at else rival
        crossed = exposure.crossed or (rival is not None and (rival.crossed or rival.variant != exposure.variant))
        kept[exposure.experiment_id] = replace(first, customer_id=customer_id, crossed=crossed)
    added: dict[ValueKey, tuple[int, float]] = {}
    for name in (former, customer_id):
        for (experiment_id, _, metric), (times, total) in take_values(connection, name).items():
            before = added.get((experiment_id, customer_id, metric), (0, 0.0))
            added[experiment_id, customer_id, metric] = (before[0] + times, before[1] + total)
        remove_exposures(connection, name)
    add_exposures(connection, list(kept.values()))
    add_values(connection, added)

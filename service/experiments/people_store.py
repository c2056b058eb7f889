"""Of whom anything is kept that goes with them when they become known: most visitors take part in nothing."""

from __future__ import annotations

from collections.abc import Collection

from service.experiments.experiment_store import exposures
from service.experiments.goals_store import goals
from service.storage.database import Connection, those_in


def with_history(connection: Connection, customer_ids: Collection[str]) -> set[str]:
    """Those of these ids that were exposed to experiments or did what may count for one."""
    return set().union(*(those_in(connection, table.c.customer_id, customer_ids) for table in (exposures, goals)))

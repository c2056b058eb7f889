"""Of whom anything is kept that goes with them when they become known: most visitors were never decided for."""

from __future__ import annotations

from collections.abc import Collection

from service.decisions.decision_store import decided_without_lines
from service.decisions.ledger_store import ledger
from service.decisions.moments_store import moments
from service.decisions.outcome_store import outcomes
from service.decisions.suppression_store import suppressions
from service.storage.database import Connection, those_in


def with_history(connection: Connection, customer_ids: Collection[str]) -> set[str]:
    """Those of these ids that have decisions (with lines in the ledger or without), outcomes, refusals or moments."""
    return decided_without_lines(connection, customer_ids).union(
        *(
            those_in(connection, table.c.customer_id, customer_ids)
            for table in (ledger, outcomes, suppressions, moments)
        )
    )

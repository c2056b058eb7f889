"""Use cases around decisions already made: read, replay, give back, and what one person's data asks for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.decisions.decision_store import (
    erase_decisions,
    held_of,
    latest_decisions,
    outcomes_of,
    read_decision,
    read_rates,
)
from service.decisions.describe import describe
from service.decisions.explain import Explanation
from service.decisions.explain_decision import explained
from service.decisions.formula import terms_of
from service.decisions.ledger_lines_store import erase_ledger, release
from service.decisions.lessons_store import erase_lessons
from service.decisions.moments_store import erase_moments
from service.decisions.offers_then import offers_then
from service.decisions.parts_store import Parts
from service.decisions.ports import Models
from service.decisions.rates import PooledRates
from service.decisions.record import case_from_record, unsqueeze
from service.decisions.replay import replay
from service.decisions.suppression_store import erase_suppressions
from service.errors import NotFound
from service.storage.database import Connection, Database


class DecisionReader:
    """Reads records of decisions. One for each process."""

    def __init__(self, database: Database, models: Models) -> None:
        self._database = database
        self._models = models

    def read(self, decision_id: str) -> dict[str, Any]:
        """The full record, with the outcomes so far. `NotFound` when there is none (any more)."""
        with self._database.read() as connection:
            return _described(connection, _row(connection, decision_id))

    def latest(self, customer_id: str, limit: int = 1) -> list[dict[str, Any]]:
        """A customer's newest decisions that have their records, in full."""
        with self._database.read() as connection:
            return [_described(connection, row) for row in latest_decisions(connection, customer_id, limit)]

    def explain(self, decision_id: str) -> Explanation:
        """A decision in words: why, why not the rest, and the smallest changes that would have made it another."""
        with self._database.read() as connection:
            return self._explained(connection, _row(connection, decision_id))[1]

    def told(self, customer_id: str, limit: int = 1) -> list[tuple[dict[str, Any], Explanation]]:
        """A customer's newest decisions: each in full, and in words."""
        with self._database.read() as connection:
            return [self._explained(connection, row) for row in latest_decisions(connection, customer_id, limit)]

    def _explained(self, connection: Connection, row: Any) -> tuple[dict[str, Any], Explanation]:
        record = unsqueeze(row.record, Parts(connection))
        offers = offers_then(connection, {row.decision_id: record})[row.decision_id]
        shown = _described(connection, row)
        return shown, explained(row, record, shown, offers, self._models, lambda: PooledRates(read_rates(connection)))

    def replay(self, decision_id: str) -> dict[str, Any]:
        """Decides again from the record: see `replay.replay`."""
        with self._database.read() as connection:
            row = _row(connection, decision_id)
            record = unsqueeze(row.record, Parts(connection))
            offers = offers_then(connection, {decision_id: record})[decision_id]
        return replay(row, record, offers, self._models)

    def release(self, decision_id: str) -> int:
        """Gives back what a decision reserved and nothing delivered; returns how many places."""
        with self._database.write() as connection:
            return release(connection, decision_id)


def erase_of(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Removes what decisions hold of a customer, given all their ids; counts that name nobody stay."""
    gone = 0
    for customer_id in customer_ids:
        gone += sum(erase_decisions(connection, customer_id).values())
        gone += erase_ledger(connection, customer_id) + erase_suppressions(connection, customer_id)
        gone += erase_moments(connection, customer_id) + erase_lessons(connection, customer_id)
    return gone


def export_of(connection: Connection, customer_ids: Sequence[str]) -> dict[str, Any]:
    """What decisions hold of a customer, given all their ids."""
    made: list[Any] = []
    happened: list[Any] = []
    for customer_id in customer_ids:
        rows, outcomes = held_of(connection, customer_id)
        made += [_described(connection, row) if row.record else _head(row) for row in rows]
        happened += [{str(name): value for name, value in outcome._mapping.items()} for outcome in outcomes]
    return {"decisions": made, "outcomes": happened}


def _row(connection: Connection, decision_id: str) -> Any:
    row = read_decision(connection, decision_id)
    if row is None:
        raise NotFound(f"there is no decision {decision_id!r}; dry runs are not kept")
    return row


def _head(row: Any) -> dict[str, Any]:
    """What is left of a decision whose record is kept no longer."""
    names = ("decision_id", "customer_id", "decided_at", "placement", "arm", "offer_id", "channel")
    return {name: getattr(row, name) for name in names}


def _described(connection: Connection, row: Any) -> dict[str, Any]:
    record = unsqueeze(row.record, Parts(connection))
    offers = offers_then(connection, {row.decision_id: record})[row.decision_id]
    outcomes = [
        {"kind": o.kind, "at": o.at, "offer_id": o.offer_id, "value_cents": o.value_cents, "machine": o.machine}
        for o in outcomes_of(connection, row.decision_id)
    ]
    channels = {offer.offer_id: offer.channels for offer in offers}
    names = {offer.offer_id: str(offer.document["name"]) for offer in offers}
    terms = terms_of(case_from_record(row, record, offers))
    return {**describe(row, record, channels), "terms": terms, "offer_names": names, "outcomes": outcomes}

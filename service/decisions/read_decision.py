"""Use cases around decisions already made: read, replay, give back, and what one person's data asks for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from service.clock import Clock, SystemClock
from service.decisions.case import microseconds
from service.decisions.decision_store import decided_since, erase_decisions, held_of, latest_decisions, read_rates
from service.decisions.describe import describe
from service.decisions.explain import Explanation
from service.decisions.explain_decision import explained
from service.decisions.formula import terms_of
from service.decisions.ledger_lines_store import erase_ledger, release
from service.decisions.ledger_store import lock
from service.decisions.lessons_store import erase_lessons
from service.decisions.moments_store import erase_moments
from service.decisions.offers_then import offers_then
from service.decisions.outcome_store import outcomes_of
from service.decisions.ports import Models
from service.decisions.rates import PooledRates
from service.decisions.record import case_from_record
from service.decisions.replay import replay
from service.decisions.suppression_store import erase_suppressions, read_suppressed
from service.decisions.whole import whole
from service.errors import Damaged, NotFound
from service.storage.database import Connection, Database


class DecisionReader:
    """Reads records of decisions. One for each process.

    `NotFound` where there is no record (any more), `Damaged` where it cannot be read.
    """

    def __init__(self, database: Database, models: Models, clock: Clock | None = None) -> None:
        """`clock` tells which deliveries are too young to tell yet, as decisions ask it."""
        self._database = database
        self._models = models
        self._clock = clock or SystemClock()

    def read(self, decision_id: str) -> dict[str, Any]:
        """The full record, with the outcomes so far."""
        with self._database.read() as connection:
            return _described(connection, *whole(connection, decision_id))

    def latest(self, customer_id: str, limit: int = 1) -> list[dict[str, Any]]:
        """A customer's newest decisions that have their records, in full."""
        with self._database.read() as connection:
            ids = latest_decisions(connection, customer_id, limit)
            return [_described(connection, *whole(connection, decision_id)) for decision_id in ids]

    def explain(self, decision_id: str) -> Explanation:
        """A decision in words: why, why not the rest, and the smallest changes that would have made it another."""
        with self._database.read() as connection:
            return self._explained(connection, decision_id)[1]

    def told(self, customer_id: str, limit: int = 1) -> Iterator[tuple[dict[str, Any], Explanation] | Damaged]:
        """A customer's newest decisions: each in full, and in words; or what is wrong with its record."""
        with self._database.read() as connection:
            for decision_id in latest_decisions(connection, customer_id, limit):
                try:
                    yield self._explained(connection, decision_id)
                except Damaged as damaged:
                    yield damaged

    def _explained(self, connection: Connection, decision_id: str) -> tuple[dict[str, Any], Explanation]:
        row, record = whole(connection, decision_id)
        offers = offers_then(connection, {row.decision_id: record})[row.decision_id]
        shown = _described(connection, row, record)
        now = microseconds(self._clock.now())

        def rates() -> PooledRates:
            return PooledRates(read_rates(connection), now=now)

        return shown, explained(row, record, shown, offers, self._models, rates)

    def replay(self, decision_id: str) -> dict[str, Any]:
        """Decides again from the record: see `replay.replay`."""
        with self._database.read() as connection:
            row, record = whole(connection, decision_id)
            offers = offers_then(connection, {decision_id: record})[decision_id]
        return replay(row, record, offers, self._models)

    def release(self, decision_id: str) -> int:
        """Gives back what a decision reserved and nothing delivered; returns how many places."""
        with self._database.write() as connection:
            return release(connection, decision_id)


def erase_of(connection: Connection, customer_ids: Sequence[str]) -> int:
    """Removes what decisions hold of a customer, given all their ids; counts that name nobody stay.

    A decision under way is written before, or finds nobody.
    """
    lock(connection, customer_ids, ())
    gone = 0
    for customer_id in customer_ids:
        gone += sum(erase_decisions(connection, customer_id).values())
        gone += erase_ledger(connection, customer_id) + erase_suppressions(connection, customer_id)
        gone += erase_moments(connection, customer_id) + erase_lessons(connection, customer_id)
    return gone


def kept_of(connection: Connection, customer_ids: Sequence[str], since: datetime) -> set[str]:
    """Those of these ids for whom something was decided since a time, or to whom a channel is closed."""
    return decided_since(connection, customer_ids, since) | read_suppressed(connection, customer_ids).keys()


def export_of(connection: Connection, customer_ids: Sequence[str]) -> dict[str, Any]:
    """What decisions hold of a customer, given all their ids."""
    made: list[Any] = []
    happened: list[Any] = []
    for customer_id in customer_ids:
        heads, outcomes = held_of(connection, customer_id)
        made += [_exported(connection, head) for head in heads]
        happened += [{str(name): value for name, value in outcome._mapping.items()} for outcome in outcomes]
    return {"decisions": made, "outcomes": happened}


def _exported(connection: Connection, head: Any) -> dict[str, Any]:
    """A decision in full; what is left of it where its record is kept no longer, or damaged."""
    names = ("decision_id", "customer_id", "decided_at", "placement", "arm", "offer_id", "channel")
    left = {name: getattr(head, name) for name in names}
    try:
        return _described(connection, *whole(connection, head.decision_id))
    except NotFound:
        return left
    except Damaged as damaged:
        return {**left, "problem": damaged.detail}


def _described(connection: Connection, row: Any, record: Any) -> dict[str, Any]:
    offers = offers_then(connection, {row.decision_id: record})[row.decision_id]
    outcomes = [
        {"kind": o.kind, "at": o.at, "offer_id": o.offer_id, "value_cents": o.value_cents, "machine": o.machine}
        for o in outcomes_of(connection, row.decision_id)
    ]
    channels = {offer.offer_id: offer.channels for offer in offers}
    names = {offer.offer_id: str(offer.document["name"]) for offer in offers}
    terms = terms_of(case_from_record(row, record, offers))
    return {**describe(row, record, channels), "terms": terms, "offer_names": names, "outcomes": outcomes}

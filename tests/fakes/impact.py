"""Placements whose arms are measured: decisions, what customers do after them, and who is enrolled."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from service.customers.keep_refunds import keep_refunds
from service.decisions.arm_tests import stored_test
from service.decisions.enrol_decided import EnrolDecided
from service.decisions.read_impact import read_impact
from service.decisions.rules import RuleBook
from service.decisions.schemas import DecisionIn
from service.events.events_lease import EventsLease
from service.experiments.experiment_store import Exposure, add_exposures, add_values, save_experiment
from service.experiments.record_outcomes import apply_outcomes
from service.storage.database import Database
from tests.fakes.decisions import NOON, Desk, settings
from tests.fakes.learning import event_of

SHARES = [("model", 0.5), ("random", 0.2), ("business_as_usual", 0.0), ("holdout", 0.3)]
HALF = {"model": 0.5, "random": 0, "business_as_usual": 0, "holdout": 0.5}


class Measured:
    """A desk with one offer, whose decisions are measured as the events loop does it."""

    def __init__(self, database: Database, arms: Mapping[str, float] = HALF, **more: Any) -> None:
        self.desk = Desk(database, settings(arms=dict(arms), caps=[], **more))
        self.desk.put(a={})
        self.lease = EventsLease(database)
        self.enrol = self.process()

    def process(self, arms: Mapping[str, float] | None = None, seed: str | None = None, **more: Any) -> EnrolDecided:
        """A process that begins now, maybe with other shares, or another seed."""
        if arms is not None:
            self.desk.settings = settings(arms=dict(arms), caps=[], **({} if seed is None else {"seed": seed}))
        rules = RuleBook(self.desk.settings)
        self.enrol = EnrolDecided(self.desk.database, self.desk.clock, self.lease, rules, 28.0, **more)
        self.enrol.begin()
        return self.enrol

    def decide(self, customer_id: str, placement: str = "email.weekly", **asked: Any) -> dict[str, Any]:
        self.desk.clock.forward(seconds=1)
        return self.desk.decider.decide(DecisionIn(customer_id=customer_id, placement=placement, **asked))

    def decide_for(self, many: int, **asked: Any) -> list[dict[str, Any]]:
        return [self.decide(f"c{number}", **asked) for number in range(many)]

    def happens(self, name: str, decision: Mapping[str, Any], **fields: Any) -> None:
        """An event of a decision's customer, a second later; enrolled and counted as the events loop does it."""
        self.desk.clock.forward(seconds=1)
        event = event_of(name, dict(decision), self.desk.clock.now(), **fields)
        with self.desk.database.write() as connection:
            self.enrol.enrol_buyers(connection, [event])
            keep_refunds(connection, [event])
            apply_outcomes(connection, [event], self.desk.clock.now())

    def passes(self) -> None:
        """All that the chore finds to do, a minute later."""
        self.desk.clock.forward(minutes=1)
        while self.enrol():
            pass

    def impact(self, placement: str = "email.weekly") -> dict[str, Any]:
        with self.desk.database.read() as connection:
            return read_impact(connection, placement)[0]

    def customers(self, placement: str = "email.weekly") -> dict[str, int]:
        """How many are enrolled, by arm."""
        return {arm["arm"]: arm["customers"] for arm in self.impact(placement)["arms"]}


def arms_measured(
    database: Database,
    customers: Mapping[str, int],
    cents: Mapping[str, float],
    leave: Mapping[str, float] | None = None,
    again: bool = False,
) -> dict[str, Any]:
    """So many customers in each arm, with so many cents of revenue on average, of whom this share unsubscribed.

    `again`: by other shares than before, whose measurement ended.
    """
    draw = np.random.default_rng(7)
    row = stored_test("email.weekly", int(again), SHARES, 28, NOON)
    with database.write() as connection:
        if again:
            before = stored_test("email.weekly", 0, SHARES, 28, NOON)
            save_experiment(connection, before | {"stopped_at": NOON})
        save_experiment(connection, row)
        for arm, many in customers.items():
            names = [f"{arm}-{number}" for number in range(many)]
            add_exposures(connection, [Exposure(row["id"], name, arm, NOON, None) for name in names])
            spent = draw.gamma(2.0, cents[arm] / 2, many)
            added = {(row["id"], name, "revenue"): (1, spent[n]) for n, name in enumerate(names)}
            gone = names[: round(many * (leave or {}).get(arm, 0.0))]
            add_values(connection, added | {(row["id"], name, "unsubscribed"): (1, 0.0) for name in gone})
        return read_impact(connection)[0]

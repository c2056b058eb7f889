"""Who was decided for takes part in the test of their placement's arms (`arm_tests`), from their first decision on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from service.clock import CLOCKS_APART, Clock, monotonic
from service.decisions.arm_tests import COUNTED, compares, placement_and_number, same_test, stored_test
from service.decisions.impact_store import (
    candidates_stored,
    end_of_portion,
    first_decided,
    in_another_arm,
    not_enrolled,
    not_enrolled_of,
)
from service.decisions.record import of_another_time
from service.decisions.rules import RuleBook
from service.events.events_lease import EventsLease
from service.events.match import name_of
from service.experiments.assign_customer import Covariate
from service.experiments.definition import Experiment, experiment_from
from service.experiments.experiment_store import (
    Exposure,
    add_exposures,
    find_experiment,
    find_exposures,
    looked_until,
    note_looked,
    put_exposures,
    save_experiment,
    standing_tests,
)
from service.storage.database import Connection, Database

log = logging.getLogger(__name__)
AT_ONCE = 500
EVERY = timedelta(seconds=30)
BEHIND = timedelta(seconds=5)
"""How old a decision is when it is looked at: it is written after it was made."""
LATE = timedelta(days=1)
"""How far back decisions are looked for that waited on the disk."""
_Before = dict[tuple[str, str], float | None]
"""By placement and customer."""
MOST = 50
"""Placements that are measured: each costs a little of every event, and callers may make names up."""


class EnrolDecided:
    """A handler of events, and a chore of the events loop. Nothing of it is on the way of a decision.

    As a handler it stands before the one that counts: who buys is enrolled before that counts. As a chore it enrols
    everybody else. Joins and erasures never run beside either.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock,
        lease: EventsLease,
        rules: RuleBook,
        days: float,
        covariate: Covariate | None = None,
        brought_in: Callable[[], int] = lambda: 0,
    ) -> None:
        """`days`: how long what customers do counts; `brought_in`: how many decisions came that waited on the disk."""
        self._database, self._clock, self._lease = database, clock, lease
        self._rules, self._days, self._covariate = rules, days, covariate
        self._brought_in, self._brought = brought_in, 0
        self._began = clock.now()
        self._after: datetime | None = None
        self._until: datetime | None = None
        self._passed = float("-inf")
        self._begins, self._settled = False, True
        self._left_out: set[str] = set()
        """Placements that are not measured."""

    def begin(self) -> None:
        """Lets this process begin and end tests, by its settings: the one that answers decides what is measured. A
        command beside it may have been given other settings.
        """
        self._begins, self._settled = True, False

    def enrol_buyers(self, connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        """Enrols whose events are counted, where it is still to be done. In the transaction that applies them."""
        who = sorted({event["customer_id"] for event in events if name_of(event) in COUNTED})
        for start in range(0, len(who), AT_ONCE):
            tests, some = _running(connection), who[start : start + AT_ONCE]
            since = self._looked(connection) - LATE if tests else self._began
            rows = not_enrolled_of(connection, some, since, _ids(tests), self._left_out)
            self._begin_missing(connection, rows, tests)
            add_exposures(connection, self._exposures(connection, rows, tests))

    def __call__(self) -> bool:
        """One portion of the decisions that were made since the last; True when there may be more.

        Decisions wait for who writes, so everything is read before.
        """
        if self._until is None and not self._starts():
            return False
        if not self._settled:
            with self._database.write() as connection:
                self._lease.hold(connection)
                self._settle(connection)
            self._settled = True
        self._lease.keep()
        with self._database.read() as connection:
            tests = _running(connection)
            after = self._looked(connection)
            until = max(after, self._until or after)
            end = end_of_portion(connection, after, until, AT_ONCE)
            rows = not_enrolled(connection, after, end, _ids(tests), self._left_out)
            crossed = _crossed(in_another_arm(connection, after, end, _ids(tests)), tests)
        if any(row.placement not in tests for row in rows):
            with self._database.write() as connection:
                self._lease.hold(connection)
                self._begin_missing(connection, rows, tests)
        with self._database.read() as connection:
            new = self._exposures(connection, rows, tests)
        if new or crossed or (tests and end >= until):
            with self._database.write() as connection:
                self._lease.hold(connection)
                add_exposures(connection, new)
                put_exposures(connection, crossed)
                note_looked(connection, end)
        self._after = end
        if end >= until:
            self._until = None
        return end < until

    def _starts(self) -> bool:
        """Whether a pass is due: twice a minute by the service's clock or by the machine's (a simulated one leaps)."""
        until = self._clock.now() - BEHIND
        if self._after is not None:
            waited = abs(until - self._after) < EVERY and monotonic() - self._passed < EVERY.total_seconds()
            if waited:
                return False
            if self._brought_in() > self._brought:
                self._brought, self._after = self._brought_in(), self._after - LATE
        self._until, self._passed = until, monotonic()
        return True

    def _looked(self, connection: Connection) -> datetime:
        """Up to when decisions were looked at. A home that never measured begins with this process: what customers did
        of whom it decided before was not kept. By a clock that was ahead nobody of now would be looked at."""
        if self._after is None:
            self._after = looked_until(connection) or self._began
        if self._after > self._clock.now() + CLOCKS_APART:
            self._after = self._clock.now() - LATE
        return self._after

    def _exposures(
        self, connection: Connection, rows: Sequence[Any], tests: Mapping[str, Experiment]
    ) -> list[Exposure]:
        """Each customer's, by their first decision at a placement, of those decisions that are for now."""
        first: dict[tuple[str, str], Any] = {}
        for row in rows:
            test = tests.get(row.placement)
            if test is None or row.arm not in test.plan.variants:
                continue
            if test.starts_at is None or row.decided_at >= test.starts_at:
                first.setdefault((row.placement, row.customer_id), row)
        candidates = candidates_stored(connection, [row.decision_id for row in first.values()])
        before = self._before(connection, tests, list(first.values()))
        return [
            Exposure(tests[placement].id, customer, row.arm, row.decided_at, before.get((placement, customer)))
            for (placement, customer), row in first.items()
            if not of_another_time(candidates[row.decision_id])
        ]

    def _before(self, connection: Connection, tests: Mapping[str, Experiment], rows: Sequence[Any]) -> _Before:
        """What was so before the first of all decisions at a placement; what came since is the arms' doing.

        It is known of who took part by other shares, and of those decided for the first time; of others, who were
        decided for before anything was measured, it is not.
        """
        known: _Before = {key: one.covariate for key, one in _former(connection, rows).items()}
        new = [row for row in rows if (row.placement, row.customer_id) not in known]
        decided = first_decided(connection, sorted({row.customer_id for row in new}))
        for row in new:
            key, feature = (row.placement, row.customer_id), tests[row.placement].covariate
            if (
                self._covariate is not None
                and feature is not None
                and row.decided_at <= decided.get(key, row.decided_at)
            ):
                known[key] = self._covariate(row.customer_id, feature, row.decided_at)
        return known

    def _settle(self, connection: Connection) -> None:
        """Tests of other shares, or by another seed, than the settings' ended as this process began; the next began."""
        for placement, test in _running(connection).items():
            row = self._row(placement, placement_and_number(test.id)[1] + 1)
            following = None if row is None else experiment_from(row)
            if following is not None and same_test(test, following):
                continue
            self._end(connection, test)
            if row is not None:
                save_experiment(connection, row)

    def _begin_missing(self, connection: Connection, rows: Sequence[Any], tests: dict[str, Experiment]) -> None:
        for placement in sorted({row.placement for row in rows}.difference(tests)) if self._begins else ():
            if not self._new(connection, placement, tests):
                self._left_out.add(placement)

    def _new(self, connection: Connection, placement: str, tests: dict[str, Experiment]) -> Experiment | None:
        """A new test at a placement that has none; None where there is nothing to compare."""
        former = _newest(standing_tests(connection)).get(placement)
        number = 0 if former is None else placement_and_number(former.id)[1] + 1
        row = self._row(placement, number)
        if row is None:
            return None
        if len(tests) >= MOST:
            log.warning("more than %d placements are decided for: what %r brings is not measured", MOST, placement)
            return None
        save_experiment(connection, row)
        tests[placement] = experiment_from(row)
        return tests[placement]

    def _row(self, placement: str, number: int) -> dict[str, Any] | None:
        shares = self._rules.shares(placement)
        if not compares(shares):
            return None
        return stored_test(placement, number, shares, self._days, self._began, self._rules.seed_name)

    def _end(self, connection: Connection, test: Experiment) -> None:
        stored = find_experiment(connection, test.id, lock=True)
        if stored is not None:
            definition = {**stored["definition"], "status": "stopped"}
            save_experiment(connection, {**stored, "definition": definition, "stopped_at": self._began})


def _running(connection: Connection) -> dict[str, Experiment]:
    return {name: test for name, test in _newest(standing_tests(connection)).items() if test.status == "running"}


def _newest(tests: Sequence[Experiment]) -> dict[str, Experiment]:
    """By placement the test that takes in now."""
    found: dict[str, Experiment] = {}
    for test in sorted(tests, key=lambda test: placement_and_number(test.id)[1]):
        found[placement_and_number(test.id)[0]] = test
    return found


def _former(connection: Connection, rows: Sequence[Any]) -> dict[tuple[str, str], Exposure]:
    """By placement and customer of these decisions the first exposure in an earlier test of the placement."""
    placements = {test.id: placement_and_number(test.id)[0] for test in standing_tests(connection)}
    asked = {row.placement for row in rows}
    tests = [test_id for test_id, placement in placements.items() if placement in asked]
    found: dict[tuple[str, str], Exposure] = {}
    for exposure in find_exposures(connection, {row.customer_id for row in rows}, tests):
        key = placements[exposure.experiment_id], exposure.customer_id
        if key not in found or exposure.at < found[key].at:
            found[key] = exposure
    return found


def _crossed(found: Sequence[tuple[Exposure, datetime]], tests: Mapping[str, Experiment]) -> list[Exposure]:
    """Those who came into another arm (a visitor who became known) while what they do counts for their first one."""
    windows = {test.id: test.metric.window for test in tests.values()}
    counted = [exposure for exposure, at in found if at - exposure.at < windows[exposure.experiment_id]]
    return list({(one.experiment_id, one.customer_id): replace(one, crossed=True) for one in counted}.values())


def _ids(tests: Mapping[str, Experiment]) -> dict[str, str]:
    return {placement: test.id for placement, test in tests.items()}

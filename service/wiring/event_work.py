"""What is done with events: their effects in every slice, the chores between them, and the loop that does both."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from features.rows import OnlineFeatures
from service.clock import Clock, SystemClock, monotonic
from service.customers.customer_store import customer_ids, those_there
from service.customers.erase_customer import CustomerEraser
from service.customers.forget_visitors import ForgetVisitors
from service.customers.join_histories import JoinHistories
from service.customers.keep_refunds import keep_refunds
from service.customers.link_identities import LinkedIdentities
from service.customers.update_customers import update_customers
from service.decisions.attribute_outcomes import AttributeOutcomes
from service.decisions.delivered_before import delivered_before
from service.decisions.enrol_decided import EnrolDecided
from service.decisions.read_decision import kept_of
from service.decisions.rules import RuleBook
from service.decisions.unknown_decisions import count_unknown_decisions
from service.decisions.withdraw_clicks import withdraw_clicks
from service.events.apply_events import Applier
from service.events.flush_events import Flusher
from service.events.ports import Handler
from service.events.rebuild_features import QueueOutdated, RebuildFeatures
from service.events.rebuild_store import ask_rebuild
from service.events.refill_store import RefillStore
from service.events.run_events import Chore, EventsRunner
from service.experiments.assign_customer import Covariate
from service.experiments.record_outcomes import apply_outcomes, withdraw_outcomes
from service.journeys.enrolment_store import of_customers as enrolments_of
from service.journeys.wake_journeys import wake_handler
from service.loops import Loop
from service.storage.database import Connection, Database
from service.storage.heartbeats import beat
from service.wiring.ground import Ground
from service.wiring.offer_features import FeatureFeed

_READ_BACK = timedelta(hours=1)
"""How far back `OnlineFeatures.read` is exact."""
_EVENTS_EVERY_S = 0.2
_BEAT_EVERY_S = 2.0


@dataclass(frozen=True)
class EventWork:
    """The parts that work on events; commands use some of them alone."""

    covariate: Covariate
    handlers: Sequence[Handler]
    identities: LinkedIdentities
    join_histories: JoinHistories
    rebuild_features: RebuildFeatures
    enrol: EnrolDecided
    runner: EventsRunner
    loop: Loop


def put_event_work_together(
    ground: Ground, eraser: CustomerEraser, brought_in: Callable[[], int], bring_in: Callable[[], None]
) -> EventWork:
    """`bring_in` is done before each pass, so that events find the decisions that they belong to; `brought_in` tells
    how many decisions it brought so far.
    """
    settings, database, clock = ground.settings, ground.database, ground.clock
    lease, log = ground.lease, ground.event_log
    identities = LinkedIdentities()
    covariate = _covariate(ground.online, clock)
    days = settings.decisions.impact_days
    enrol = EnrolDecided(database, clock, lease, RuleBook(settings), days, covariate, brought_in)
    join_histories = JoinHistories(database, log, lease, ground.online, clock)
    rebuild_features = RebuildFeatures(database, log, clock, lease, ground.online)
    feed = FeatureFeed(database, ground.online, ground.offers_online, log.buckets)
    handlers = _handlers(ground, enrol, covariate)
    applier = Applier(
        database,
        clock,
        lease,
        handlers,
        feed,
        identities,
        _withdraw(log.buckets),
        _forget_strangers(database, ground.online),
        delivered_before,
    )
    chores: list[Chore] = [
        feed.take_up_catalogue,
        join_histories,
        eraser.finish_open,
        RefillStore(database, clock, lease, ground.online, customer_ids, those_there, ground.store_name, log.buckets),
        QueueOutdated(database, clock, lease, ground.online, ground.store_name, log.buckets),
        rebuild_features,
        enrol,
        ForgetVisitors(database, log, clock, lease, eraser, settings.retention.anonymous_days, [kept_of, _in_journeys]),
    ]
    runner = EventsRunner(applier, Flusher(database, log, clock, lease), lease, chores)

    def run_pass() -> bool:
        bring_in()
        return runner.run_pass()

    loop = Loop("events", _beating(database, clock, run_pass), _EVENTS_EVERY_S)
    return EventWork(covariate, handlers, identities, join_histories, rebuild_features, enrol, runner, loop)


def _handlers(ground: Ground, enrol: EnrolDecided, covariate: Covariate) -> tuple[Handler, ...]:
    """The effects of events, in their order."""
    clock = ground.clock
    return (
        lambda connection, events: update_customers(connection, events, clock.now()),
        keep_refunds,
        AttributeOutcomes(ground.catalogue, ground.settings.decisions.attribution_days),
        count_unknown_decisions,
        enrol.enrol_buyers,
        lambda connection, events: apply_outcomes(connection, events, clock.now(), covariate),
        wake_handler(clock),
    )


def _withdraw(buckets: int) -> Handler:
    """What is done about clicks that turned out to be a machine's: outcomes, counts, and the customers' features.

    Journeys that such a click moved on stay where they are.
    """

    def withdraw(connection: Connection, events: Sequence[Mapping[str, Any]]) -> None:
        withdraw_clicks(connection, events)
        withdraw_outcomes(connection, events)
        ask_rebuild(connection, (event["customer_id"] for event in events), buckets)

    return withdraw


def _forget_strangers(database: Database, online: OnlineFeatures) -> Callable[[Sequence[str]], None]:
    """What takes the features of those of some ids that are no customers (any more)."""

    def forget_strangers(ids: Sequence[str]) -> None:
        with database.read() as connection:
            there = those_there(connection, ids)
        for one in sorted(set(ids) - there):
            online.erase(one)

    return forget_strangers


def _in_journeys(connection: Connection, customer_ids: Sequence[str], since: datetime) -> set[str]:
    return {enrolment.customer_id for enrolment in enrolments_of(connection, customer_ids, since)}


def _beating(database: Database, clock: Clock, run_pass: Any) -> Any:
    """A pass that tells now and then that it is alive."""
    wall = SystemClock()
    last = [monotonic() - _BEAT_EVERY_S]

    def passed() -> bool:
        more = bool(run_pass())
        if monotonic() - last[0] >= _BEAT_EVERY_S:
            last[0] = monotonic()
            with database.write() as connection:
                beat(connection, "events", clock.now(), wall.now(), {})
        return more

    return passed


def _covariate(online: OnlineFeatures, clock: Clock) -> Covariate:
    """A feature's value before an exposure, for CUPED; None where it is not known.

    Nor is it for an exposure told later than rows can be read back: what followed it would pass for what was before.
    """

    def value(customer_id: str, feature: str, at: datetime) -> float | None:
        if at < clock.now() - _READ_BACK:
            return None
        row = online.read([customer_id], at)[0]
        found = None if row is None else row.values.get(feature)
        return found if found is not None and math.isfinite(found) else None

    return value

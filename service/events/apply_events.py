"""The applier: takes accepted events in order and makes their effects, once each, within a second.

An event's effects in the state and its mark are one transaction. Online features follow, at least once: they drop
repeated messages themselves. One process at a time does this, by a lease. An event whose effects keep failing is
set aside with the reason and never stops the rest.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence

from features.row_stores import StoreAway
from features.vocabulary import REPEATED
from service.clock import Clock, monotonic
from service.errors import Unavailable
from service.events.events_lease import EventsLease, LostLease
from service.events.inbox_store import (
    EFFECTS,
    FEATURES,
    anything_to_do,
    claim_ids,
    mark_applied,
    mark_features,
    of_customers,
    quarantine,
    remove,
    replace_rows,
    waiting,
    with_open_clicks,
    without_features,
)
from service.events.machine import is_click
from service.events.machine_together import is_delivery, is_honeypot, judge_together
from service.events.orders import order_key, told_before
from service.events.ports import DeliveredAt, Event, Features, Handler, Identities, NoIdentities
from service.events.quality_store import API, add_counts
from service.events.tally import by_machines, tally
from service.storage.database import Connection, Database

log = logging.getLogger(__name__)

MOST_AT_ONCE = 500
FEWEST_AT_ONCE, HOLD_S = 20, 0.025
"""Effects of events are made in transactions of about so long: on SQLite decisions wait for who writes."""
FEWEST_ON_POSTGRES, HOLD_ON_POSTGRES_S = 50, 0.25
"""There they do not. A transaction has some 25 statements however many events are in it, and waits for the network at
each: with 20 events it takes nearly as long as with 200.
"""
BESIDE = 2_000
"""Events of the inbox, the newest, beside which a portion's clicks are looked at."""
TRIES = 3
NOT_ITS_FAULT = (LostLease, Unavailable, StoreAway)
"""Failures for which no event is set aside, however often they come."""


class Applier:
    """Makes the effects of waiting events. `run_pass` is for one loop; it is not re-entrant."""

    def __init__(
        self,
        database: Database,
        clock: Clock,
        lease: EventsLease,
        handlers: Sequence[Handler],
        features: Features | None = None,
        identities: Identities | None = None,
        withdraw: Handler = lambda connection, events: None,
        forget_strangers: Callable[[Sequence[str]], object] = lambda customer_ids: None,
        delivered_at: DeliveredAt = lambda connection, clicks: {},
    ) -> None:
        """`withdraw` takes back what earlier clicks did that turn out to be a machine's; `forget_strangers` takes the
        features of those of these ids that are no customers (any more); `delivered_at` says of clicks, by message id,
        when their messages were delivered, whose events may have left the inbox.
        """
        self._database = database
        self._clock = clock
        self._handlers = tuple(handlers)
        self._features = features
        self._identities = identities or NoIdentities()
        self._lease = lease
        self._withdraw = withdraw
        self._forget_strangers = forget_strangers
        self._delivered_at = delivered_at
        self._failures: Counter[tuple[str, str]] = Counter()
        here = (HOLD_S, FEWEST_AT_ONCE) if database.is_sqlite else (HOLD_ON_POSTGRES_S, FEWEST_ON_POSTGRES)
        self._hold_s, self._fewest = here
        self._at_once = self._fewest

    def run_pass(self) -> int:
        """Applies what waits, of about `MOST_AT_ONCE` events at most; returns how many it took up."""
        with self._database.read() as connection:
            if not anything_to_do(connection):
                return 0
        try:
            applied = self._apply_waiting()
            try:
                return max(applied, self._feed_features())
            except StoreAway:  # effects need no store, and after this failure there is a pause
                while applied >= MOST_AT_ONCE:
                    applied = self._apply_waiting()
                raise
        except LostLease:
            return 0

    def drain(self) -> None:
        """Applies everything that can be applied now."""
        while self.run_pass():
            pass

    def _apply_waiting(self) -> int:
        """Portion after portion; others have their turn in between."""
        applied = 0
        while applied < MOST_AT_ONCE:
            portion = self._at_once
            taken = self._apply_portion(portion)
            applied += taken
            if taken < portion:
                break
        return applied

    def _apply_portion(self, portion: int) -> int:
        try:
            return self._apply(lambda connection: waiting(connection, portion))
        except NOT_ITS_FAULT:
            raise
        except Exception:
            log.exception("the effects of a portion of events failed; each is tried by itself")
        with self._database.read() as connection:
            events = waiting(connection, portion)
        for event in events:
            self._try_alone(event, EFFECTS)
        return len(events)

    def _apply(self, choose: Callable[[Connection], list[Event]]) -> int:
        with self._database.write() as connection:
            began = monotonic()
            self._lease.hold(connection)
            events = choose(connection)
            if not events:
                return 0
            replace_rows(connection, self._identities.give_owners(connection, events))
            replace_rows(connection, self._orders_told_again(connection, events))
            self._look_again(connection, events)
            for handler in self._handlers:
                handler(connection, events)
            add_counts(connection, API, tally(events))
            mark_applied(connection, [event["seq"] for event in events], self._clock.now())
            self._at_once = portion_after(self._at_once, len(events), monotonic() - began, self._hold_s, self._fewest)
        return len(events)

    def _orders_told_again(self, connection: Connection, events: list[Event]) -> list[Event]:
        """Renames orders that another message told before; returns those."""
        keys = {place: key for place, event in enumerate(events) if (key := order_key(event)) is not None}
        fresh = claim_ids(connection, set(keys.values()), self._clock.now())
        again = [events[place] for place in told_before(keys, fresh)]
        for event in again:
            event["event"] = REPEATED
        return again

    def _look_again(self, connection: Connection, events: list[Event]) -> None:
        """Tags clicks that stand out as a machine's beside what else is known of their messages, earlier ones too.

        A delivery may be told after the click: then it is the delivery that shows how soon the click came; so with a
        honeypot that is followed after it. What waits behind these events has had no effects that could be taken back.
        """
        clicks = [event for event in events if event["machine"] is False and is_click(event["event"])]
        clicked = {event["customer_id"] for event in clicks}
        told = {event["customer_id"] for event in events if is_delivery(event) or is_honeypot(event)} - clicked
        if told:
            clicked |= with_open_clicks(connection, told, BESIDE)
        if not clicked:
            return
        seqs = {event["seq"]: event for event in events}
        beside = {event["seq"]: event for event in of_customers(connection, sorted(clicked), BESIDE)}
        known = beside | seqs
        reasons = judge_together(known.values(), self._delivered_at(connection, clicks))
        changed = [event for event in known.values() if event["machine"] is False and event["message_id"] in reasons]
        for event in changed:
            event["machine"], event["machine_reason"] = True, reasons[event["message_id"]]
        replace_rows(connection, changed)
        earlier = [event for event in changed if event["seq"] < events[0]["seq"]]
        if earlier:
            self._withdraw(connection, earlier)
            add_counts(connection, API, by_machines(earlier))

    def _feed_features(self) -> int:
        with self._database.read() as connection:
            events = without_features(connection, MOST_AT_ONCE)
        if not events:
            return 0
        try:
            self._feed(events)
        except NOT_ITS_FAULT:
            raise
        except Exception as failure:
            log.exception("the features of a portion of events failed; each is tried by itself")
            self._feed_singly(events, failure)
        return len(events)

    def _feed(self, events: list[Event]) -> None:
        if not self._lease.held_lately():
            self._lease.claim()
        if self._features is not None:
            self._features.apply(events)
        try:
            with self._database.write() as connection:
                self._lease.hold(connection)
                mark_features(connection, [event["seq"] for event in events], self._clock.now())
        except LostLease:  # who was erased while we stood still has a row again
            self._forget_strangers(sorted({event["customer_id"] for event in events}))
            raise

    def _feed_singly(self, events: list[Event], failure: Exception) -> None:
        """When every event fails, the store is down and no event is to blame: the failure goes up and all wait."""
        failed = [event for event in events if not self._try_alone(event, FEATURES, blame=len(events) == 1)]
        if len(failed) == len(events):
            raise failure
        for event in failed:
            self._blame(event, FEATURES, "failed beside events that went well")

    def _try_alone(self, event: Event, stage: str, blame: bool = True) -> bool:
        try:
            if stage == FEATURES:
                self._feed([event])
            else:
                self._apply(lambda _: [event])
        except NOT_ITS_FAULT:
            raise
        except Exception as failure:
            log.info("event %s failed at %s: %r", event["message_id"], stage, failure)
            if blame:
                self._blame(event, stage, repr(failure))
            return False
        self._failures.pop((stage, event["message_id"]), None)
        return True

    def _blame(self, event: Event, stage: str, reason: str) -> None:
        key = (stage, event["message_id"])
        self._failures[key] += 1
        if self._failures[key] < TRIES:
            return
        with self._database.write() as connection:
            self._lease.hold(connection)
            now = self._clock.now()
            quarantine(connection, event, stage, reason, now)
            if stage == EFFECTS:
                remove(connection, [event["seq"]])
            else:
                mark_features(connection, [event["seq"]], now)
        del self._failures[key]
        log.error("event %s was set aside after %d tries at %s: %s", event["message_id"], TRIES, stage, reason)


def portion_after(at_once: int, taken: int, took_s: float, hold_s: float = HOLD_S, fewest: int = FEWEST_AT_ONCE) -> int:
    """How many events to take next, after some took so long; at most twice as many as before."""
    fitting = int(hold_s * taken / max(took_s, 1e-6))
    return max(fewest, min(fitting, 2 * at_once, MOST_AT_ONCE))

"""After two ids became one: the event log and the online features follow."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from features.vocabulary import REPEATED
from service.clock import Clock, SystemClock
from service.customers.identity_store import finish_merges, read_merges
from service.events.events_lease import EventsLease
from service.events.inbox_store import claim_ids, of_customers, replace_rows
from service.events.orders import key_of, order_key
from service.events.rebuild_features import made_again_if_late
from service.events.rebuild_store import ask_rebuild, note_changed
from service.storage.database import Database

if TYPE_CHECKING:
    import polars as pl

    from features.event_log import EventLog

_AT_ONCE, _LOOKED_THROUGH = 1_000, 64_000
"""Merges of one turn, and how many are looked through for those that share a bucket of the log: its files are read and
written once for all of them, and events wait for no other bucket's.
"""


_MADE_AT_ONCE = 100
"""Owners whose features are made in the same turn; of more, they are asked for, and made some at a time."""


class Rebuildable(Protocol):
    """The part of the online features that joining and erasing need."""

    def rebuild_all(self, customer_ids: Sequence[str], events: pl.DataFrame) -> None: ...

    def erase(self, customer_id: str) -> None: ...


class JoinHistories:
    """A chore of the events loop. Safe to repeat: a merge is forgotten only when all of it is done."""

    def __init__(
        self,
        database: Database,
        event_log: EventLog,
        lease: EventsLease,
        features: Rebuildable | None,
        clock: Clock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._database = database
        self._log = event_log
        self._features = features
        self._lease = lease

    def __call__(self) -> bool:
        with self._database.read() as connection:
            if not read_merges(connection, 1):
                return False
        self._lease.claim()
        with self._database.read() as connection:
            merges = self._of_one_bucket(read_merges(connection, _LOOKED_THROUGH))
        self._log.reassign(merges, self._lease.keep)
        owners = set(merges.values())
        orders = self._name_told_again(owners)
        later = set[str]()
        if self._features is not None:
            later = owners if len(owners) > _MADE_AT_ONCE else later
            self._make_features(self._features, merges, owners - later)
        with made_again_if_late(self._database, owners, self._log.buckets), self._database.write() as connection:
            self._lease.hold(connection)
            ask_rebuild(connection, later, self._log.buckets)
            finish_merges(connection, merges)
            claim_ids(connection, orders, self._clock.now())
            note_changed(connection, owners, self._clock.now())
        return True

    def _make_features(self, features: Rebuildable, merges: Mapping[str, str], owners: set[str]) -> None:
        """Forgets those of the former ids; makes those of these owners."""
        from features.tables import EVENTS

        features.rebuild_all(sorted(merges), EVENTS.empty())
        for some in self._by_bucket(owners):
            events = self._events(some)
            self._lease.keep()  # of a large log each bucket takes a while, together more than a lease
            features.rebuild_all(some, events)

    def _name_told_again(self, owners: set[str]) -> set[str]:
        """Names the orders so that were told under both ids; the keys of the log's that may come again."""
        import polars as pl

        from features.event_log import bucket_of
        from features.repeated_orders import WITHIN, orders_among, orders_of, told_again

        since, late = self._clock.now() - WITHIN, set[str]()
        for bucket in sorted({bucket_of(owner, self._log.buckets) for owner in owners}):
            orders = orders_of(self._log, bucket, customers=owners)
            with self._database.write() as connection:
                self._lease.hold(connection)
                held = of_customers(connection, sorted(set(orders["customer_id"])))
                held = [event for event in held if order_key(event) is not None]
                again = set(told_again(pl.concat([orders, orders_among(held)]))["message_id"])
                again_held = [event for event in held if event["message_id"] in again]
                replace_rows(connection, [{**event, "event": REPEATED} for event in again_held])
            if again:
                self._log.rename(bucket, again, REPEATED)
            recent = orders.filter(pl.col("received_at") >= since)
            late.update(key_of(*row) for row in recent.select("customer_id", "order_id").iter_rows())
        return late

    def _by_bucket(self, owners: Iterable[str]) -> Iterable[list[str]]:
        from features.event_log import bucket_of

        found: dict[int, list[str]] = {}
        for owner in sorted(owners):
            found.setdefault(bucket_of(owner, self._log.buckets), []).append(owner)
        return found.values()

    def _of_one_bucket(self, merges: Mapping[str, str]) -> dict[str, str]:
        from features.event_log import bucket_of

        if not merges:
            return {}
        bucket = bucket_of(next(iter(merges)), self._log.buckets)
        some = ((alias, owner) for alias, owner in merges.items() if bucket_of(alias, self._log.buckets) == bucket)
        return dict(islice(some, _AT_ONCE))

    def _events(self, customer_ids: Sequence[str]) -> pl.DataFrame:
        """All events of these customers that features have seen; the others reach them by the applier."""
        import polars as pl

        from service.events.frame import events_frame

        logged = self._log.scan(customer_ids=customer_ids).collect()
        with self._database.read() as connection:
            held = of_customers(connection, customer_ids, fed=True)
        known = set(logged["message_id"])
        return pl.concat([logged, events_frame([event for event in held if event["message_id"] not in known])])

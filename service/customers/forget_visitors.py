"""Visitors who never said who they are, and have not come for long, are forgotten: else there are more every day.

Whoever is, or may be, a customer stays: identified, joined with another id, with a trait, an order, an answer about
consent, a channel that is stopped, or in a journey. A portion is of one bucket, whose files are then written once. The
log and the features go first, the state last: who is killed in between finds them again. Who comes back meanwhile is a
newcomer, and keeps what is new.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from service.clock import Clock, monotonic
from service.customers.customer_store import named_elsewhere, profiles_after, read_profiles
from service.customers.erase_customer import CustomerEraser
from service.customers.profile import Profile
from service.events.events_lease import EventsLease
from service.events.inbox_store import held_of
from service.storage.database import Connection, Database, slices

if TYPE_CHECKING:
    from features.event_log import EventLog

log = logging.getLogger(__name__)
Kept = Callable[[Connection, Sequence[str], datetime], Collection[str]]
"""Those of these ids that another slice knows to be in use, or was asked about since a time."""
LOOKED_AT, PORTION, AT_ONCE = 1_000, 200, 5
"""Profiles that are read, visitors whose files are written, and visitors who go in one transaction."""
FIRST_AFTER_S, EVERY_S = 600.0, 86_400.0
REST = 9.0
"""Times as long as a portion took until the next one: events wait meanwhile."""


class ForgetVisitors:
    """A chore of the events loop, which tells no sooner turn: a page of profiles, or a portion, at each."""

    def __init__(
        self,
        database: Database,
        event_log: EventLog,
        clock: Clock,
        lease: EventsLease,
        eraser: CustomerEraser,
        days: float,
        kept: Sequence[Kept] = (),
    ) -> None:
        """`days`: how long a visitor must have been away; 0: nobody is forgotten."""
        self._database = database
        self._log = event_log
        self._clock = clock
        self._lease = lease
        self._eraser = eraser
        self._away = timedelta(days=days)
        self._kept = tuple(kept)
        self._after: str | None = ""
        self._found: dict[int, list[str]] = {}
        self._next = monotonic() + FIRST_AFTER_S

    def __call__(self) -> bool:
        if not self._away or monotonic() < self._next:
            return False
        before = self._clock.now() - self._away
        full = next((one for one, ids in self._found.items() if len(ids) >= PORTION or self._after is None), None)
        if full is not None:
            began, some = monotonic(), self._found.pop(full)
            self._forget(full, some, before)
            self._next = monotonic() + REST * (monotonic() - began)
        elif self._after is not None:
            self._look(before)
        else:
            self._after, self._next = "", monotonic() + EVERY_S
        return False

    def _look(self, before: datetime) -> None:
        from features.event_log import bucket_of

        with self._database.read() as connection:
            page = profiles_after(connection, self._after or "", LOOKED_AT)
        for profile in page:
            if may_be_forgotten(profile, before):
                bucket = bucket_of(profile.customer_id, self._log.buckets)
                self._found.setdefault(bucket, []).append(profile.customer_id)
        self._after = page[-1].customer_id if page else None

    def _forget(self, bucket: int, ids: Sequence[str], before: datetime) -> None:
        from features.forgotten import note_forgotten

        self._lease.claim()
        away = sorted(set(ids) - active_in(self._log, bucket, ids, before))
        with self._database.read() as connection:
            away = self._unneeded(connection, away, before)
        if not away:
            return
        note_forgotten(self._log.root, before)
        self._eraser.erase_files(away)
        gone = 0
        for some in slices(away, AT_ONCE):
            with self._database.write() as connection:
                self._lease.hold(connection)
                left = self._unneeded(connection, some, before, lock=True)
                self._eraser.forget(connection, left)
            gone += len(left)
        log.info("%d visitors who have not come since %s were forgotten", gone, f"{before:%Y-%m-%d}")

    def _unneeded(self, connection: Connection, ids: Sequence[str], before: datetime, lock: bool = False) -> list[str]:
        profiles = read_profiles(connection, ids, lock)
        asked = [one for one in ids if one in profiles and may_be_forgotten(profiles[one], before)]
        if not asked:
            return []
        stay = {*named_elsewhere(connection, asked), *held_of(connection, asked)}
        stay.update(*(kept(connection, asked, before) for kept in self._kept))
        return [one for one in asked if one not in stay]


def may_be_forgotten(profile: Profile, before: datetime) -> bool:
    """Whether somebody has told nothing of themselves, and nothing at all since a time. Pure."""
    told = profile.identified or profile.traits or profile.consents or profile.consent_times or not profile.profiling
    return not told and profile.first_seen < before and profile.updated_at < before


def active_in(event_log: EventLog, bucket: int, ids: Sequence[str], since: datetime) -> set[str]:
    """Those of these customers of a bucket who did, or told, anything since a time, or ever ordered or redeemed."""
    import polars as pl

    from features.vocabulary import NAMES

    bought = [name for name, meaning in NAMES.items() if meaning.verb in {"ordered", "redeemed"}]
    lately = (pl.col("timestamp") >= since) | (pl.col("received_at") >= since)
    found = event_log.scan(buckets=[bucket], customer_ids=ids, repeats=True)
    found = found.filter(lately | pl.col("event").is_in(bought))
    return set(found.select(pl.col("customer_id").unique()).collect()["customer_id"])

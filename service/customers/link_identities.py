"""An anonymous visitor becomes a known customer, or one id another: from now on, and for what was before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from features.vocabulary import REPEATED
from service.customers.customer_store import (
    delete_profiles,
    linked_after,
    move_consents,
    owners_of,
    queue_merge,
    read_profiles,
    set_owner,
    write_profiles,
)
from service.customers.profile import Profile, merge
from service.events.inbox_store import claim_ids, of_customers, rekey, replace_rows
from service.events.orders import order_key
from service.storage.database import Connection

Event = dict[str, Any]


class LinkedIdentities:
    """`service.events.ports.Identities` over the identities table.

    `identify` with an anonymous id, and `alias`, give that id's history to the user. An id that is another user's by
    now (a shared device) only points to the new user from then on, whichever of the two says so: its history, and what
    was refused under it, is the other's, and two people must not become one by the device that they share. `identify`
    with what is itself a user's id does nothing; an `alias` of it joins the two, refusals included.
    """

    def give_owners(self, connection: Connection, events: Sequence[Event]) -> list[Event]:
        claims = [event for event in events if _is_claim(event)]
        ids = {event["customer_id"] for event in events} | {event["anonymous_id"] for event in claims}
        owners = owners_of(connection, sorted(ids))
        if not claims and not owners:
            return []
        profiles = read_profiles(connection, [claim["anonymous_id"] for claim in claims])
        walk = _Walk(connection, owners, profiles)
        for event in events:
            walk.take(event)
        return list(walk.changed.values())

    def follow(self, connection: Connection, events: Sequence[Event]) -> None:
        """An owner had no other one when the events were given to him: who is linked for the first time is joined."""
        since = owners_of(connection, sorted({event["customer_id"] for event in events}))
        for former, owner in sorted(since.items()):
            queue_merge(connection, former, owner)
        for event in events:
            event["customer_id"] = since.get(event["customer_id"], event["customer_id"])


class _Walk:
    """One pass over a portion of events in order; what it learns holds for the events after."""

    def __init__(self, connection: Connection, owners: dict[str, str], profiles: dict[str, Profile]) -> None:
        self._connection = connection
        self._owners = owners
        self._led_here: dict[str, set[str]] = defaultdict(set)
        """The ids of each owner: `_owners` the other way round."""
        for known, owner in owners.items():
            self._led_here[owner].add(known)
        self._profiles = profiles
        self._earlier: dict[str, list[Event]] = defaultdict(list)
        self.changed: dict[int, Event] = {}

    def take(self, event: Event) -> None:
        if _is_claim(event):
            self._claim(event)
        else:
            self._own(event, self._owners.get(event["customer_id"]))
            self._earlier[event["customer_id"]].append(event)

    def _claim(self, event: Event) -> None:
        alias: str = event["anonymous_id"]
        user: str = event["customer_id"]
        owner = self._owners.get(user, user)
        self._own(event, owner if owner != user else None)
        self._earlier[owner].append(event)
        if alias == owner or self._owners.get(alias) == owner:
            return
        if alias in self._owners and linked_after(self._connection, alias, event["timestamp"]):
            return  # it came late; the device has changed hands since
        joins = event["type"] == "alias" or (alias not in self._owners and not self._is_user(alias))
        if joins:
            self._join(alias, owner, event["received_at"])
        elif self._is_user(alias):
            return
        set_owner(self._connection, alias, owner, event["timestamp"])
        for known in self._led_here.pop(alias, ()):
            self._lead(known, owner)
        self._lead(alias, owner)
        self._led_here[self._owners.pop(owner, "")].discard(owner)

    def _lead(self, known: str, owner: str) -> None:
        self._led_here[self._owners.get(known, "")].discard(known)
        self._owners[known] = owner
        self._led_here[owner].add(known)

    def _join(self, alias: str, owner: str, now: datetime) -> None:
        for earlier in self._earlier.pop(alias, []):
            self._own(earlier, owner)
            self._earlier[owner].append(earlier)
        theirs = self._profiles.pop(alias, None)
        if theirs is not None:
            join_profiles(self._connection, theirs, owner, now)
            queue_merge(self._connection, alias, owner)

    def _is_user(self, alias: str) -> bool:
        stored = self._profiles.get(alias)
        if stored is not None and stored.identified:
            return True
        return any(event["anonymous_id"] != alias for event in self._earlier.get(alias, ()))

    def _own(self, event: Event, owner: str | None) -> None:
        if owner is not None and owner != event["customer_id"]:
            event["customer_id"] = owner
            self.changed[id(event)] = event


def join_profiles(connection: Connection, theirs: Profile, owner: str, now: datetime) -> None:
    """Makes one profile of two, and gives the inbox's events and the record of consents to the owner."""
    mine = read_profiles(connection, [owner], lock=True).get(owner)
    mine = mine or Profile(owner, theirs.first_seen, theirs.updated_at, identified=True)
    merge(mine, theirs)
    write_profiles(connection, [mine])
    delete_profiles(connection, [theirs.customer_id])
    move_consents(connection, theirs.customer_id, owner)
    _name_told_again(connection, of_customers(connection, [theirs.customer_id], applied=True), owner, now)
    rekey(connection, theirs.customer_id, owner)


def _name_told_again(connection: Connection, events: Sequence[Event], owner: str, now: datetime) -> None:
    """Of two orders with the same `order_id` that one person told under two ids, the owner's counts."""
    keys = {event["seq"]: key for event in events if (key := order_key({**event, "customer_id": owner})) is not None}
    fresh = claim_ids(connection, keys.values(), now)
    again = [event for event in events if event["seq"] in keys and keys[event["seq"]] not in fresh]
    for event in again:
        event["event"] = REPEATED
    replace_rows(connection, again)


def _is_claim(event: Event) -> bool:
    alias = event["anonymous_id"]
    return event["type"] in {"identify", "alias"} and alias is not None and alias != event["customer_id"]

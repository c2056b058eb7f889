"""An anonymous visitor becomes a known customer, or one id another: from now on, and for what was before."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime
from operator import itemgetter
from typing import Any

from features.vocabulary import REPEATED
from service.customers.customer_store import (
    delete_profiles,
    identified_of,
    lock_profiles,
    move_consents,
    read_profiles,
    write_profiles,
)
from service.customers.identity_store import Link, led_on, linked_at, lock_joins, owners_of, queue_merges, set_owners
from service.customers.profile import Profile, merge
from service.events.inbox_store import claim_ids, of_customers, rekey, replace_rows
from service.events.orders import order_key, told_before
from service.storage.database import Connection, slices

Event = dict[str, Any]


class LinkedIdentities:
    """`service.events.ports.Identities` over the identities table.

    `identify` with an anonymous id, and `alias`, give that id's history to the user. An id that is another user's by
    now (a shared device) only points to the new user from then on, whichever of the two says so: its history, and what
    was refused under it, is the other's, and two people must not become one by the device that they share. `identify`
    with what is itself a user's id does nothing; an `alias` of it joins the two, refusals included.
    """

    def give_owners(self, connection: Connection, events: Sequence[Event]) -> list[Event]:
        if any(map(_is_claim, events)):
            lock_joins(connection)
        walk = _walk(connection, events)
        if walk.joins:
            join_profiles(connection, walk.joins)
            queue_merges(connection, [(join.alias_id, join.customer_id) for join in walk.joins])
        if walk.links:
            set_owners(connection, walk.links)
        return list(walk.changed.values())

    def foresee_owners(self, connection: Connection, events: Sequence[Event]) -> None:
        _walk(connection, events)

    def follow(self, connection: Connection, events: Sequence[Event]) -> None:
        """An owner had no other one when the events were given to him: who is linked for the first time is joined."""
        given = sorted({event["customer_id"] for event in events})
        lock_profiles(connection, given)  # who is being joined by another process at this moment is so before we look
        since = owners_of(connection, given)
        if since:
            queue_merges(connection, sorted(since.items()))
        for event in events:
            event["customer_id"] = since.get(event["customer_id"], event["customer_id"])


def _walk(connection: Connection, events: Sequence[Event]) -> _Walk:
    """Sets the events' owners; what is to be written stays in the walk."""
    claims = [event for event in events if _is_claim(event)]
    aliases = sorted({claim["anonymous_id"] for claim in claims})
    owners = owners_of(connection, sorted({*aliases, *(event["customer_id"] for event in events)}))
    walk = _Walk(owners, linked_at(connection, aliases), identified_of(connection, aliases))
    if claims or owners:
        for event in events:
            walk.take(event)
    return walk


class _Walk:
    """One pass over a portion of events in order; what it learns holds for the events after. Writes nothing."""

    def __init__(self, owners: dict[str, str], linked: dict[str, datetime], identified: dict[str, bool]) -> None:
        self._owners = owners
        self._led_here: dict[str, set[str]] = defaultdict(set)
        """The ids of each owner: `_owners` the other way round."""
        for known, owner in owners.items():
            self._led_here[owner].add(known)
        self._linked = linked
        self._identified = identified
        """Of who has a profile, whether it is a user's."""
        self._earlier: dict[str, list[Event]] = defaultdict(list)
        self.changed: dict[int, Event] = {}
        self.links: list[Link] = []
        self.joins: list[Link] = []
        """Those whose profiles and histories become one, too; `at` is when it was received."""

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
        event["joins"] = alias != owner and self._owners.get(alias) == owner
        if alias == owner or event["joins"]:
            return
        linked = self._linked.get(alias)
        if alias in self._owners and linked is not None and linked > event["timestamp"]:
            return  # it came late; the device has changed hands since
        anothers = alias in self._owners
        joins = event["type"] == "alias" or (not anothers and not self._is_user(alias))
        event["joins"] = joins and not anothers
        if joins:
            self._join(alias, owner, event["received_at"])
        elif self._is_user(alias):
            return
        self.links.append(Link(alias, owner, event["timestamp"]))
        self._linked[alias] = event["timestamp"]
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
        if self._identified.pop(alias, None) is not None:
            self._identified.setdefault(owner, True)
            self.joins.append(Link(alias, owner, now))

    def _is_user(self, alias: str) -> bool:
        if self._identified.get(alias, False):
            return True
        return any(event["anonymous_id"] != alias for event in self._earlier.get(alias, ()))

    def _own(self, event: Event, owner: str | None) -> None:
        if owner is not None and owner != event["customer_id"]:
            event["customer_id"] = owner
            self.changed[id(event)] = event


def join_profiles(connection: Connection, joins: Sequence[Link]) -> None:
    """Makes one profile of two, one join after the other, and gives the inbox's events and the records of consents to
    the owners.
    """
    ids = {name for join in joins for name in (join.alias_id, join.customer_id)}
    there = read_profiles(connection, ids, lock=True)
    written: dict[str, Profile] = {}
    for join in joins:
        theirs = there.pop(join.alias_id, None)
        if theirs is None:  # erased meanwhile
            continue
        mine = there.get(join.customer_id)
        mine = mine or Profile(join.customer_id, theirs.first_seen, theirs.updated_at, identified=True)
        merge(mine, theirs)
        there[join.customer_id] = written[join.customer_id] = mine
        written.pop(join.alias_id, None)
    write_profiles(connection, [profile for _, profile in sorted(written.items())])
    delete_profiles(connection, sorted(ids - there.keys()))
    owners, _ = led_on([(join.alias_id, join.customer_id) for join in joins], ())
    move_consents(connection, owners)
    _name_told_again(connection, owners, max(join.at for join in joins))
    rekey(connection, owners)


def _name_told_again(connection: Connection, owners: Mapping[str, str], now: datetime) -> None:
    """Of two orders with the same `order_id` that one person told under two ids, the owner's counts, else the first."""
    found = [event for some in slices(sorted(owners)) for event in of_customers(connection, some, applied=True)]
    events = {event["seq"]: event for event in sorted(found, key=itemgetter("seq"))}
    keys = {
        seq: key
        for seq, event in events.items()
        if (key := order_key({**event, "customer_id": owners[event["customer_id"]]})) is not None
    }
    again = told_before(keys, claim_ids(connection, set(keys.values()), now))
    replace_rows(connection, [{**events[seq], "event": REPEATED} for seq in again])


def _is_claim(event: Event) -> bool:
    alias = event["anonymous_id"]
    return event["type"] in {"identify", "alias"} and alias is not None and alias != event["customer_id"]

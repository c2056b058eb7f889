"""What the event slice asks of others; wiring gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from service.storage.database import Connection

Event = dict[str, Any]
Handler = Callable[[Connection, Sequence[Mapping[str, Any]]], None]
"""Makes the effects of events (EVENTS-shaped, in order) inside the transaction that marks them applied."""


class Identities(Protocol):
    """Who an anonymous visitor or a former id is."""

    def link(self, connection: Connection, events: Sequence[Event]) -> None:
        """Learns from identify and alias events; queues the joining of earlier history."""

    def resolve(self, connection: Connection, customer_ids: Sequence[str]) -> Mapping[str, str]:
        """The present id of those that have another one now."""


class Features(Protocol):
    """The online features, as events reach them. Any order, repeats dropped, safe against kills."""

    def apply(self, events: Sequence[Mapping[str, Any]]) -> None: ...


class NoIdentities:
    """Nobody has a second id."""

    def link(self, connection: Connection, events: Sequence[Event]) -> None:
        return None

    def resolve(self, connection: Connection, customer_ids: Sequence[str]) -> Mapping[str, str]:
        return {}


def give_owners(identities: Identities, connection: Connection, events: Sequence[Event]) -> list[Event]:
    """Links what the events tell, then gives each event its present customer; returns the events that changed."""
    identities.link(connection, events)
    owners = identities.resolve(connection, list({event["customer_id"] for event in events}))
    changed = [event for event in events if event["customer_id"] in owners]
    for event in changed:
        event["customer_id"] = owners[event["customer_id"]]
    return changed

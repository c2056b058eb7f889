"""What the event slice asks of others; wiring gives it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

from service.storage.database import Connection

Event = dict[str, Any]
Handler = Callable[[Connection, Sequence[Mapping[str, Any]]], None]
"""Makes the effects of events (EVENTS-shaped, in order) inside the transaction that marks them applied."""
DeliveredAt = Callable[[Connection, Sequence[Mapping[str, Any]]], Mapping[str, Sequence[datetime]]]
"""When the messages of clicks were delivered, by the clicks' message ids."""


class Identities(Protocol):
    """Who an anonymous visitor or a former id is."""

    def give_owners(self, connection: Connection, events: Sequence[Event]) -> list[Event]:
        """Learns from identify and alias events and sets each event's `customer_id` to its present customer.

        Returns the events it changed; queues the joining of history from before.
        """

    def foresee_owners(self, connection: Connection, events: Sequence[Event]) -> None:
        """Sets each event's `customer_id` as `give_owners` would; writes nothing."""

    def follow(self, connection: Connection, events: Sequence[Event]) -> None:
        """Where an owner that was given became another customer since, gives these events to that one, with history."""


class Features(Protocol):
    """The online features, as events reach them. Any order, repeats dropped, safe against kills."""

    def apply(self, events: Sequence[Mapping[str, Any]]) -> object: ...


class NoIdentities:
    """Nobody has a second id."""

    def give_owners(self, connection: Connection, events: Sequence[Event]) -> list[Event]:
        return []

    def foresee_owners(self, connection: Connection, events: Sequence[Event]) -> None:
        return None

    def follow(self, connection: Connection, events: Sequence[Event]) -> None:
        return None

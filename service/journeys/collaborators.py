"""What the runner asks of the rest of the service; wiring gives it. Everything is asked for many customers at once."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from service.decisions.admit_messages import Outgoing
from service.decisions.hours import Planned
from service.decisions.verdicts import Failure
from service.storage.database import Connection

RecordEvents = Callable[[Connection, Sequence[Mapping[str, Any]], datetime], object]
"""(connection, Segment messages, now): into the inbox, in the caller's transaction, each once by its `messageId`."""


Copy = tuple[str, str, str | None]
"""Words about to be sent: of which variant and offer, chosen in which decision."""


@dataclass(frozen=True, slots=True)
class DecisionRequest:
    """One decision asked for. `key` names the visit of the step that asks; after a crash it may come again."""

    customer_id: str
    placement: str
    channels: tuple[str, ...]
    at: datetime
    key: str
    offers: tuple[str, ...] | None = None
    context: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clearance:
    """Whether a message may go out on a channel now: `against` is the reason why not, by its `rule`.

    `quiet_until` is the end of the quiet hours it is in. `to` is the address, where the channel needs one.
    """

    against: str | None = None
    quiet_until: datetime | None = None
    to: str | None = None
    rule: str | None = None


class Collaborators(Protocol):
    """All are called outside transactions, but for those that are given a `connection`, which write in the caller's.
    What they raise is tried again later, for each customer by itself.
    """

    default_zone: str

    def decide(self, requests: Sequence[DecisionRequest]) -> Sequence[Mapping[str, Any]]:
        """Decisions as `POST /v1/decisions` answers them, recorded, in the order of the requests."""
        ...

    def clear(self, customer_ids: Sequence[str], channel: str, placement: str, at: datetime) -> Mapping[str, Clearance]:
        """Consent, suppression, quiet hours, address: asked before each send. Who is left out may not be sent to."""
        ...

    def admit(self, messages: Sequence[Outgoing], at: datetime) -> Mapping[str, Failure]:
        """Asked at the last moment before each send: reserves its place, or names the rule against it, by its key."""
        ...

    def settle(self, connection: Connection, used: Sequence[Outgoing], unused: Sequence[Outgoing]) -> None:
        """Which of the messages admitted went out, and which did not."""
        ...

    def give_back(self, connection: Connection, decision_ids: Sequence[str]) -> None:
        """Frees what decisions reserved that are needed no more."""
        ...

    def copy_against(self, copies: Sequence[Copy]) -> Mapping[Copy, str]:
        """For each copy that must not be sent any more, why."""
        ...

    def zones(self, customer_ids: Sequence[str]) -> Mapping[str, str | None]:
        """IANA zones, None where not known."""
        ...

    def facts(self, customer_ids: Sequence[str], at: datetime) -> Mapping[str, Mapping[str, Any]]:
        """`{"traits", "segments", "features", "scores"}` of each, for branches."""
        ...

    def good_hour(self, customer_id: str, channel: str, start: datetime, end: datetime, key: str) -> Planned | None:
        """The best allowed time for a message, or for a small share another; None where none is known.

        `key` names the visit of the step that asks; the same one gets the same answer from the same knowledge.
        """
        ...

    def assign(self, experiment: str, customer_ids: Sequence[str], at: datetime) -> Mapping[str, str | None]:
        """Each one's arm, the exposure recorded; None: not in the experiment."""
        ...

    def change_segments(self, customer_ids: Sequence[str], add: str, remove: str | None, at: datetime) -> None:
        """Puts customers into a segment, and out of another."""
        ...

    def members_of(self, segment: str) -> Iterable[str]:
        """The customers in a segment, for journeys that a segment enters."""
        ...

    def unsubscribe_url(self, customer_id: str, channel: str) -> str | None:
        """The address `/u/{token}`."""
        ...

    def record_events(self, connection: Connection, messages: Sequence[Mapping[str, Any]], now: datetime) -> None:
        """Puts Segment messages into the inbox, each once by its `messageId`."""
        ...

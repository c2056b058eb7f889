"""What a channel is given, what it answers, and what every channel must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol


@dataclass(frozen=True, slots=True)
class Message:
    """One message to one customer. `key` names it for ever: the same key is the same message."""

    key: str
    channel: str
    customer_id: str
    created_at: datetime
    to: str | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    decision_id: str | None = None
    offer_id: str | None = None
    journey_id: str = ""
    step: str = ""
    unsubscribe_url: str | None = None
    payload: Mapping[str, Any] | None = None


State = Literal["sent", "failed", "retry", "unreachable", "uncertain"]


@dataclass(frozen=True, slots=True)
class SendResult:
    """How handing over ended.

    `sent`: taken. `failed`: refused for good. `retry`: refused for now, surely not taken. `unreachable`: the other
    side did not answer at all, or refuses us, so others will fare alike. `uncertain`: perhaps taken; never to be
    repeated blindly. `wait`: for how long the other side asked not to be tried again.
    """

    state: State
    detail: str = ""
    wait: timedelta = timedelta()


class Channel(Protocol):
    """`repeatable`: sending a key twice delivers it once. `parallel`: how many sends may run at once."""

    repeatable: bool
    parallel: int

    def send(self, message: Message) -> SendResult:
        """Hands one message over. Never raises for what the other side does."""
        ...

    def send_many(self, messages: Sequence[Message]) -> list[SendResult]:
        """Hands messages over in their order; as `send`, perhaps faster."""
        ...


class OneByOne:
    """`send_many` by `send`."""

    def send(self, message: Message) -> SendResult:
        raise NotImplementedError

    def send_many(self, messages: Sequence[Message]) -> list[SendResult]:
        return [self.send(message) for message in messages]

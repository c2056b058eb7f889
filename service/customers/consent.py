"""Whether a customer may be reached on a channel for a purpose. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARKETING, TRANSACTIONAL = "marketing", "transactional"

_STOPS = ("Unsubscribed", "Marked as Spam")
_STARTS = ("Resubscribed", "Subscribed")
_CHANNEL_WORDS = {"": None, "Email": "email", "SMS": "sms", "Push": "push", "Push Notification": "push", "Call": "call"}


def allowed(consents: Mapping[str, Any], channel: str, purpose: str = MARKETING, when_unknown: str = "allow") -> bool:
    """What the customer said for this channel and purpose; where nothing was said, `when_unknown` (allow or deny).

    Messages that a transaction needs are allowed until the customer says no to them.
    """
    said = consents.get(channel)
    answer = said.get(purpose) if isinstance(said, Mapping) else None
    if isinstance(answer, bool):
        return answer
    return purpose == TRANSACTIONAL or when_unknown == "allow"


def explain(consents: Mapping[str, Any], channel: str, purpose: str = MARKETING, when_unknown: str = "allow") -> str:
    """The verdict of `allowed` in words."""
    said = consents.get(channel)
    answer = said.get(purpose) if isinstance(said, Mapping) else None
    if isinstance(answer, bool):
        return f"{'agreed to' if answer else 'refused'} {purpose} by {channel}"
    verdict = "allowed" if allowed(consents, channel, purpose, when_unknown) else "not allowed"
    return f"said nothing on {purpose} by {channel}, which is {verdict} here"


def told_by(event: str | None, channel: str | None) -> tuple[str, bool] | None:
    """The channel and the answer (marketing or not) that an event's name tells; None for other events."""
    if event is None:
        return None
    for names, answer in ((_STOPS, False), (_STARTS, True)):
        for name in names:
            if event == name or event.endswith(f" {name}"):
                words = event[: -len(name)].strip()
                if words in _CHANNEL_WORDS:
                    return channel or _CHANNEL_WORDS[words] or "email", answer
    return None

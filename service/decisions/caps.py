"""Limits over the ledger: how much of a window is used, and when the next place comes free. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.decisions.case import DAY_US, PLANNED_US, PULLED, Entry, MessageCap
from service.decisions.windows import Window


@dataclass(frozen=True, slots=True)
class Full:
    """A limit that leaves no place: `used` of `max`; a place comes free at `until` (microseconds), or never."""

    used: int
    max: int
    words: str
    until: int | None


def full(entries: Sequence[Entry], most: int, within: Window, now: int) -> Full | None:
    """Whether `most` of the entries, all of which count, lie in the window; None while there is a place."""
    if len(entries) < most:
        return None
    held = [entry for entry in entries if within.since < entry.at < within.horizon and entry.holds(now)]
    if len(held) < most:
        return None
    ends = sorted(
        within.end_of(entry.at) if entry.expires is None else min(within.end_of(entry.at), entry.expires)
        for entry in held
    )
    return Full(len(ends), most, within.words, ends[len(ends) - most] if most > 0 else None)


def applies(cap: MessageCap, channel: str, placement: str) -> bool:
    """Whether a cap is about messages on this channel and placement.

    One over all channels does not stop those that the customer comes to, unless it is a placement's own.
    """
    if cap.placement is not None and cap.placement != placement:
        return False
    if cap.channel is None:
        return cap.placement is not None or channel not in PULLED
    return cap.channel == channel


def message_cap_full(
    messages: Sequence[Entry], cap: MessageCap, channel: str, placement: str, within: Window, now: int
) -> Full | None:
    """Whether this cap stops a message on `channel` in `placement`; `within` is its window.

    It counts the messages of its channel and placement; over all, those that went out.
    """
    if not applies(cap, channel, placement):
        return None
    if cap.placement is not None:
        messages = [entry for entry in messages if entry.placement == cap.placement]
    if cap.channel is not None:
        messages = [entry for entry in messages if entry.channel == cap.channel]
    elif cap.placement is None:
        messages = [entry for entry in messages if entry.channel not in PULLED]
    return full(messages, cap.max, within, now)


def excluded_until(
    entries: Sequence[Entry], offer_id: str, group: str, days: float, now: int
) -> tuple[str, int] | None:
    """The other offer of the group that was shown last in `days`, and until when it stands in the way; None: none."""
    length = round(days * DAY_US)
    found = [
        (entry.at + length if entry.expires is None else min(entry.at + length, entry.expires), entry.offer_id)
        for entry in entries
        if entry.impression
        and entry.group == group
        and entry.offer_id != offer_id
        and now - length < entry.at < now + PLANNED_US + length
        and entry.holds(now)
    ]
    return None if not found else (max(found)[1], max(found)[0])


def recent_messages(entries: Sequence[Entry], days: float, now: int) -> int:
    """Messages that went to the customer in the `days` before `now`, or are on their way."""
    since, until = now - round(days * DAY_US), now + PLANNED_US
    return sum(1 for e in entries if e.message and e.channel not in PULLED and since < e.at <= until and e.holds(now))

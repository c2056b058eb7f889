"""Sliding windows over the ledger: how much is used, and when the next place comes free. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.decisions.case import DAY_US, PULLED, Entry, MessageCap


@dataclass(frozen=True, slots=True)
class Full:
    """A limit that leaves no place: `used` of `max`; a place comes free at `until` (microseconds), or never."""

    used: int
    max: int
    per_days: float
    until: int | None


def full(entries: Sequence[Entry], counts: Callable[[Entry], bool], most: int, days: float, now: int) -> Full | None:
    """Whether `most` entries that count lie in the `days` before `now`; None while there is a place."""
    window = round(days * DAY_US)
    ends = [
        entry.at + window if entry.expires is None else min(entry.at + window, entry.expires)
        for entry in entries
        if counts(entry) and entry.at > now - window and entry.holds(now)
    ]
    if len(ends) < most:
        return None
    ends.sort()
    return Full(len(ends), most, days, ends[len(ends) - most] if most > 0 else None)


def message_cap_full(entries: Sequence[Entry], cap: MessageCap, channel: str, now: int) -> Full | None:
    """Whether this cap stops a message on `channel`. A cap over all channels does not count those one comes to."""
    if cap.channel is None:
        if channel in PULLED:
            return None
        return full(entries, lambda entry: entry.message and entry.channel not in PULLED, cap.max, cap.per_days, now)
    if cap.channel != channel:
        return None
    return full(entries, lambda entry: entry.message and entry.channel == channel, cap.max, cap.per_days, now)


def offer_cap_full(entries: Sequence[Entry], offer_id: str, most: int, days: float, now: int) -> Full | None:
    """Whether one customer has seen an offer as often as may be."""
    return full(entries, lambda entry: entry.impression and entry.offer_id == offer_id, most, days, now)


def recent_messages(entries: Sequence[Entry], days: float, now: int) -> int:
    """Messages that went to the customer, or are on their way, in the `days` before `now`."""
    since = now - round(days * DAY_US)
    return sum(1 for e in entries if e.message and e.channel not in PULLED and e.at > since and e.holds(now))

"""Limits over the ledger: how much of a window is used, and when the next place comes free. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from service.decisions.case import DAY_US, PULLED, Entry, MessageCap
from service.decisions.windows import Window


@dataclass(frozen=True, slots=True)
class Full:
    """A limit that leaves no place: `used` of `max`; a place comes free at `until` (microseconds), or never."""

    used: int
    max: int
    words: str
    until: int | None


def full(entries: Sequence[Entry], counts: Callable[[Entry], bool], most: int, within: Window, now: int) -> Full | None:
    """Whether `most` entries that count lie in the window; None while there is a place."""
    ends = [
        within.end_of(entry.at) if entry.expires is None else min(within.end_of(entry.at), entry.expires)
        for entry in entries
        if counts(entry) and entry.at > within.since and entry.holds(now)
    ]
    if len(ends) < most:
        return None
    ends.sort()
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
    entries: Sequence[Entry], cap: MessageCap, channel: str, placement: str, within: Window, now: int
) -> Full | None:
    """Whether this cap stops a message on `channel` in `placement`; `within` is its window."""
    return full(entries, _counted(cap), cap.max, within, now) if applies(cap, channel, placement) else None


def _counted(cap: MessageCap) -> Callable[[Entry], bool]:
    """What a cap counts: messages of its channel and placement; over all, those that went out."""
    channel, placement = cap.channel, cap.placement

    def counts(entry: Entry) -> bool:
        if not entry.message or (placement is not None and entry.placement != placement):
            return False
        if channel is None:
            return placement is not None or entry.channel not in PULLED
        return entry.channel == channel

    return counts


def offer_cap_full(entries: Sequence[Entry], offer_id: str, most: int, within: Window, now: int) -> Full | None:
    """Whether one customer has seen an offer as often as may be."""
    return full(entries, lambda entry: entry.impression and entry.offer_id == offer_id, most, within, now)


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
        and entry.at > now - length
        and entry.holds(now)
    ]
    return None if not found else (max(found)[1], max(found)[0])


def recent_messages(entries: Sequence[Entry], days: float, now: int) -> int:
    """Messages that went to the customer, or are on their way, in the `days` before `now`."""
    since = now - round(days * DAY_US)
    return sum(1 for e in entries if e.message and e.channel not in PULLED and e.at > since and e.holds(now))

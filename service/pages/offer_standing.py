"""Whether an offer can be shown now, and what keeps it back whoever the customer is. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

Standing = tuple[str, str, datetime | None]
"""How it looks ("good", "warn", "bad"), the words, and the time that belongs behind them."""


def standing_of(
    document: Mapping[str, Any], copy: Iterable[tuple[str, Iterable[str]]], now: datetime
) -> list[Standing]:
    """What stands in an offer's way, the strongest first; else that it runs, and until when.

    `copy`: the locales of approved copy, by channel.
    """
    starts, ends = _time(document.get("starts_at")), _end(document)
    written = {channel: list(locales) for channel, locales in copy}
    found: list[Standing] = []
    if ends is not None and ends <= now:
        found.append(("bad", "no: ended", ends))
    elif starts is not None and starts > now:
        found.append(("warn", "not yet: starts", starts))
    if document.get("priority") == 0:
        found.append(("bad", "no: switched off, its priority is 0", None))
    lacking = [channel for channel in document["channels"] if not written.get(channel)]
    if document["requires_approval"] and lacking:
        found.append(("warn", f"no approved copy for {', '.join(lacking)}", None))
    return found or [("good", "yes, until" if ends else "yes", ends)]


def _end(document: Mapping[str, Any]) -> datetime | None:
    """The offer stops at the earlier of both: nobody is promised what is over."""
    ends = [_time(document.get("ends_at")), _time((document.get("facts") or {}).get("ends_at"))]
    return min((one for one in ends if one is not None), default=None)


def _time(value: Any) -> datetime | None:
    return datetime.fromisoformat(value) if isinstance(value, str) else value

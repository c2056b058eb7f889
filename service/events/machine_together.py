"""Clicks that only stand out beside other events of their message: too soon after its delivery, of every link, or in
one go with a link that people do not see. Pure.

`machine.judge` sees one event; here are the rules that need several. Messages are told apart by decision, else
campaign, else offer, of one customer on one channel.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import orjson

from service.events.machine import FASTEST_HUMAN_CLICK_S, HONEYPOT, is_click

BURST = timedelta(seconds=10)
"""Scanners follow all links of a message within seconds."""
LINKS = 3
"""So many different links within a burst are every link, where the message's number of `links` is not told."""
Event = Mapping[str, Any]


def judge_together(events: Iterable[Event], delivered_at: Mapping[str, Sequence[datetime]] = {}) -> dict[str, str]:
    """Message ids of clicks that a machine made, with the reason: of events of any customers, in any order.

    `delivered_at`: what is known beside these events, by a click's message id, of when its message was delivered.
    """
    found: dict[str, str] = {}
    delivered: dict[Any, list[datetime]] = defaultdict(list)
    clicks: dict[Any, list[Event]] = defaultdict(list)
    for event in events:
        if is_delivery(event):
            delivered[_message(event)].append(event["timestamp"])
        elif _is_click(event) and not _declared_a_persons(event):
            clicks[_message(event)].append(event)
    for message, those in clicks.items():
        ordered = sorted(those, key=lambda click: click["timestamp"])
        found |= dict.fromkeys(_every_link(ordered), "every_link_clicked")
        found |= dict.fromkeys(_too_soon(ordered, delivered.get(message, ()), delivered_at), "click_within_5s")
        found |= dict.fromkeys(_beside_honeypots(ordered), "beside_honeypot")
    return found


def is_honeypot(event: Event) -> bool:
    """Whether a link was followed that people do not see."""
    return event["machine_reason"] == HONEYPOT and _is_click(event)


def is_delivery(event: Event) -> bool:
    """Whether the event tells that a message was delivered."""
    return event["type"] == "track" and bool(event["channel"]) and (event["event"] or "").endswith("Delivered")


def _is_click(event: Event) -> bool:
    return event["type"] == "track" and bool(event["channel"]) and is_click(event["event"] or "")


def _declared_a_persons(click: Event) -> bool:
    """Whether the sender says so (`properties.machine` false): what it knows wins, as in `machine.judge`."""
    told: str = click["properties"] or "{}"
    return '"machine"' in told and orjson.loads(told).get("machine") is False


def _message(event: Event) -> tuple[Any, ...]:
    told = event["decision_id"] or event["campaign_id"] or event["offer_id"]
    return event["customer_id"], event["channel"], told


def _too_soon(
    clicks: Sequence[Event], delivered: Sequence[datetime], delivered_at: Mapping[str, Sequence[datetime]]
) -> list[str]:
    soon = timedelta(seconds=FASTEST_HUMAN_CLICK_S)
    return [
        click["message_id"]
        for click in clicks
        if any(
            timedelta() <= click["timestamp"] - at < soon
            for at in (*delivered, *delivered_at.get(click["message_id"], ()))
        )
    ]


def _beside_honeypots(clicks: Sequence[Event]) -> list[str]:
    """The clicks of whoever followed a honeypot, which is no reward itself: those of a burst with it."""
    traps = [click["timestamp"] for click in clicks if is_honeypot(click)]
    return [
        click["message_id"]
        for click in clicks
        if not is_honeypot(click) and any(abs(click["timestamp"] - at) <= BURST for at in traps)
    ]


def _every_link(clicks: Sequence[Event]) -> set[str]:
    """Clicks of bursts that follow every link; `clicks` by time."""
    found: set[str] = set()
    for first, click in enumerate(clicks):
        burst = [one for one in clicks[first:] if one["timestamp"] - click["timestamp"] <= BURST]
        followed = {one["url"] for one in burst if one["url"]}
        if len(followed) >= _links(click):
            found |= {one["message_id"] for one in burst}
    return found


def _links(click: Event) -> int:
    """How many links are every link of the message: `properties.links` where it says so, at least 2."""
    told = orjson.loads(click["properties"] or "{}").get("links")
    return max(told, 2) if type(told) is int else LINKS

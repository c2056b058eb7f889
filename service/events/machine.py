"""Which opens and clicks a machine made: kept, tagged with the reason, left out of rewards. Pure rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

# A person needs this long to see a message and click in it; scanners follow links at once.
FASTEST_HUMAN_CLICK_S = 5.0
HONEYPOT = "honeypot"
"""The reason of who followed a link that people do not see."""

_ENGAGEMENT = re.compile(
    r"^(Email|SMS|Push|Web|Call|Webhook|In-App|Message|Offer)\b.*\b(Opened|Clicked|Tapped)$|^Link Clicked$"
)
_CLICK = re.compile(r"(Clicked|Tapped)$")
_PROXIES = (
    ("googleimageproxy", "image_proxy:google"),
    ("ggpht.com", "image_proxy:google"),
    ("yahoomailproxy", "image_proxy:yahoo"),
    ("yahoo! slurp", "image_proxy:yahoo"),
    ("cloudflare-", "relay:cloudflare"),
    ("barracuda", "scanner:barracuda"),
    ("mimecast", "scanner:mimecast"),
    ("proofpoint", "scanner:proofpoint"),
    ("safelinks", "scanner:microsoft"),
    ("bingpreview", "scanner:microsoft"),
    ("symantec", "scanner:symantec"),
    ("trendmicro", "scanner:trendmicro"),
    ("headlesschrome", "automation"),
    ("phantomjs", "automation"),
    ("python-requests", "automation"),
    ("python-httpx", "automation"),
    ("aiohttp", "automation"),
    ("curl/", "automation"),
    ("wget/", "automation"),
    ("go-http-client", "automation"),
)
_BOT = re.compile(r"(?:bot|crawler|spider|scanner|monitor(?:ing)?)(?:\b|/)", re.IGNORECASE)
# Apple Mail Privacy Protection and bare fetchers name a product without any platform behind it.
_BARE = re.compile(r"^Mozilla/\d\.\d$")


class Verdict(NamedTuple):
    """Whether a machine acted; the reason says by which rule."""

    machine: bool
    reason: str | None


HUMAN = Verdict(False, None)


def is_engagement(event: str) -> bool:
    """Whether the event is an open or a click of a message."""
    return _engagement(event)[0]


def is_click(event: str) -> bool:
    """Whether the event is a click in a message."""
    return _engagement(event)[1]


def judge(
    event: str, user_agent: Any, properties: Mapping[str, Any], at: datetime, delivered_at: datetime | None
) -> Verdict:
    """Judges an open or click.

    What the sender already knows wins (`properties.machine` true or false); then a HEAD request, a honeypot link,
    the user agent, and a click less than 5 s after the delivery (`delivered_at`, or
    `properties.seconds_since_delivery`).
    """
    declared = properties.get("machine")
    if type(declared) is bool:
        return Verdict(declared, "declared" if declared else None)
    method = properties.get("method")
    if type(method) is str and method.upper() == "HEAD":
        return Verdict(True, "head_request")
    if properties.get("honeypot") is True:
        return Verdict(True, HONEYPOT)
    by_agent = agent_reason(user_agent) if type(user_agent) is str else None
    if by_agent:
        return Verdict(True, by_agent)
    if _engagement(event)[1]:
        seconds = _seconds_since_delivery(properties, at, delivered_at)
        if seconds is not None and 0 <= seconds < FASTEST_HUMAN_CLICK_S:
            return Verdict(True, "click_within_5s")
    return HUMAN


@lru_cache(maxsize=8192)
def agent_reason(user_agent: str) -> str | None:
    """The rule by which a user agent is a machine's; None for a browser or mail program."""
    bare = user_agent.strip()
    if _BARE.match(bare):
        return "bare_agent"
    lowered = bare.lower()
    for mark, reason in _PROXIES:
        if mark in lowered:
            return reason
    return "bot_agent" if _BOT.search(bare) else None


@lru_cache(maxsize=1024)
def _engagement(event: str) -> tuple[bool, bool]:
    engaged = _ENGAGEMENT.match(event) is not None
    return engaged, engaged and _CLICK.search(event) is not None


def _seconds_since_delivery(properties: Mapping[str, Any], at: datetime, delivered_at: datetime | None) -> float | None:
    told = properties.get("seconds_since_delivery")
    if isinstance(told, int | float) and not isinstance(told, bool):
        return float(told)
    return None if delivered_at is None else (at - delivered_at).total_seconds()

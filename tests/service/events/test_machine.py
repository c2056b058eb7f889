"""Machine opens and clicks: every rule, and what is left to people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.events.machine import is_engagement, judge
from service.events.normalize import Rules, normalize

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
IPHONE = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"


@pytest.mark.parametrize(
    ("agent", "properties", "reason"),
    [
        ("Mozilla/5.0", {}, "bare_agent"),
        ("Mozilla/5.0 (Windows NT 5.1) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)", {}, "image_proxy:google"),
        ("YahooMailProxy; https://help.yahoo.com", {}, "image_proxy:yahoo"),
        ("Mozilla/5.0 (compatible; SomeBot/2.1)", {}, "bot_agent"),
        ("python-requests/2.31", {}, "automation"),
        (IPHONE, {"method": "HEAD"}, "head_request"),
        (IPHONE, {"honeypot": True}, "honeypot"),
        (IPHONE, {"seconds_since_delivery": 2}, "click_within_5s"),
        (IPHONE, {"machine": True}, "declared"),
    ],
)
def test_a_machine_is_known_by_a_rule(agent: str, properties: dict[str, Any], reason: str) -> None:
    assert judge("Email Link Clicked", agent, properties, NOW, None) == (True, reason)


@pytest.mark.parametrize(
    ("event", "agent", "properties"),
    [
        ("Email Opened", IPHONE, {}),
        ("Email Opened", None, {}),
        ("Email Opened", IPHONE, {"seconds_since_delivery": 2}),
        ("Email Link Clicked", IPHONE, {"seconds_since_delivery": 60}),
        ("Email Link Clicked", IPHONE, {"seconds_since_delivery": True}),
        ("Email Opened", "Mozilla/5.0", {"machine": False}),
    ],
)
def test_a_person_is_left_a_person(event: str, agent: Any, properties: dict[str, Any]) -> None:
    assert judge(event, agent, properties, NOW, None) == (False, None)


def test_a_click_is_measured_from_its_delivery() -> None:
    assert judge("SMS Link Clicked", IPHONE, {}, NOW, NOW - timedelta(seconds=4)).machine
    assert not judge("SMS Link Clicked", IPHONE, {}, NOW, NOW - timedelta(seconds=6)).machine


def test_only_opens_and_clicks_are_judged() -> None:
    assert is_engagement("Push Notification Tapped")
    assert not is_engagement("Application Opened")
    message = {"type": "track", "userId": "c", "event": "Email Opened", "context": {"userAgent": "Mozilla/5.0"}}
    row = normalize(message, Rules(), NOW)
    assert (row["machine"], row["machine_reason"]) == (True, "bare_agent")
    assert normalize({**message, "event": "Order Completed"}, Rules(), NOW)["machine"] is None

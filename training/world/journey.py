"""The world's winback journey, with an A/B test inside: the offer that is chosen, or one offer for everybody."""

from __future__ import annotations

from typing import Any

JOURNEY = "winback"
EXPERIMENT = "winback-offer"
PLACEMENT = "journey.winback"


def experiment() -> dict[str, Any]:
    """As `PUT /v1/experiments/winback-offer` takes it."""
    return {
        "name": "Winback: the chosen offer, or the same for everybody",
        "hypothesis": "The offer that fits the customer wins more of the lapsed back than one offer for all.",
        "variants": [{"key": "same", "weight": 0.5}, {"key": "chosen", "weight": 0.5}],
        "control": "same",
        "metric": {"event": "Order Completed", "kind": "conversion", "window_days": 10},
    }


def journey() -> dict[str, Any]:
    """As `PUT /v1/journeys/winback` takes it: test, decide, wait for a good hour, send, wait, branch, exit."""
    offer = {"kind": "decide", "placement": PLACEMENT, "channels": ["email"], "else": "peace"}
    return {
        "name": "Win back",
        "description": "One message at a good hour, and a second try by another channel for who did not answer.",
        "goal": {"event": "Order Completed", "within": "21d", "exit": False},
        "steps": [
            {
                "id": "test",
                "kind": "split",
                "experiment": EXPERIMENT,
                "arms": {"chosen": "choose", "same": "same"},
                "else": "choose",
            },
            {"id": "choose", **offer, "next": "hour"},
            {"id": "same", **offer, "offers": ["come-back"], "next": "hour"},
            {"id": "hour", "kind": "wait", "good_hour": {"channel": "email", "within": "1d"}},
            {"id": "write", "kind": "send", "else": "peace"},
            {
                "id": "answer",
                "kind": "wait",
                "event": {"name": ["clicked", "Order Completed"], "since": "delivery", "timeout": "3d"},
                "else": "choose-again",
            },
            {
                "id": "bought",
                "kind": "branch",
                "cases": [{"when": "customer.features.orders_7d >= 1", "next": "won"}],
                "else": "choose-again",
            },
            {"id": "choose-again", "kind": "decide", "placement": PLACEMENT, "channels": ["sms"], "else": "peace"},
            {"id": "remind", "kind": "send", "else": "peace"},
            {
                "id": "last-answer",
                "kind": "wait",
                "event": {"name": ["clicked", "Order Completed"], "since": "delivery", "timeout": "3d"},
                "next": "won",
                "else": "peace",
            },
            {"id": "won", "kind": "exit", "reason": "answered"},
            {"id": "peace", "kind": "exit", "reason": "no answer"},
        ],
    }

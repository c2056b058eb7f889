"""What decisions bring beside another arm, as plain sentences. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from features.currencies import CURRENCIES, in_units, minor_scale

ASKS = {
    "holdout": "What sending brings",
    "random": "What choosing brings",
    "business_as_usual": "What it brings beside business as usual",
}
"""What the model's arm tells beside another."""
_BESIDE = {
    "holdout": "sending nothing",
    "random": "choosing at random",
    "business_as_usual": "business as usual",
}
_HARM = {"unsubscribed": "unsubscribe", "complained": "complain of spam"}


def sentence_of(told: Mapping[str, Any], days: float, confidence: float, fewest: int) -> str:
    """A comparison (as `read_impact` tells it) as a sentence, with what it does to those who leave or complain."""
    beside = _BESIDE[told["against"]]
    if told["verdict"] == "withheld":
        return "The arms are not as large as their shares say: find out why before believing any difference."
    if told["verdict"] == "too few":
        return f"Too few customers yet to compare deciding with {beside}: each arm needs {fewest}."
    found, sure = told["revenue_per_customer"], f"with {confidence:.0%} confidence"
    if found is None:
        return f"Nobody has bought anything yet, in the model's arm or with {beside}."
    within = f"per customer within {days:g} days"
    if told["verdict"] == "open":
        main = (
            f"Not known yet whether deciding brings more than {beside}: {_signed(found['estimate'])} {within} so far, "
            f"and {sure} anything from {_signed(found['low'])} to {_signed(found['high'])} is possible."
        )
    else:
        low, high = sorted((abs(found["low"]), abs(found["high"])))
        main = (
            f"Deciding brings {_money(abs(found['estimate']))} {told['verdict']} {within} than {beside}; {sure}, "
            f"however often one looks, between {_money(low)} and {_money(high)}."
        )
    return main + "".join(_harm(told[name], verb, beside) for name, verb in _HARM.items())


def _harm(found: Mapping[str, float] | None, verb: str, beside: str) -> str:
    """More of those who leave, where that is sure."""
    if found is None or found["low"] <= 0:
        return ""
    return f" More customers {verb} than with {beside}: {found['estimate'] * 100:+.2f} points."


def _money(amount: float) -> str:
    return f"{in_units(amount * minor_scale(CURRENCIES.home), CURRENCIES.home)} {CURRENCIES.home}"


def _signed(amount: float) -> str:
    return f"{'-' if amount < 0 else '+'}{_money(abs(amount))}"

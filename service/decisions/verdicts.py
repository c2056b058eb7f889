"""What rules say: which of them fail, why, and until when. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any

from service.decisions.caps import Full
from service.decisions.case import from_microseconds

RULES = (
    "offer_channel",
    "placement_channel",
    "unchecked",
    "consent",
    "suppression",
    "cool_down",
    "frequency_cap",
    "not_started",
    "ended",
    "priority",
    "eligibility",
    "prerequisite",
    "offer_cap",
    "exclusion",
    "budget",
    "pacing",
)
"""Every rule, in the order in which the first that fails is named."""
LIST_RULES = ("business_rule", "diversity")
"""Rules of the ranker and of the list, which keep out what may go (as `exclusion` may: see `listing`)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A rule that says no: why, and until when, where that is known."""

    rule: str
    detail: str
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Failures of each channel and of each offer; a candidate fails by either. `pairs`: failures of one pair alone."""

    channels: Mapping[str, tuple[Failure, ...]]
    offers: Mapping[str, tuple[Failure, ...]]
    pairs: Mapping[tuple[str, str], tuple[Failure, ...]]
    closed: tuple[int, ...] | None = None
    """Positions of the offers that fail, where that was told already."""
    told: list[Sequence[Mapping[str, Any]]] = field(default_factory=list, compare=False, repr=False)
    """What an answer says of them, once it was said: see `eligibility.excluded`."""

    def of(self, offer_id: str, channel: str) -> tuple[Failure, ...]:
        """Every failure of one candidate, first the one to name."""
        both = (*self.channels[channel], *self.offers[offer_id], *self.pairs.get((offer_id, channel), ()))
        return both if len(both) < 2 else tuple(sorted(both, key=_to_name))


def first_of(failures: Sequence[Failure]) -> Failure:
    """The one to name, of at least one: by the first rule, that which lasts longest (of two caps, say)."""
    return failures[0] if len(failures) == 1 else min(failures, key=_to_name)


def _to_name(failure: Failure) -> tuple[int, float]:
    return RULES.index(failure.rule), -lasts(failure.until)


def lasts(until: datetime | None) -> float:
    """Until when a rule says no, to compare: what no time ends lasts longest."""
    return inf if until is None else until.timestamp()


def used_up(reached: Full, kind: str) -> str:
    return f"{reached.used} of {reached.max} {kind} {reached.words}"


def in_days(days: float) -> str:
    return "1 day" if days == 1 else f"{days:g} days"


def moment(at: int | None) -> datetime | None:
    return None if at is None else from_microseconds(at)


def in_words(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M UTC")

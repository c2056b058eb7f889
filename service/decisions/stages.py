"""Where an offer stands on its way from knowing nothing to the full model. Pure.

1. `rules`: rules decide who may get it, and what alike texts led to is all that is known of its chances
2. `pooled`: its own response rates, pooled with those of all offers, and exploration
3. `model`: enough impressions that the model may be trusted with it (and one serves)
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from math import ceil
from typing import Any

from service.decisions.case import DAY_US, microseconds

FEW = 50
"""Impressions under which an offer's own rate says next to nothing."""
ENOUGH = 1_000
"""Impressions from which the model is trusted with an offer."""
_KNOWN_BY = {
    "rules": "offers like it",
    "pooled": "its responses so far and those of other offers",
    "model": "the model",
}


@dataclass(frozen=True, slots=True)
class Stage:
    """`days_left` until `needed` impressions at the offer's own pace so far; None where it has none, or 0 there."""

    name: str
    impressions: int
    needed: int
    days_left: int | None
    text: str

    def as_json(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


def known_by(stage: str, model_serves: bool) -> str:
    """What an offer's chance is known by at a stage, in words."""
    own = _KNOWN_BY[stage]
    return f"the model, from {own}" if model_serves and stage != "model" else own


def stage_of(shown: int, first_at: int | None, now: datetime, model_serves: bool) -> Stage:
    """The stage of an offer delivered `shown` times since `first_at` (microseconds).

    Example: 612 deliveries in 14 days: "612 of 1,000 impressions, about 9 days left".
    """
    if shown >= ENOUGH:
        return _stage(shown, 0, model_serves)
    if shown == 0 or first_at is None:
        return _stage(shown, None, model_serves)
    days = max((microseconds(now) - first_at) / DAY_US, 1.0)
    return _stage(shown, ceil((ENOUGH - shown) / (shown / days)), model_serves)


@lru_cache(maxsize=4096)
def _stage(shown: int, left: int | None, model_serves: bool) -> Stage:
    counted = f"{shown:,} of {ENOUGH:,} impressions"
    if shown >= ENOUGH:
        name = "model" if model_serves else "pooled"
        return Stage(name, shown, ENOUGH, left, counted if model_serves else f"{counted}, but no model serves")
    name = "rules" if shown < FEW else "pooled"
    if left is None:
        return Stage(name, shown, ENOUGH, None, counted)
    told = "more than a year" if left > 365 else f"about {left} {'day' if left == 1 else 'days'}"
    return Stage(name, shown, ENOUGH, left, f"{counted}, {told} left")

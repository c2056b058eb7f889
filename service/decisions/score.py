"""What the models say of a draft: probabilities, reasons, good hours. Each has its documented fallback, by name.

- next-offer missing or failing: pooled response rates (`rates.py`), named `model:next-offer`
- send-time missing or failing: now, or the next hour that is not quiet, named `model:send-time`
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from service.decisions.case import Case
from service.decisions.draft import Draft
from service.decisions.ports import Models
from service.decisions.quiet import is_quiet, next_allowed, zone_of
from service.decisions.rates import PooledRates

log = logging.getLogger(__name__)
NEXT_OFFER, SEND_TIME = "next-offer", "send-time"
SEND_WITHIN = timedelta(hours=72)
TIMED = frozenset({"email", "sms", "push"})
"""Channels whose hour the send-time model chooses; a call waits for the end of quiet hours, others go at once."""
BY_RATES = "pooled_rates"


class Scorer:
    """Scores drafts with the models that serve now."""

    def __init__(self, models: Models, rates: Callable[[], PooledRates]) -> None:
        self._models = models
        self._read_rates = rates
        self._rates: PooledRates | None = None

    @property
    def rates(self) -> PooledRates:
        """Read once, and only when something asks."""
        if self._rates is None:
            self._rates = self._read_rates()
        return self._rates

    def score(self, draft: Draft) -> None:
        """Sets the probability of each eligible candidate, in (0, 1)."""
        if not draft.eligible:
            return
        model = self._models.get(NEXT_OFFER)
        scores = None if model is None else by_model(model, draft.row, draft.case, draft.eligible)
        if scores is not None and model is not None:
            draft.probabilities, draft.scored_by = scores, NEXT_OFFER
            draft.models[NEXT_OFFER] = str(model.version)
            return
        draft.degrade(f"model:{NEXT_OFFER}")
        pairs = [(draft.case.offers[position].offer_id, channel) for position, channel in draft.eligible]
        draft.probabilities, draft.scored_by = self.rates.rates(pairs), BY_RATES

    def reasons(self, draft: Draft, position: int, channel: str) -> list[dict[str, Any]]:
        """Why this offer, in the customer's terms."""
        offer = draft.case.offers[position]
        if draft.scored_by == BY_RATES:
            return [{"feature": "response_rate", "text": self.rates.sentence(offer.offer_id), "effect": 0.0}]
        model = self._models.get(NEXT_OFFER)
        if model is None:
            return []
        try:
            found = model.reasons(draft.row, offer.info, channel, draft.case.at, 3)
        except Exception:  # a ranking without reasons is better than none
            log.exception("the %s model gave no reasons", NEXT_OFFER)
            draft.degrade("reasons")
            return []
        return [{"feature": reason.feature, "text": reason.text, "effect": reason.effect} for reason in found]

    def send_at(self, draft: Draft, channel: str, ends_at: datetime | None) -> datetime:
        """When to send: a good hour within `SEND_WITHIN` that is not quiet, and before the offer ends."""
        case = draft.case
        zone, invalid = zone_of(draft.customer.timezone, case.rules.default_timezone)
        quiet = channel in case.rules.quiet_channels
        start, end = case.rules.quiet_start, case.rules.quiet_end
        if invalid and (quiet or channel in TIMED):
            draft.degrade("unknown_timezone")
        earliest = next_allowed(case.at, zone, start, end) if quiet else case.at
        if channel not in TIMED:
            return earliest
        latest = min(case.at + SEND_WITHIN, ends_at) if ends_at else case.at + SEND_WITHIN
        model = self._models.get(SEND_TIME)
        try:
            best = (
                []
                if model is None
                else model.rank(
                    draft.row,
                    channel,
                    zone.key,
                    earliest,
                    latest,
                    1,
                    lambda moment: not (quiet and is_quiet(moment, zone, start, end)),
                )
            )
        except Exception:  # the documented fallback
            log.exception("the %s model could not rank hours", SEND_TIME)
            model, best = None, []
        if model is None:
            draft.degrade(f"model:{SEND_TIME}")
        else:
            draft.models[SEND_TIME] = str(model.version)
        return max(best[0].start, earliest) if best else earliest


def by_model(model: Any, row: Any, case: Case, eligible: Sequence[tuple[int, str]]) -> list[float] | None:
    """The model's probability of each candidate; None when it fails or says what is no probability."""
    positions = list(dict.fromkeys(position for position, _ in eligible))
    channels = list(dict.fromkeys(channel for _, channel in eligible))
    line = {position: index for index, position in enumerate(positions)}
    column = {channel: index for index, channel in enumerate(channels)}
    try:
        grid = np.asarray(model.score(row, [case.offers[position].info for position in positions], channels, case.at))
        picked = grid[[line[position] for position, _ in eligible], [column[channel] for _, channel in eligible]]
        if not (np.isfinite(picked).all() and (picked >= 0).all() and (picked <= 1).all()):
            raise ValueError("the model gave values that are no probabilities")
    except Exception:  # the caller falls back and names it
        log.exception("the next-offer model failed; pooled rates stand in")
        return None
    return [float(value) for value in picked]

"""A decision as it is being made: its case, what models said of it, and the answer that comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import orjson

from features.rows import CustomerRow
from service.decisions.case import Case, Customer
from service.decisions.choose import Candidates
from service.decisions.listing import LeftOut
from service.decisions.pairs import Floats, Pairs
from service.decisions.schemas import DecisionIn
from service.decisions.steering import Cost
from service.decisions.verdicts import Verdicts

_UNWEIGHED = Candidates()
_LATEST, _FARTHEST = timedelta(hours=1), timedelta(days=3)
"""How far behind and ahead of now a decision may be asked for and still be for a message: none goes out in the past."""


def of_another_time(at: datetime | None, now: datetime) -> bool:
    """Whether a decision is asked for as of a time (`at`) for which nothing is sent now: the log cannot tell of it what
    would have come of it.
    """
    return at is not None and not now - _LATEST <= at <= now + _FARTHEST


@dataclass(slots=True)
class Draft:
    """`customer` is all that is known of the customer, `case.customer` what the decision may use of it.

    `scores` are those that eligibility rules asked for. `goals` are P(click) and P(redeem) of each eligible candidate,
    where they count. `uplift`, where a valid model gives it, stands for the probability in the formula. `another_time`:
    see `of_another_time`.
    """

    decision_id: str
    request: DecisionIn
    case: Case
    customer: Customer
    row: CustomerRow | None
    contextless: str | None
    verdicts: Verdicts
    eligible: Pairs
    scores: Mapping[str, float] = field(default_factory=dict)
    probabilities: Sequence[float] | Floats = ()
    scored_by: str | None = None
    goals: Mapping[str, Sequence[float]] = field(default_factory=dict)
    uplift: Sequence[float] | None = None
    candidates: Candidates = _UNWEIGHED
    left_out: Sequence[LeftOut] = ()
    costs: Sequence[Cost] = ()
    actions: list[dict[str, Any]] = field(default_factory=list)
    models: dict[str, str] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    actions_json: bytes = b""
    another_time: bool = False

    def told(self) -> bytes:
        """The actions as JSON, for the record and for the answer: told once, when nothing of them changes any more."""
        if not self.actions_json:
            self.actions_json = orjson.dumps(self.actions, option=orjson.OPT_UTC_Z)
        return self.actions_json

    def degrade(self, part: str) -> None:
        """Names a part that a fallback stands in for."""
        if part not in self.degraded:
            self.degraded.append(part)

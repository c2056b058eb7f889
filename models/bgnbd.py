"""BG/NBD: how often customers buy until they silently stop (Fader, Hardie and Lee, Marketing Science 24, 2005).

While active, a customer buys as a Poisson process of rate lambda ~ Gamma(r, alpha); after each purchase the customer
stops with probability p ~ Beta(a, b). Known of each: x repeat purchases, the last at t_x, observed until T (the times
since the first purchase). Any unit of time, the same throughout. Fitted in training/bgnbd.py.

As a part of a propensity model (`Buying`) it is told from features, in days.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.calibration import logit, sigmoid

Floats = npt.NDArray[np.float64]

INPUTS = ("orders_total", "orders_365d", "order_days_365d", "days_since_first_order", "days_since_last_order")
RARE = 1e-4
"""Probabilities are kept this far from 0 and 1; that of who never ordered is this one."""


@dataclass(frozen=True, slots=True)
class Purchases:
    """Of each customer (n,): `x` repeat purchases, the last at `t_x`, observed until `t`. 0 <= t_x <= t."""

    x: Floats
    t_x: Floats
    t: Floats

    def __post_init__(self) -> None:
        if not (len(self.x) == len(self.t_x) == len(self.t)):
            raise ValueError("x, t_x and t must be equally long")
        if ((self.t_x < 0) | (self.t_x > self.t) | (self.x < 0)).any():
            raise ValueError("purchases need 0 <= x and 0 <= t_x <= t")


@dataclass(frozen=True, slots=True)
class BgNbd:
    """Fitted parameters."""

    r: float
    alpha: float
    a: float
    b: float

    def alive(self, known: Purchases) -> Floats:
        """The probability (n,) of not having stopped; 1 without a repeat purchase (only a purchase can be the last)."""
        x = np.maximum(known.x, 1.0)
        odds = np.log(self.a / (self.b + x - 1)) + (self.r + x) * np.log(
            (self.alpha + known.t) / (self.alpha + known.t_x)
        )
        return np.where(known.x > 0, sigmoid(-odds), 1.0)

    def buys_within(self, known: Purchases, ahead: float) -> Floats:
        """The probability (n,) of at least one purchase in the next `ahead`.

        Of one who is active, lambda is Gamma(r + x, alpha + T), so no purchase has probability
        ((alpha + T) / (alpha + T + ahead))^(r + x).
        """
        none = ((self.alpha + known.t) / (self.alpha + known.t + ahead)) ** (self.r + known.x)
        return np.asarray(self.alive(known) * (1 - none), np.float64)


@dataclass(frozen=True, slots=True)
class Buying:
    """BG/NBD's probability of an order within `days` (or of none) as a part of a propensity: its log-odds times `slope`
    and `level`, on average `center`."""

    model: BgNbd
    days: float
    happens: bool
    level: float = 0.0
    slope: float = 1.0
    center: float = 0.0

    def raw_score(self, rows: Floats) -> Floats:
        """Log-odds (n,) of rows of INPUTS (n, 5)."""
        return self._of(purchases_told(rows))

    def effects(self, rows: Floats) -> tuple[Floats, Floats]:
        """What of the log-odds is how long the last order is ago, and what is how often there were orders, (n,) each;
        with `center` they sum to the score."""
        known = purchases_told(rows)
        score, fresh = self._of(known), self._of(Purchases(known.x, known.t, known.t))
        return score - fresh, fresh - self.center

    def _of(self, known: Purchases) -> Floats:
        buys = np.where(known.t > 0, self.model.buys_within(known, self.days), 0.0)
        p = np.clip(buys, RARE, 1 - RARE)
        return np.asarray(self.level + self.slope * logit(p if self.happens else 1 - p), np.float64)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, raw: dict[str, Any]) -> Buying:
        return cls(**{**raw, "model": BgNbd(**raw["model"])})


def purchases_told(rows: Floats) -> Purchases:
    """What rows of INPUTS (n, 5) tell of purchases; nothing (T = 0) where there was no order.

    Several orders on one day are one purchase: as many as in the last year, in proportion.
    """
    total, orders, days, first, last = np.nan_to_num(rows, nan=0.0, posinf=0.0, neginf=0.0).T
    share = np.where(orders > 0, days / np.maximum(orders, 1.0), 1.0)
    t = np.maximum(first, 0.0)
    t_x = np.clip(t - np.maximum(last, 0.0), 0.0, t)
    x = np.where(t_x > 0, np.maximum(total * np.clip(share, 0.0, 1.0) - 1, 0.0), 0.0)
    return Purchases(x, t_x, t)

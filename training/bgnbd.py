"""BG/NBD: how often customers buy until they silently stop (Fader, Hardie and Lee, Marketing Science 24, 2005).

While active, a customer buys as a Poisson process of rate lambda ~ Gamma(r, alpha); after each purchase the customer
stops with probability p ~ Beta(a, b). Known of each: x repeat purchases, the last at t_x, observed until T (the times
since the first purchase). Any unit of time, the same throughout.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, expit, gammaln

Floats = npt.NDArray[np.float64]

PENALTY = 1e-3
"""On the parameters' squared logarithms: keeps small or odd data finite, moves CDNOW's in the fourth digit at most."""


class NotFitted(ValueError):
    """The likelihood has no usable maximum on these purchases; the text says why."""


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

    def log_likelihood(self, known: Purchases) -> Floats:
        """Each customer's log-likelihood (n,): equation 6."""
        r, alpha, a, b = self.r, self.alpha, self.a, self.b
        x = known.x
        counts = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
        stops = betaln(a, b + x) - betaln(a, b)
        active = -(r + x) * np.log(alpha + known.t)
        return np.asarray(counts + stops + active - np.log(self.alive(known)), np.float64)

    def alive(self, known: Purchases) -> Floats:
        """The probability (n,) of not having stopped; 1 without a repeat purchase (only a purchase can be the last)."""
        x = np.maximum(known.x, 1.0)
        odds = np.log(self.a / (self.b + x - 1)) + (self.r + x) * np.log(
            (self.alpha + known.t) / (self.alpha + known.t_x)
        )
        return np.where(known.x > 0, expit(-odds), 1.0)

    def buys_within(self, known: Purchases, ahead: float) -> Floats:
        """The probability (n,) of at least one purchase in the next `ahead`.

        Of one who is active, lambda is Gamma(r + x, alpha + T), so no purchase has probability
        ((alpha + T) / (alpha + T + ahead))^(r + x).
        """
        none = ((self.alpha + known.t) / (self.alpha + known.t + ahead)) ** (self.r + known.x)
        return np.asarray(self.alive(known) * (1 - none), np.float64)


def fit_bgnbd(known: Purchases) -> BgNbd:
    """The parameters by maximum likelihood. Raises NotFitted."""
    if not len(known.x) or not (known.x > 0).any():
        raise NotFitted("nobody has bought again")
    unit = float(known.t.mean()) / 10 or 1.0  # a scale on which all four parameters are near 1
    scaled = Purchases(known.x, known.t_x / unit, known.t / unit)

    def loss(theta: Floats) -> float:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value = -float(BgNbd(*np.exp(theta)).log_likelihood(scaled).mean())
        return (value if np.isfinite(value) else 1e10) + PENALTY / len(known.x) * float(theta @ theta)

    found = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-12.0, 12.0)] * 4, options={"maxiter": 500})
    if not np.isfinite(found.fun) or found.fun >= 1e9:
        raise NotFitted("the likelihood has no finite maximum")
    r, alpha, a, b = (float(value) for value in np.exp(found.x))
    return BgNbd(r, alpha * unit, a, b)

"""Fits BG/NBD (models/bgnbd.py) by maximum likelihood."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import betaln, gammaln

from models.bgnbd import BgNbd, Purchases

Floats = npt.NDArray[np.float64]

PENALTY = 1e-3
"""On the parameters' squared logarithms: keeps small or odd data finite, moves CDNOW's in the fourth digit at most."""


class NotFitted(ValueError):
    """The likelihood has no usable maximum on these purchases; the text says why."""


def log_likelihood(model: BgNbd, known: Purchases) -> Floats:
    """Each customer's log-likelihood (n,): equation 6."""
    r, alpha, a, b = model.r, model.alpha, model.a, model.b
    x = known.x
    counts = gammaln(r + x) - gammaln(r) + r * np.log(alpha)
    stops = betaln(a, b + x) - betaln(a, b)
    active = -(r + x) * np.log(alpha + known.t)
    return np.asarray(counts + stops + active - np.log(model.alive(known)), np.float64)


def fit_bgnbd(known: Purchases) -> BgNbd:
    """The parameters by maximum likelihood. Raises NotFitted."""
    if not len(known.x) or not (known.x > 0).any():
        raise NotFitted("nobody has bought again")
    unit = float(known.t.mean()) / 10 or 1.0  # a scale on which all four parameters are near 1
    scaled = Purchases(known.x, known.t_x / unit, known.t / unit)

    def loss(theta: Floats) -> float:
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            value = -float(log_likelihood(BgNbd(*np.exp(theta)), scaled).mean())
        return (value if np.isfinite(value) else 1e10) + PENALTY / len(known.x) * float(theta @ theta)

    found = minimize(loss, np.zeros(4), method="L-BFGS-B", bounds=[(-12.0, 12.0)] * 4, options={"maxiter": 500})
    if not np.isfinite(found.fun) or found.fun >= 1e9:
        raise NotFitted("the likelihood has no finite maximum")
    r, alpha, a, b = (float(value) for value in np.exp(found.x))
    return BgNbd(r, alpha * unit, a, b)

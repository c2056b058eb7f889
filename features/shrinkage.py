"""Rates of few trials, drawn to the rate of their kind: empirical Bayes with a Beta prior. Pure.

Kleinman, "Proportions with extraneous variance: single and independent samples", JASA 68 (1973): of rates r = x / n
with the mean p, Var(r) = p (1 - p) (g + (1 - g) / n). With the weights w = n / sum(n), the weighted spread S of the
rates about their weighted mean has the expectation p (1 - p) (g A + (1 - g) B), A = sum w (1 - w) and
B = sum w (1 - w) / n; that gives g, and the prior's weight in trials is 1 / g - 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
USUAL = 50.0
"""The weight in trials of a prior that nothing tells."""
LEAST, MOST = 2.0, 1000.0
FIRST_RATE, FIRST_WEIGHT = 0.05, 20.0
"""What is taken for the rate of all before anything is known, and the trials that this counts for."""
FEWEST = 3
"""So many members of a group must have been tried for it to have a weight of its own."""


def shrunk_rates(successes: Floats, trials: Floats, group: Floats) -> Floats:
    """(n,) rates: each the mean of a Beta whose prior is its group's rate, and the group's the rate of all.

    successes, trials: (n,), successes beyond the trials count as trials. group: (n,), NaN for no group: the prior is
    the rate of all. NaN everywhere while nothing has been tried. Rows in another order may give other last bits.
    """
    hits = np.minimum(successes, trials)
    total = float(trials.sum())
    if total <= 0:
        return np.full(len(trials), np.nan)
    common = (float(hits.sum()) + FIRST_RATE * FIRST_WEIGHT) / (total + FIRST_WEIGHT)
    weight = _weight(hits, trials, USUAL)
    prior, strength = np.full(len(trials), common), np.full(len(trials), weight)
    for one in np.unique(group[~np.isnan(group)]).tolist():
        mine = np.flatnonzero(group == one)
        tried = trials[mine]
        prior[mine] = (hits[mine].sum() + weight * common) / (tried.sum() + weight)
        strength[mine] = _weight(hits[mine], tried, weight)
    rates: Floats = (hits + strength * prior) / (trials + strength)
    return rates


def _weight(hits: Floats, trials: Floats, otherwise: float) -> float:
    """The prior's weight in trials; `otherwise` where too few were tried to tell."""
    some = trials > 0
    hits, trials = hits[some], trials[some]
    total = float(trials.sum())
    mean = float(hits.sum()) / total if total else 0.0
    if len(trials) < FEWEST or not 0.0 < mean < 1.0:
        return otherwise
    share = trials / total
    spread = float((share * (hits / trials - mean) ** 2).sum()) / (mean * (1.0 - mean))
    wide, narrow = float((share * (1.0 - share)).sum()), (len(trials) - 1) / total
    if wide <= narrow:  # one trial each: nothing tells the spread from chance
        return otherwise
    extra = (spread - narrow) / (wide - narrow)
    return MOST if extra <= 0 else min(max(1.0 / min(extra, 1.0) - 1.0, LEAST), MOST)

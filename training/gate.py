"""The promotion gate: a candidate serves only if it beats its plain baseline and the champion on later data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from training.metrics import resamples

AGAINST_CHAMPION = 0.9
AGAINST_BASELINE = 0.8  # a baseline serves nobody: the other choice is no model at all
DRAWS = 1000


@dataclass(frozen=True, slots=True)
class Comparison:
    """The candidate's mean gain over `rival`, with its 95% interval and the share of resamples in which it is ahead.

    It has won with at least the share `needed`.
    """

    rival: str
    gain: float
    low: float
    high: float
    ahead: float
    needed: float = AGAINST_CHAMPION

    @property
    def won(self) -> bool:
        return self.gain > 0 and self.ahead >= self.needed


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate is promoted to `champion`, and why, in one sentence."""

    promote: bool
    text: str
    comparisons: tuple[Comparison, ...] = ()


def compare(
    rival: str,
    candidate: npt.ArrayLike,
    other: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    seed: int = 0,
    needed: float = AGAINST_CHAMPION,
) -> Comparison:
    """Paired bootstrap of the mean difference of two gains per unit (n,), larger is better; NaN units are left out.

    Whole `clusters` (customers) are resampled where given.
    """
    difference = np.asarray(candidate, np.float64) - np.asarray(other, np.float64)
    known = np.isfinite(difference)
    if not known.any():
        return Comparison(rival, float("nan"), float("nan"), float("nan"), 0.0, needed)
    kept = difference[known]
    groups = None if clusters is None else np.asarray(clusters)[known]
    means = np.concatenate([w @ kept / w.sum(axis=1) for w in resamples(len(kept), groups, DRAWS, seed)])
    low, high = np.quantile(means, [0.025, 0.975])
    return Comparison(rival, float(kept.mean()), float(low), float(high), float((means > 0).mean()), needed)


def judge(
    candidate: npt.ArrayLike,
    baselines: Mapping[str, npt.ArrayLike],
    champion: npt.ArrayLike | None = None,
    *,
    measure: str,
    clusters: npt.ArrayLike | None = None,
    champion_version: str | None = None,
    cannot_compare: str | None = None,
    seed: int = 0,
) -> Verdict:
    """Judges a candidate on the newest matured data, all by gains per unit (n,), larger is better.

    For probabilities a unit's gain is its negative log loss, for rankings its nDCG. `measure` names it in the text.
    The candidate is promoted when it is ahead of every one of `baselines` in 80% of resamples and of the `champion`
    (None: there is none yet) in 90%. `cannot_compare` gives the reason why a present champion cannot be compared
    honestly; then it stays.
    """
    results = [compare(name, candidate, gains, clusters, seed, AGAINST_BASELINE) for name, gains in baselines.items()]
    lost = next((result for result in results if not result.won), None)
    if lost:
        return Verdict(False, f"not promoted: {_say(lost, measure)}, its plain baseline", tuple(results))
    beaten = "; ".join(_say(result, measure) for result in results)
    if cannot_compare:
        return Verdict(False, f"not promoted: {cannot_compare}; {beaten}", tuple(results))
    if champion is None:
        return Verdict(True, f"promoted: {beaten}; there was no champion to beat", tuple(results))
    name = f"champion {champion_version}" if champion_version else "the champion"
    against = compare(name, candidate, champion, clusters, seed)
    verdict = "promoted" if against.won else "not promoted"
    return Verdict(against.won, f"{verdict}: {_say(against, measure)}; {beaten}", (*results, against))


def _say(result: Comparison, measure: str) -> str:
    word = "beats" if result.won else "does not beat"
    interval = f"{result.gain:+.4f}, 95% interval {result.low:+.4f} to {result.high:+.4f}"
    share = f"ahead in {result.ahead:.0%} of resamples, {result.needed:.0%} needed"
    return f"{word} {result.rival} in {measure} ({interval}, {share})"

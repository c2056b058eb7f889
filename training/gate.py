"""The promotion gate: a candidate serves only if it beats its plain baseline and the champion on later data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from training.metrics import resamples

AGAINST_CHAMPION = 0.9
AGAINST_BASELINE = 0.8  # a baseline serves nobody: the other choice is no model at all
LEAST_UNITS = 20  # customers: resamples of a handful are all alike, and each of them would be ahead
DRAWS = 1000
ROUNDING = 1e-9
"""Gains up to this are sums of the same numbers in another order: nobody is ahead."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The candidate's mean gain over `rival`, with its 95% interval and the share of resamples in which it is ahead.

    It has won with at least the share `needed`, of at least LEAST_UNITS `units` (customers), if it had an answer on
    each of them: `unanswered` are rows that only the rival could be judged on.
    """

    rival: str
    gain: float
    low: float
    high: float
    ahead: float
    needed: float = AGAINST_CHAMPION
    units: int = LEAST_UNITS
    unanswered: int = 0

    @property
    def won(self) -> bool:
        enough = self.units >= LEAST_UNITS and not self.unanswered
        return enough and self.gain > ROUNDING and self.ahead >= self.needed


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the candidate is promoted to `champion`, and why, in one sentence."""

    promote: bool
    text: str
    comparisons: tuple[Comparison, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """How a candidate did: its `metrics`, the same figures of each of its `rivals` and of each of the `folds`, oldest
    first, and what the gate says of all that.
    """

    metrics: Mapping[str, float]
    rivals: Mapping[str, Mapping[str, float]]
    verdict: Verdict
    folds: Sequence[Mapping[str, float]] = ()


def compare(
    rival: str,
    candidate: npt.ArrayLike,
    other: npt.ArrayLike,
    clusters: npt.ArrayLike | None = None,
    seed: int = 0,
    needed: float = AGAINST_CHAMPION,
) -> Comparison:
    """Paired bootstrap of the mean difference of two gains per unit (n,), larger is better.

    Units that the rival could not be judged on (NaN) are left out; where only the candidate has none it cannot win.
    Whole `clusters` (customers) are resampled where given.
    """
    ours, theirs = np.asarray(candidate, np.float64), np.asarray(other, np.float64)
    known = np.isfinite(ours) & np.isfinite(theirs)
    unanswered = int((np.isfinite(theirs) & ~np.isfinite(ours)).sum())
    if not known.any():
        return Comparison(rival, float("nan"), float("nan"), float("nan"), 0.0, needed, 0, unanswered)
    kept = (ours - theirs)[known]
    groups = None if clusters is None else np.asarray(clusters)[known]
    units = len(kept) if groups is None else len(np.unique(groups))
    means = np.concatenate([w @ kept / w.sum(axis=1) for w in resamples(len(kept), groups, DRAWS, seed)])
    low, high = np.quantile(means, [0.025, 0.975])
    ahead = float((means > ROUNDING).mean())
    return Comparison(rival, float(kept.mean()), float(low), float(high), ahead, needed, units, unanswered)


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


def doubt(verdict: Verdict, name: str, alone: Mapping[str, float], accepted: Collection[str]) -> Verdict:
    """The verdict on model `name` where traits tell the outcome `alone` (with their AUC): too good to be true.

    It is not promoted, but where all of these are `accepted`: the champion has them, whom a person has promoted.
    """
    if not alone:
        return verdict
    traits = ", ".join(f"{trait} (AUC {found:.3f})" for trait, found in alone.items())
    warning = (
        f"too good to be true: on later data the outcome is told alone by {traits}; was that known before it, or set "
        "after it and brought in under an earlier time?"
    )
    if not verdict.promote or set(alone) <= set(accepted):
        return replace(verdict, text=f"{verdict.text}; {warning}")
    known = f"Where it was known, `opportune promote {name} VERSION`"
    way = f"{known}; else leave it out, or bring it in as of when it was set"
    return replace(verdict, promote=False, text=f"not promoted: {warning} {way}; {verdict.text.partition(': ')[2]}")


def _say(result: Comparison, measure: str) -> str:
    if result.unanswered:
        return f"has no usable answer on {result.unanswered} rows that {result.rival} was judged on"
    if result.units < LEAST_UNITS:
        return f"only {result.units} of {LEAST_UNITS} customers to tell it from {result.rival}"
    word = "beats" if result.won else "does not beat"
    interval = f"{result.gain:+.4f}, 95% interval {result.low:+.4f} to {result.high:+.4f}"
    share = f"ahead in {result.ahead:.0%} of resamples, {result.needed:.0%} needed"
    return f"{word} {result.rival} in {measure} ({interval}, {share})"

"""`opportune evaluate POLICY`: what a policy would have earned on the decisions in the log, before it is launched.

Policies: `uniform` (any eligible candidate alike, sending nothing included), `greedy` (always the highest expected
value), `business-as-usual` (what that arm sends in each placement), `challenger` (greedy by the registered challenger
of next-offer, on decisions that it has not learnt from). Read from `tables/`: decisions of the arms model and random,
matured by the attribution window. In each placement an arm counts as far as it tried what the policy wants
(`off_policy.counts_of`); one that never tries it, say because a rule pins an offer, says nothing, and the other arm
speaks alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from training.decision_log import of_another_time
from training.matured_log import ARMS, MaturedLog, NoEstimate
from training.off_policy import Estimate, Floats, Ints, Weights, counts_of, estimates, mean_of, weights_of
from training.target_policies import POLICIES, Aim, unseen_from

LEAST_EFFECTIVE = 30.0
MOST_UNSUPPORTED = 0.01


@dataclass(frozen=True, slots=True)
class Measure:
    """One reward per decision: what the log earned, and what the policy would have."""

    name: str
    unit: str
    logged: Estimate
    estimates: tuple[Estimate, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The answer. `silent`: arms that do not count, as text. `refused` says why there are no measures. `left_out`:
    decisions asked for as of another time. `since`: what came of older decisions has taught the policy.
    """

    policy: str
    decisions: int
    customers: int
    period: tuple[datetime, datetime] | None
    weights: Weights | None
    measures: tuple[Measure, ...]
    refused: str | None
    silent: tuple[str, ...] = ()
    left_out: int = 0
    since: datetime | None = None

    def lines(self) -> list[str]:
        """The report as text."""
        left = [f"left out: {self.left_out:,} decisions asked for as of another time"] if self.left_out else []
        if self.since is not None:
            left.append(f"left out: decisions before {self.since:%Y-%m-%d}, of which it has learnt what came")
        if self.refused:
            return [f"{self.policy}: no estimate. {self.refused}", *left]
        assert self.weights is not None
        assert self.period is not None
        told = [
            f"{self.policy}: {self.decisions:,} decisions for {self.customers:,} customers, "
            f"{self.period[0]:%Y-%m-%d} to {self.period[1]:%Y-%m-%d}",
            f"effective sample size {self.weights.effective:,.0f}, largest weight {self.weights.largest:.1f}, "
            f"mean weight {self.weights.mean:.3f} (should be 1)",
            *self.silent,
            *left,
        ]
        for measure in self.measures:
            told.append(f"{measure.name} ({measure.unit})")
            told += [
                f"  {e.name:<7}{e.value:12.6f}   95% {e.low:.6f} to {e.high:.6f}"
                for e in (measure.logged, *measure.estimates)
            ]
        return told

    def __str__(self) -> str:
        return "\n".join(self.lines())


def evaluate(policy: str, home: Path, matured_days: float = 14.0) -> Report:
    """Estimates of a policy from the log in `home/tables`. A policy that the log cannot speak for is refused there.

    Raises ValueError for a policy that is not known.
    """
    if policy not in POLICIES:
        raise ValueError(f"{policy!r} is no policy; choose {', '.join(POLICIES)}")
    path = home / "tables" / "decisions.parquet"
    left_out = of_another_time(pl.scan_parquet(path)) if path.exists() else 0
    try:
        log = MaturedLog(home, matured_days, unseen_from(policy, home))
        report = _estimate(policy, log, POLICIES[policy](log))
    except NoEstimate as why:
        report = Report(policy, 0, 0, None, None, (), str(why))
    return replace(report, left_out=left_out)


def _estimate(policy: str, log: MaturedLog, aim: Aim) -> Report:
    scales = _scales(log)
    per = pl.concat([_per_decision(aim(piece), scales) for piece in log.pieces()])
    per = per.with_columns(lacks=pl.col("outside").mean().over("placement", "arm"))
    customers: Ints = per["customer_id"].rank("dense").to_numpy().astype(np.int64) - 1
    strata, arms = (per[name].rank("dense").to_numpy().astype(np.int64) for name in ("placement", "arm"))
    lacks = _floats(per, "lacks")
    counts = counts_of(strata, arms, np.where(lacks > MOST_UNSUPPORTED, np.inf, _floats(per, "squares")))
    w, weights = weights_of(counts * _floats(per, "target"), _floats(per, "propensity"), customers)
    _refuse_without_support(per, counts, weights)
    _refuse_without_outcomes(per, w)
    chance = _floats(per, "guess")
    measures = tuple(
        Measure(
            name,
            unit,
            mean_of(_floats(per, reward), customers),
            estimates(
                w,
                _floats(per, reward),
                _floats(per, guess),
                _floats(per, by_policy),
                customers,
                chance * (1 - chance) * _floats(per, worth) ** 2,
            ),
        )
        for name, unit, reward, guess, by_policy, worth in (
            ("conversions", "per decision", "earned", "guess", "policy_guess", "one"),
            ("net value", "value less cost, per decision", "earned_net", "guess_net", "policy_net", "value"),
        )
    )
    period: Any = log.rows().select(pl.col("decided_at").min(), last=pl.col("decided_at").max()).collect().row(0)
    silent = tuple(_silent(per.filter(counts == 0.0)))
    return Report(
        policy, per.height, int(customers.max()) + 1, period, weights, measures, None, silent, since=log.since
    )


def _silent(per: pl.DataFrame) -> Iterator[str]:
    """The arms that do not count, and why; `per` has their decisions."""
    lacking = per.group_by("placement", "arm").agg(pl.col("lacks").first()).sort("placement", "arm")
    for placement, arm, lacks in lacking.iter_rows():
        yield (
            f"the arm {arm} of {placement} says nothing: in {lacks:.0%} of its decisions "
            "the policy wants what it never tries"
        )


def _per_decision(aimed: pl.DataFrame, scales: pl.DataFrame) -> pl.DataFrame:
    """A row a decision: what was chosen, what it earned, and what the guesses say of it and of the policy."""
    nothing = pl.col("offer_id").is_null()
    aimed = aimed.join(scales, on="customer_id", how="left", maintain_order="left")
    guess = (pl.col("probability").fill_null(0.0) * pl.col("scale")).clip(0.0, 1.0)
    aimed = aimed.with_columns(guess=guess, target=pl.col("target").fill_null(0.0)).with_columns(
        guess_net=pl.when(nothing).then(0.0).otherwise(pl.col("guess") * pl.col("value") - pl.col("cost"))
    )
    whole = aimed.group_by("decision_id", maintain_order=True).agg(
        pl.col("customer_id", "placement", "arm").first(),
        squares=(pl.col("target") ** 2 / pl.col("propensity")).filter(pl.col("propensity") > 0).sum(),
        outside=pl.col("target").filter(pl.col("propensity") <= 0).sum(),
        policy_guess=(pl.col("target") * pl.col("guess")).sum(),
        policy_net=(pl.col("target") * pl.col("guess_net")).sum(),
    )
    chosen = aimed.filter("chosen").select(
        "decision_id",
        "propensity",
        "target",
        "guess",
        "guess_net",
        "value",
        one=pl.lit(1.0),
        earned=pl.col("responded"),
        earned_net=pl.when(nothing).then(0.0).otherwise(pl.col("responded") * pl.col("value") - pl.col("cost")),
    )
    return whole.join(chosen, on="decision_id", how="inner", maintain_order="left")


def _refuse_without_support(per: pl.DataFrame, counts: Floats, weights: Weights) -> None:
    outside = float((counts * _floats(per, "outside")).mean())
    if outside > MOST_UNSUPPORTED:
        raise NoEstimate(
            f"In {outside:.0%} of the decisions the policy wants what the log can never have tried (propensity 0); "
            "only a log that tries every candidate now and then can speak for it."
        )
    if weights.effective < LEAST_EFFECTIVE:
        raise NoEstimate(
            f"The log holds only {weights.effective:.0f} decisions' worth of evidence on it (of {per.height:,}; "
            f"{LEAST_EFFECTIVE:.0f} are needed): it rarely chose as this policy would. More exploration or time helps."
        )
    if abs(weights.mean - 1) > 0.05 + 4 * weights.mean_error:
        raise NoEstimate(
            f"The mean weight is {weights.mean:.2f} and should be 1: the logged propensities do not fit the choices."
        )


def _refuse_without_outcomes(per: pl.DataFrame, w: Floats) -> None:
    """Without one outcome every estimate is 0 with an interval from 0 to 0: certainty about nothing."""
    earned = _floats(per, "earned")
    if not earned.any():
        raise NoEstimate(
            f"None of the {per.height:,} decisions has led to an order or a redemption yet, so nothing can be told of "
            "what a policy would earn; send those events, or wait for the first."
        )
    if not (w * earned).any():
        raise NoEstimate(
            f"None of the {int((w > 0).sum()):,} decisions in which the log chose as this policy would has led to an "
            "order or a redemption yet. More time helps."
        )


def _scales(log: MaturedLog) -> pl.DataFrame:
    """By customer, what the logged probability is multiplied with to guess q(x, a): what happened to the other half of
    the customers over what was expected of them (cross-fitted), as if one more had been expected and come: where
    nothing came of one half, it does not follow that nothing can.
    """
    learnable = log.rows().filter(pl.col("arm").is_in(ARMS))
    customers = learnable.select(pl.col("customer_id").unique().sort()).collect()
    folds = customers.with_columns(fold=pl.int_range(1, pl.len() + 1) % 2)
    chosen = log.with_offers(learnable.filter(pl.col("chosen") & pl.col("offer_id").is_not_null()))
    chosen = chosen.join(folds, on="customer_id", how="left")
    scale = {}
    for fold in (0, 1):
        other = chosen.filter(pl.col("fold") != fold)
        expected = float(other["probability"].sum() or 0.0)
        scale[fold] = min((float(other["responded"].sum() or 0.0) + 1) / (expected + 1), 5.0)
    return folds.select("customer_id", scale=pl.when(pl.col("fold") == 0).then(scale[0]).otherwise(scale[1]))


def _floats(frame: pl.DataFrame, column: str) -> Floats:
    return frame[column].cast(pl.Float64).to_numpy()

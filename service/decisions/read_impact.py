"""What decisions bring: the model's arm of each placement beside its others, by what customers did since."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from features.currencies import CURRENCIES, minor_scale
from service.decisions.arm_tests import COMPLAINED, LEFT, placement_and_number
from service.decisions.impact_words import ASKS, sentence_of
from service.experiments.compare_arms import compare_pair
from service.experiments.definition import Experiment
from service.experiments.experiment_store import count_crossed, count_exposed, standing_tests
from service.experiments.read_results import FEWEST, Outcome, measure
from service.experiments.statistics import Interval, SampleRatio, sample_ratio
from service.storage.database import Connection

OURS = "model"
MOST = 5
"""Measurements of one placement that are told."""
BUYERS = "buyers"
SHARES = (BUYERS, LEFT, COMPLAINED)
"""What is told as a share of customers, beside revenue."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A placement's test with what was measured. `of`: by what is told as a share of customers."""

    test: Experiment
    revenue: Outcome
    of: Mapping[str, Outcome]
    split: SampleRatio
    crossovers: int

    @property
    def others(self) -> list[str]:
        """The arms that ours is compared with; the control first, which is sent the least."""
        arms = self.test.plan.variants
        others = [arm for arm in arms if arm != OURS] if OURS in arms else []
        return sorted(others, key=lambda arm: arm != self.test.control)


def read_impact(connection: Connection, placement: str | None = None) -> list[dict[str, Any]]:
    """As JSON values, by placement (or of this one): of each the newest measurement, then those of other shares before.

    Intervals hold at every look; of k comparisons each is at alpha/k. Money is in the home currency.
    """
    found: dict[str, list[Experiment]] = {}
    for test in sorted(standing_tests(connection), key=lambda test: -placement_and_number(test.id)[1]):
        found.setdefault(placement_and_number(test.id)[0], []).append(test)
    wanted = [name for name in sorted(found) if placement in {None, name}]
    return [_shown(name, _measured(connection, test)) for name in wanted for test in found[name][:MOST]]


def _measured(connection: Connection, test: Experiment) -> Measured:
    exposed = count_exposed(connection, test.id)
    revenue = measure(connection, test, test.metric, exposed, adjust=True)
    bought = replace(test.metric, kind="conversion", value=None)  # whose revenue is counted has bought
    shares = {BUYERS: bought} | {rail.metric.name: rail.metric for rail in test.guardrails}
    of = {name: measure(connection, test, metric, exposed) for name, metric in shares.items()}
    split = sample_ratio([exposed.get(arm, 0) for arm in test.plan.variants], test.plan.weights)
    return Measured(test, revenue, of, split, count_crossed(connection, test.id))


def _shown(placement: str, measured: Measured) -> dict[str, Any]:
    test, revenue, split = measured.test, measured.revenue, measured.split
    comparisons = list(_comparisons(measured))
    return {
        "placement": placement,
        "since": test.starts_at,
        "stopped_at": test.stopped_at,
        "days": test.metric.window.total_seconds() / 86400,
        "currency": CURRENCIES.home,
        "customers": sum(sums.n for sums in revenue.sums.values()),
        "crossovers": measured.crossovers,
        "arms": [_arm(measured, arm) for arm in test.plan.variants],
        "comparisons": comparisons,
        "confidence": 1 - test.alpha,
        "split": {"passed": split.passed, "p_value": min(split.p_value, split.sequential_p_value)},
        "variance_reduction": revenue.adjusted.variance_reduction if revenue.adjusted else 0.0,
        "sentence": comparisons[0]["sentence"] if comparisons else "Nobody is in the model's arm.",
    }


def _arm(measured: Measured, arm: str) -> dict[str, Any]:
    place, customers = measured.test.plan.variants.index(arm), measured.revenue.sums[arm].n
    return {
        "arm": arm,
        "share": measured.test.plan.weights[place],
        "customers": customers,
        "revenue_per_customer": _in_units(measured.revenue.arms[arm].mean) if customers else None,
        **{name: measured.of[name].arms[arm].mean if customers else None for name in SHARES},
    }


def _comparisons(measured: Measured) -> Iterator[dict[str, Any]]:
    test, others = measured.test, measured.others
    alpha, days = test.alpha / max(len(others), 1), test.metric.window.total_seconds() / 86400
    for other in others:
        ours = measured.revenue.sums[OURS].n

        def effect(outcome: Outcome, other: str = other) -> Any:
            return compare_pair(outcome.spread[other], outcome.spread[OURS], alpha, test.tuning)

        revenue = effect(measured.revenue)
        shares = {name: effect(measured.of[name]) for name in SHARES}
        told = {
            "against": other,
            "revenue_per_customer": revenue and _interval(revenue.absolute, 1 / _scale()),
            "relative": revenue and revenue.relative and _interval(revenue.relative),
            "revenue_in_all": revenue and _interval(revenue.absolute, ours / _scale()),
            **{name: found and _interval(found.absolute) for name, found in shares.items()},
            "verdict": _verdict(measured, other, revenue.direction if revenue else 0),
        }
        yield {"asks": ASKS[other], **told, "sentence": sentence_of(told, days, 1 - test.alpha, FEWEST)}


def _verdict(measured: Measured, other: str, direction: int) -> str:
    if not measured.split.passed:
        return "withheld"
    if min(measured.revenue.sums[arm].n for arm in (OURS, other)) < FEWEST:
        return "too few"
    return {1: "more", -1: "less", 0: "open"}[direction]


def _interval(interval: Interval, times: float = 1.0) -> dict[str, float]:
    return {"estimate": interval.estimate * times, "low": interval.low * times, "high": interval.high * times}


def _in_units(cents: float) -> float:
    return cents / _scale()


def _scale() -> int:
    return minor_scale(CURRENCIES.home)

"""What an experiment shows so far: arms, effects, the split's health, guardrails, and one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from service.experiments.assign_customer import load
from service.experiments.compare_arms import arm_moments, arm_spreads, compare_pair
from service.experiments.definition import Experiment, Guardrail, Metric
from service.experiments.experiment_store import arm_sums, count_crossed, count_exposed
from service.experiments.statistics import (
    Adjusted,
    Effect,
    Interval,
    Moments,
    SampleRatio,
    Sums,
    cuped,
    sample_ratio,
)
from service.experiments.words import money_or_number, p_in_words, result_sentence
from service.storage.database import Connection

FEWEST = 30
"""Exposures an arm needs before a winner is named: below it the interval's normal limit is not to be trusted."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One metric over all arms: the level of each, and each treatment against control. `spread`: see `arm_spreads`."""

    metric: Metric
    sums: Mapping[str, Sums]
    arms: Mapping[str, Moments]
    spread: Mapping[str, Moments]
    effects: Mapping[str, Effect | None]
    adjusted: Adjusted | None


def read_results(connection: Connection, experiment_id: str, now: datetime) -> dict[str, Any]:
    """The results as JSON values. `NotFound` when there is no such experiment.

    Intervals hold at every look (`statistics.compare`); with k treatments each is at alpha/k. A split that is not
    as planned withholds the winner, and so does a harmed guardrail.
    """
    experiment = load(connection, experiment_id)
    exposed = count_exposed(connection, experiment_id)
    goal = measure(connection, experiment, experiment.metric, exposed, adjust=experiment.covariate is not None)
    rails = [(rail, measure(connection, experiment, rail.metric, exposed)) for rail in experiment.guardrails]
    counts = {key: goal.sums[key].n for key in experiment.plan.variants}
    split = sample_ratio([counts[key] for key in experiment.plan.variants], experiment.plan.weights)
    verdicts = [_guardrail(rail, outcome, key) for rail, outcome in rails for key in outcome.effects]
    leader = _leader(experiment, goal)
    withheld = _withheld(split, verdicts, leader)
    winner = leader if leader and not withheld else None
    main = _main_treatment(goal)
    return {
        "experiment_id": experiment.id,
        "name": experiment.name,
        "status": experiment.status,
        "version": experiment.version,
        "as_of": now,
        "stopped_at": experiment.stopped_at,
        "pauses": [{"start": start, "end": end} for start, end in experiment.pauses],
        "metric": _shown_metric(experiment.metric),
        "exposures": sum(counts.values()),
        "crossovers": count_crossed(connection, experiment_id),
        "arms": [_arm(experiment, goal, key) for key in experiment.plan.variants],
        "effect": _effect(main, goal) if main else None,
        "effects": [_effect(key, goal) for key in goal.effects],
        "confidence": 1 - experiment.alpha,
        "method": "asymptotic confidence sequence (Waudby-Smith et al. 2021): valid at every look",
        "srm": _split(experiment, split, counts),
        "guardrails": verdicts,
        "cuped": _cuped(experiment, goal),
        "winner": winner,
        "winner_withheld": withheld,
        "sentence": result_sentence(
            goal=experiment.metric,
            control=(experiment.control, goal.arms[experiment.control]),
            treatment=(main, goal.arms[main]) if main else None,
            effect=goal.effects[main] if main else None,
            winner=winner,
            withheld=withheld,
            harmed=[told for key in goal.effects if (told := _harms(key, verdicts))],
            confidence=1 - experiment.alpha,
            fewest=FEWEST,
        ),
    }


def measure(
    connection: Connection, experiment: Experiment, metric: Metric, exposed: Mapping[str, int], adjust: bool = False
) -> Outcome:
    """What was measured of a metric; `adjust`: by the experiment's covariate. `exposed`: `count_exposed`."""
    adjust = adjust and metric.kind != "ratio"
    sums = arm_sums(connection, experiment, metric, adjust, exposed)
    adjusted = cuped(list(sums.values())) if adjust else None
    if adjusted:
        arms = dict(zip(sums, adjusted.arms, strict=True))
    else:
        arms = {key: arm_moments(metric, each) for key, each in sums.items()}
    spread = arm_spreads(metric, sums, arms)
    others = [key for key in arms if key != experiment.control]
    alpha, control = experiment.alpha / max(len(others), 1), spread[experiment.control]
    effects = {key: compare_pair(control, spread[key], alpha, experiment.tuning) for key in others}
    return Outcome(metric, sums, arms, spread, effects, adjusted)


def _main_treatment(goal: Outcome) -> str | None:
    """The treatment that the sentence speaks of: the one whose interval reaches highest from below."""
    known = {key: effect for key, effect in goal.effects.items() if effect is not None}
    return max(known, key=lambda key: known[key].absolute.low) if known else next(iter(goal.effects), None)


def _leader(experiment: Experiment, goal: Outcome) -> str | None:
    """The treatment that is surely better than control; control, if every treatment is surely worse.

    An arm of weight 0, which gets nobody, holds none of them up.
    """
    drawn = {key for key, weight in zip(experiment.plan.variants, experiment.plan.weights, strict=True) if weight > 0}
    if min(goal.sums[key].n for key in drawn) < FEWEST:
        return None
    directions = {key: effect.direction if effect else 0 for key, effect in goal.effects.items() if key in drawn}
    if any(direction > 0 for direction in directions.values()):
        return _main_treatment(goal)
    return experiment.control if all(direction < 0 for direction in directions.values()) else None


def _withheld(split: SampleRatio, verdicts: list[dict[str, Any]], leader: str | None) -> str | None:
    if not split.passed:
        p_value = min(split.p_value, split.sequential_p_value)
        return (
            f"the split is not as planned (sample ratio mismatch, {p_in_words(p_value)}); "
            "find out why before believing any difference"
        )
    return _harms(leader, verdicts)


def _harms(arm: str | None, verdicts: list[dict[str, Any]]) -> str | None:
    """Which guardrails an arm harms, in words; None where it harms none."""
    harmed = [verdict["name"] for verdict in verdicts if verdict["verdict"] == "harmed" and verdict["arm"] == arm]
    return f"{arm} does harm ({' and '.join(harmed)})" if harmed else None


def _guardrail(rail: Guardrail, outcome: Outcome, arm: str) -> dict[str, Any]:
    effect = outcome.effects[arm]
    return {
        "name": rail.metric.name,
        "arm": arm,
        "harm": rail.harm,
        "margin": rail.margin,
        "verdict": _guardrail_verdict(rail, effect),
        "effect": _interval(effect.absolute) if effect else None,
        "relative": _interval(effect.relative) if effect and effect.relative else None,
    }


def _guardrail_verdict(rail: Guardrail, effect: Effect | None) -> str:
    """harmed: surely worse by more than the margin. safe: surely not. watching: not known yet."""
    if effect is None:
        return "watching"
    if rail.margin > 0 and effect.arms[0].mean < 0:
        return "watching"  # so much more of less than nothing is no harm
    sign = 1 if rail.harm == "increase" else -1
    difference = effect.beyond(1 + sign * rail.margin)
    best, worst = sorted((sign * difference.low, sign * difference.high))
    if best > 0:
        return "harmed"
    return "safe" if worst <= 0 else "watching"


def _shown_metric(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "event": metric.event,
        "kind": metric.kind,
        "value": metric.value,
        "denominator": metric.denominator,
        "window_days": metric.window.total_seconds() / 86400,
        "channel": metric.channel,
        "where": metric.where,
    }


def _arm(experiment: Experiment, goal: Outcome, key: str) -> dict[str, Any]:
    sums = goal.sums[key]
    return {
        "key": key,
        "control": key == experiment.control,
        "weight": experiment.plan.weights[experiment.plan.variants.index(key)],
        "exposures": sums.n,
        "total": sums.x,
        "value": goal.arms[key].mean if goal.arms[key].n else None,
        "shown": money_or_number(goal.metric, goal.arms[key].mean) if goal.arms[key].n else None,
    }


def _effect(key: str, goal: Outcome) -> dict[str, Any]:
    effect = goal.effects[key]
    return {
        "arm": key,
        "absolute": _interval(effect.absolute) if effect else None,
        "relative": _interval(effect.relative) if effect and effect.relative else None,
        "p_value": effect.p_value if effect else None,
        "significant": effect is not None and effect.direction != 0,
    }


def _interval(interval: Interval) -> dict[str, float]:
    return {"estimate": interval.estimate, "low": interval.low, "high": interval.high}


def _split(experiment: Experiment, split: SampleRatio, counts: Mapping[str, int]) -> dict[str, Any]:
    total = sum(counts.values())
    planned = dict(zip(experiment.plan.variants, experiment.plan.weights, strict=True))
    return {
        "verdict": "passed" if split.passed else "failed",
        "passed": split.passed,
        "p_value": split.p_value,
        "sequential_p_value": split.sequential_p_value,
        "observed": dict(counts),
        "expected": {key: total * weight for key, weight in planned.items()},
    }


def _cuped(experiment: Experiment, goal: Outcome) -> dict[str, Any]:
    if goal.adjusted is None:
        return {"used": False, "feature": experiment.covariate}
    return {
        "used": True,
        "feature": experiment.covariate,
        "theta": goal.adjusted.theta,
        "variance_reduction": goal.adjusted.variance_reduction,
    }

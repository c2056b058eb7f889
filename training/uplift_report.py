"""What an uplift test says, for people: gain over chance, segments in money, what to do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from models.uplift import DO_NOT_DISTURB, PERSUADABLE, SEGMENTS, Money, segment_of
from training.metrics import Estimate, resamples
from training.plots import qini_plot
from training.qini import qini_curve
from training.uplift_judge import Balance, Judgement
from training.uplift_learners import Trial

Floats = npt.NDArray[np.float64]
POINTS = 100
NONE_USABLE = "no usable heterogeneity: treat by response or treat all"


@dataclass(frozen=True, slots=True)
class Segment:
    """Customers of one kind. `predicted` and `observed` are uplifts, `worth` the money that contacting them earns."""

    name: str
    customers: int
    share: float
    predicted: float
    observed: Estimate
    untreated: float
    worth: Estimate


@dataclass(frozen=True, slots=True)
class Policies:
    """What each way of choosing whom to contact earns over contacting nobody, on the customers of the test.

    `by_response` contacts as many as `persuadables` does, those most likely to act first.
    """

    all: Estimate
    persuadables: Estimate
    by_response: Estimate
    contacted: int


def segments(trial: Trial, judged: Judgement, money: Money) -> list[Segment]:
    """The four segments by held-out predictions; their observed uplift by the DR scores of `Trial.pseudo_outcomes`."""
    names = segment_of(judged.uplift, judged.untreated, money, usual(trial))
    found = []
    for name in SEGMENTS:
        inside = names == name
        if inside.any():
            observed = _mean(trial, inside)
            worth = _total(trial, inside, money)
            found.append(
                Segment(
                    name,
                    int(inside.sum()),
                    float(inside.mean()),
                    float(judged.uplift[inside].mean()),
                    observed,
                    float(judged.untreated[inside].mean()),
                    worth,
                )
            )
    return found


def policies(trial: Trial, judged: Judgement, money: Money) -> Policies:
    """Compares whom to contact, in money."""
    names = segment_of(judged.uplift, judged.untreated, money, usual(trial))
    inside = names == PERSUADABLE
    likely = np.zeros(len(inside), bool)
    likely[np.argsort(-judged.untreated, kind="stable")[: int(inside.sum())]] = True
    everyone = np.ones(len(inside), bool)
    worth = [_total(trial, group, money) for group in (everyone, inside, likely)]
    return Policies(worth[0], worth[1], worth[2], int(inside.sum()))


def usual(trial: Trial) -> float:
    """The outcome's rate without contact."""
    return float(trial.outcome[trial.treated == 0].mean())


def average(trial: Trial) -> Estimate:
    """The mean uplift of all."""
    return _mean(trial, np.ones(len(trial.outcome), bool))


def say(judged: Judgement, ways: Policies, found: Sequence[Segment]) -> str:
    """The verdict, in one or two sentences."""
    interval = f"Qini {judged.qini.value:.3f}, 95% interval {judged.qini.low:.3f} to {judged.qini.high:.3f}"
    if not judged.usable:
        return f"{NONE_USABLE} ({interval}); {_all(ways)}"
    shares = ", ".join(f"{one.share:.0%} {one.name.replace('_', ' ')}s" for one in found)
    harmed = next((one for one in found if one.name == DO_NOT_DISTURB), None)
    warning = " Contact harms some of the do-not-disturbs." if harmed and harmed.observed.high < 0 else ""
    return (
        f"customers differ in what contact changes ({interval}): {shares}. Contacting the persuadables alone earns "
        f"{ways.persuadables.value:,.2f}, all {ways.all.value:,.2f}, as many by response {ways.by_response.value:,.2f}."
        f"{warning}"
    )


def _all(ways: Policies) -> str:
    low, high = f"{ways.all.low:,.2f}", f"{ways.all.high:,.2f}"
    if ways.all.low > 0:
        return f"contacting all pays ({ways.all.value:,.2f}, {low} to {high})"
    if ways.all.high < 0:
        return f"contacting all costs more than it earns ({ways.all.value:,.2f}, {low} to {high})"
    return f"whether contacting all pays is not known yet ({low} to {high})"


def as_json(
    trial: Trial, judged: Judgement, checked: Balance, money: Money, ways: Policies, found: Sequence[Segment]
) -> dict[str, Any]:
    """Everything as plain values, with the Qini curve at POINTS points."""
    contacted, gained = qini_curve(trial.outcome, judged.rank, trial.treated)
    keep = np.unique(np.linspace(0, len(contacted) - 1, min(POINTS, len(contacted))).astype(int))
    return {
        "rows": len(trial.outcome),
        "customers": len(np.unique(trial.customers)),
        "treated": int(trial.treated.sum()),
        "outcomes": {
            "treated": int(trial.outcome @ trial.treated),
            "control": int(trial.outcome @ (1 - trial.treated)),
        },
        "balance": {"auc": checked.auc, "standard_errors": checked.errors, "random": checked.random},
        "average_uplift": asdict(average(trial)),
        "usable": judged.usable,
        "qini": asdict(judged.qini),
        "learner": judged.chosen,
        "picked": judged.picked,
        "learners": _each(judged.learners),
        "rivals": _each(judged.rivals),
        "money": {"value": money.value, "cost": money.cost, "uplift_that_pays": money.worthwhile},
        "segments": [asdict(one) for one in found] if judged.usable else [],
        "policies": asdict(ways),
        "curve": {"contacted": contacted[keep].tolist(), "gained": gained[keep].tolist()},
    }


def _each(named: Mapping[str, Estimate]) -> dict[str, dict[str, float]]:
    return {name: asdict(one) for name, one in named.items()}


def lines(report: Mapping[str, Any]) -> Iterator[str]:
    """A report as people read it."""
    name = f"uplift-{report['name']}"
    if "version" not in report:
        yield f"{name}: no model; {report['verdict']}"
        return
    yield f"{name}: version {report['version']}; {report['verdict']}"
    average = report["average_uplift"]
    yield (
        f"  {report['of']}: {report['customers']:,} customers, {report['treated']:,} treated; {report['outcome']} "
        f"{average['value']:+.4f} ({average['low']:+.4f} to {average['high']:+.4f}) by contact"
    )
    for learner, one in {**report["learners"], **report["rivals"]}.items():
        yield f"  {learner:<36} Qini {one['value']:.4f} ({one['low']:.4f} to {one['high']:.4f})"
    for one in report["segments"]:
        seen, worth = one["observed"], one["worth"]
        uplift = f"{seen['value']:+.4f} ({seen['low']:+.4f} to {seen['high']:+.4f})"
        yield (
            f"  {one['name'].replace('_', ' '):<16} {one['customers']:>8,} ({one['share']:.0%})  uplift {uplift}  "
            f"contact earns {worth['value']:,.2f}"
        )


def plot(trial: Trial, judged: Judgement) -> Figure:
    """The Qini curve of held-out scores, that of treating by response, and the line of contacting by chance."""
    scores = {f"uplift ({judged.chosen})": judged.rank, "by response": judged.untreated}
    curves = {name: qini_curve(trial.outcome, score, trial.treated) for name, score in scores.items()}
    return qini_plot(curves, f"Qini {judged.qini}")


def _mean(trial: Trial, inside: npt.NDArray[np.bool_]) -> Estimate:
    """The mean uplift of some rows, resampled by customer."""
    return _bootstrap(trial, np.where(inside, trial.pseudo_outcomes, 0.0), inside.astype(float))


def _total(trial: Trial, inside: npt.NDArray[np.bool_], money: Money) -> Estimate:
    """What contacting some rows earns together."""
    each = np.where(inside, trial.pseudo_outcomes * money.value - money.cost, 0.0)
    mean = _bootstrap(trial, each, np.ones(len(each)))
    return Estimate(*(part * len(each) for part in (mean.value, mean.low, mean.high)))


def _bootstrap(trial: Trial, above: Floats, below: Floats) -> Estimate:
    """A ratio of sums with its 95% percentile interval; customers are resampled."""
    draws = [(w @ above) / np.maximum(w @ below, 1e-9) for w in resamples(len(above), trial.customers, 200, 0)]
    low, high = np.quantile(np.concatenate(draws), [0.025, 0.975])
    return Estimate(float(above.sum() / below.sum()), float(low), float(high))

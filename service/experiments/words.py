"""An experiment's result as one plain sentence."""

from __future__ import annotations

from collections.abc import Sequence

from features.currencies import CURRENCIES, in_units
from service.experiments.definition import Metric
from service.experiments.statistics import Effect, Moments

Arm = tuple[str, Moments]


def money_or_number(metric: Metric, value: float) -> str:
    """A metric's level for reading: a share in per cent, cents as money, else a number."""
    if metric.kind == "conversion":
        return f"{value * 100:.2f}%"
    if metric.kind == "sum" and metric.value is not None and metric.value.endswith("_cents"):
        return in_units(value, CURRENCIES.home)
    return f"{value:,.3f}"


def p_in_words(value: float) -> str:
    """How likely chance alone does so much, to the digits that tell people something."""
    return f"p = {value:.3f}" if value >= 0.001 else "p < 0.001"


def result_sentence(
    *,
    goal: Metric,
    control: Arm,
    treatment: Arm | None,
    effect: Effect | None,
    winner: str | None,
    withheld: str | None,
    harmed: Sequence[str],
    confidence: float,
    fewest: int,
) -> str:
    """What was seen, how sure it is, what follows. Arms: (key, moments); `harmed`: as "B does harm (Unsubscribed)"."""
    if treatment is None or treatment[1].n + control[1].n == 0:
        return "Nobody was exposed yet."
    levels = f"{goal.name}: {_level(goal, treatment)} against {_level(goal, control)}"
    if withheld and winner is None and "split" in withheld:
        return f"{levels}. No winner is named: {withheld}."
    told = [each for each in harmed if each != withheld]
    warning = "".join(f" {each}: stop it, or find out why." for each in told)
    if effect is None or min(treatment[1].n, control[1].n) < fewest:
        return f"{levels}. Too few to say; at least {fewest} in each arm are needed, and some that differ.{warning}"
    verdict = _verdict(winner, withheld, control, treatment, calm=not told)
    return f"{levels}. {_difference(goal, effect, confidence)} {verdict}{warning}"


def _level(goal: Metric, arm: Arm) -> str:
    key, moments = arm
    return f"{key} {money_or_number(goal, moments.mean)} of {moments.n:,}" if moments.n else f"{key} with nothing"


def _difference(goal: Metric, effect: Effect, confidence: float) -> str:
    low, high = (_signed(goal, bound) for bound in (effect.absolute.low, effect.absolute.high))
    share = f" ({effect.relative.estimate:+.0%} of control)" if effect.relative else ""
    return (
        f"The difference is {_signed(goal, effect.absolute.estimate)}{share}; with {confidence:.0%} confidence, "
        f"however often one looks, it lies between {low} and {high}."
    )


def _signed(goal: Metric, value: float) -> str:
    if goal.kind == "conversion":
        return f"{value * 100:+.2f} points"
    shown = money_or_number(goal, abs(value))
    return f"{'-' if value < 0 else '+'}{shown}"


def _verdict(winner: str | None, withheld: str | None, control: Arm, treatment: Arm, calm: bool) -> str:
    if withheld:
        return f"No winner is named: {withheld}."
    if winner is None:
        return "No difference is proven yet; it may go on." if calm else "No difference is proven yet."
    if winner == control[0]:
        return f"{control[0]} stays: {treatment[0]} is worse."
    return f"{winner} wins."

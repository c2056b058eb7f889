"""The model card: what a version is for, whom it was learnt from, how good it is, and whom not to score with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from models.declaration import Declaration
from models.propensity import Tier
from training.metrics import Estimate

FIGURE_NAMES = {
    "auc": "AUC",
    "average_precision": "average precision",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error",
    "top_decile_lift": "lift in the top tenth",
}


def propensity_card(
    declaration: Declaration,
    figures: Mapping[str, Mapping[str, Estimate]],
    data: Mapping[str, object],
    verdict: str,
    tiers: Sequence[Tier],
    slices: Sequence[tuple[str, int, float, float]],
    notes: Sequence[str],
) -> str:
    """Markdown. `figures` maps the model and each rival to their estimates; `slices` are (name, customers, promised,
    observed)."""
    return "\n".join(
        [
            f"# opportune-{declaration.name}: {declaration.title}",
            "",
            "## Purpose",
            f"The probability that, within {declaration.horizon_days} days, {_goal(declaration)}.",
            *([declaration.purpose] if declaration.purpose else []),
            "For ranking and timing of marketing actions. Not for prices, credit, employment, or anything with legal "
            "effect on a person.",
            "",
            "## Who is scored",
            *(f"- `{rule.condition}`" for rule in declaration.population),
            *(f"- not `{rule.condition}`" for rule in declaration.exclusions),
            "",
            "Nobody else: outside this population the model has learnt nothing. Customers who may not be profiled are "
            "neither learnt from nor scored.",
            "",
            "## Learnt from",
            *(f"- {key.replace('_', ' ')}: {value}" for key, value in data.items()),
            "",
            "## How good, on later data that it had not seen",
            *_table(figures),
            "",
            "Intervals: 95%, bootstrap by customer. Training and test are one horizon apart.",
            "",
            *_tiers(tiers),
            "## Promised and observed, by group of customers",
            "| group | rows | promised | observed |",
            "|---|---|---|---|",
            *(f"| {name} | {count} | {promised:.3f} | {seen:.3f} |" for name, count, promised, seen in slices),
            "",
            "## Verdict of the gate",
            verdict,
            "",
            "## Limits",
            "- It says who is likely to act, not whom a message will move: for that, compare with a holdout.",
            "- It knows only what the events say; a customer with few events gets a probability near the average.",
            *(f"- {note}" for note in notes),
            "",
        ]
    )


def _goal(declaration: Declaration) -> str:
    goal = declaration.goal
    where = f" where `{goal.where}`" if goal.where else ""
    days = declaration.attribution_days
    after = "" if days is None else f" within {days:g} days of a delivered message"
    return f"the customer {'has' if goal.happens else 'does not have'} the event '{goal.event}'{where}{after}"


def _table(figures: Mapping[str, Mapping[str, Estimate]]) -> list[str]:
    names = list(figures)
    rows = [
        f"| {title} | " + " | ".join(str(figures[name][key]) for name in names) + " |"
        for key, title in FIGURE_NAMES.items()
    ]
    return [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|", *rows]


def _tiers(tiers: Sequence[Tier]) -> list[str]:
    if not tiers:
        return []
    rows = [f"| {tier.name} | {tier.least:.4f} | {tier.expected:.4f} |" for tier in tiers]
    return ["## Tiers", "| tier | probability from | share that converted |", "|---|---|---|", *rows, ""]

"""The arms of a placement as a test that never ends: each customer from their first decision there on. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from features.vocabulary import same_meaning
from service.experiments.definition import Experiment
from service.experiments.experiment_store import STANDING
from service.experiments.schemas import ExperimentIn, GuardrailIn, MetricIn, VariantIn

Shares = Sequence[tuple[str, float]]
"""(arm, share), which sum to 1."""
REVENUE, LEFT, COMPLAINED = "revenue", "unsubscribed", "complained"
"""What is counted, by its name."""
BEFORE = "revenue_cents_365d"
"""The feature whose part in revenue was known before the first decision, and is taken out (CUPED)."""
_ORDER = "Order Completed"
_HARM = {LEFT: "Unsubscribed", COMPLAINED: "Email Marked as Spam"}
COUNTED = frozenset(name for event in (_ORDER, *_HARM.values()) for name in same_meaning(event))
"""Events that these tests count."""


def id_of_test(placement: str, number: int) -> str:
    """The id of a placement's test; `number`: how many times its shares were changed."""
    return f"{STANDING}arms:{number}:{placement}"


def placement_and_number(experiment_id: str) -> tuple[str, int]:
    """The placement of a test, and its number."""
    _, number, placement = experiment_id.split(":", 2)
    return placement, int(number)


def compares(shares: Shares) -> bool:
    """Whether there is anything to compare: two arms at least that somebody is in."""
    return sum(share > 0 for _, share in shares) > 1


def stored_test(
    placement: str, number: int, shares: Shares, days: float, since: datetime, seed: str | None = None
) -> dict[str, Any]:
    """The row of a test that takes customers in from `since` on. What they do within `days` counts.

    `seed` names the one by which customers are in their arms, and does not give it away.
    """
    arms = [(arm, share) for arm, share in shares if share > 0]
    control = next((arm for arm, _ in reversed(arms) if arm != "model"), arms[0][0])  # the last is sent the least
    declared = ExperimentIn(
        name=f"Arms of {placement}"[:200],
        variants=[VariantIn(key=arm, weight=share) for arm, share in arms],
        control=control,
        metric=MetricIn(name=REVENUE, event=_ORDER, kind="sum", value="revenue_cents", window_days=days),
        guardrails=[GuardrailIn(name=name, event=event, window_days=days) for name, event in _HARM.items()],
        cuped=BEFORE,
        seed=seed,
        starts_at=since,
    )
    return {
        "id": id_of_test(placement, number),
        "version": 1,
        "definition": declared.model_dump(mode="json") | {"exposed_by": "decision"},
        "created_at": since,
        "updated_at": since,
        "stopped_at": None,
    }


def same_test(one: Experiment, other: Experiment) -> bool:
    """Whether both compare the same customers in the same arms, over the same time. Older ones have noted no seed."""
    seeds = {test.plan.seed for test in (one, other) if test.plan.seed != test.id}
    return _essence(one) == _essence(other) and len(seeds) < 2


def _essence(test: Experiment) -> tuple[Any, ...]:
    weights = (round(weight, 9) for weight in test.plan.weights)
    return tuple(zip(test.plan.variants, weights, strict=True)), test.metric.window

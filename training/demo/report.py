"""The demo's report: a plain dictionary (`home/reports/demo.json`), which the page at `/` and the summary show.

Every section has `kind`: "real" (Complete Journey's households), or "simulated" (the world). Nothing else is in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

from training.demo.complete_journey import Manifest
from training.demo.steps import Timing

VERSION = 1
Kind = Literal["real", "simulated"]

# The figure by which each model is judged, what it is, and the plain baseline beside which it stands.
HEADLINES = {
    "lead": ("auc", "area under the ROC curve", "recency"),
    "churn": ("auc", "area under the ROC curve", "recency"),
    "winback": ("auc", "area under the ROC curve", "recency"),
    "send-time": ("order_in_best_band", "orders in the three hours named best", "overall_best_hours"),
    "next-offer": ("ndcg_at_10", "nDCG@10 of the next 14 days' purchases", "popularity"),
}


class DataSection(TypedDict):
    """What was read."""

    kind: Kind
    what: str
    first_day: str
    last_day: str
    transactions: int
    households: int
    baskets: int
    campaigns: int
    deliveries: int
    redemptions: int
    demographics: int
    revenue: float
    offers: int
    assumptions: list[str]


class FeaturesSection(TypedDict):
    """What was built."""

    kind: Kind
    count: int
    customers: int
    as_of: str


class ModelSection(TypedDict):
    """One model beside its plain baseline on later data."""

    kind: Kind
    name: str
    version: str | None
    promoted: bool
    metric: str
    metric_title: str
    value: float | None
    baseline_name: str | None
    baseline_value: float | None
    rivals: list[dict[str, Any]]
    verdict: str


class DecisionSection(TypedDict):
    """One decision in words; an action also has its offer's name and the subject of its copy."""

    kind: Kind
    who: str
    customer: str
    arm: str
    actions: list[dict[str, Any]]
    excluded: list[dict[str, Any]]
    degraded: list[str]


class Report(TypedDict):
    """The whole. `journey`, `experiment` and `world` are None until their steps are done."""

    version: int
    made_at: str
    seconds: float
    data: DataSection
    features: FeaturesSection
    models: list[ModelSection]
    decisions: list[DecisionSection]
    content: dict[str, Any]
    journey: dict[str, Any] | None
    experiment: dict[str, Any] | None
    world: dict[str, Any] | None
    timings: list[dict[str, Any]]
    addresses: dict[str, str]


def data_section(manifest: Manifest) -> DataSection:
    """From the manifest of the data."""
    return {
        "kind": "real",
        "what": "Complete Journey (84.51°), 2017, dates moved by whole weeks",
        "first_day": manifest.first_day,
        "last_day": manifest.last_day,
        "transactions": manifest.transactions,
        "households": manifest.households,
        "baskets": manifest.baskets,
        "campaigns": manifest.campaigns,
        "deliveries": manifest.deliveries,
        "redemptions": manifest.redemptions,
        "demographics": manifest.demographics,
        "revenue": manifest.revenue,
        "offers": manifest.offers,
        "assumptions": list(manifest.assumptions),
    }


def model_section(result: Mapping[str, Any]) -> ModelSection:
    """From a training result (home/reports/training/NAME.json): the model's figure and each rival's."""
    metrics, rivals = result["metrics"], result["rivals"]
    metric, title, usual = headline(result["name"], metrics)
    baseline = usual if usual in rivals else next(iter(rivals), None)
    return {
        "kind": "real",
        "name": result["name"],
        "version": result["version"],
        "promoted": result["promoted"],
        "metric": metric,
        "metric_title": title,
        "value": metrics.get(metric),
        "baseline_name": baseline,
        "baseline_value": rivals[baseline].get(metric) if baseline else None,
        "rivals": [{"name": name, "value": figures.get(metric)} for name, figures in rivals.items()],
        "verdict": result["verdict"],
    }


def headline(model: str, metrics: Mapping[str, float]) -> tuple[str, str, str]:
    """The model's headline figure, or the first that it has; its title; its usual baseline."""
    metric, title, baseline = HEADLINES.get(model, ("", "", ""))
    if metric in metrics or not metrics:
        return metric, title, baseline
    first = next(iter(metrics))
    return first, first.replace("_", " "), baseline


def decision_section(who: str, decision: Mapping[str, Any], offers: Mapping[str, str]) -> DecisionSection:
    """From an answer of `/v1/decisions`; `offers` are names by id."""
    actions = [
        {
            "rank": action["rank"],
            "offer_id": action["offer_id"],
            "offer": offers.get(action["offer_id"], action["offer_id"]),
            "channel": action["channel"],
            "send_at": action.get("send_at"),
            "probability": action.get("probability"),
            "expected_value": action.get("expected_value"),
            "propensity": action.get("propensity"),
            "reasons": [reason["text"] for reason in action.get("reasons") or []],
            "subject": (action.get("content") or {}).get("subject"),
        }
        for action in decision["actions"]
    ]
    return {
        "kind": "real",
        "who": who,
        "customer": decision["customer_id"],
        "arm": decision["arm"],
        "actions": actions,
        "excluded": [dict(each) for each in (decision.get("excluded") or [])[:20]],
        "degraded": list(decision.get("degraded") or []),
    }


def timing_rows(timings: Sequence[Timing]) -> list[dict[str, Any]]:
    """One row a step."""
    return [{"name": t.name, "title": t.title, "seconds": t.seconds, "reused": t.reused} for t in timings]


def now_text() -> str:
    """The present, RFC 3339, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


PAGES = {
    "report": "/",
    "review": "/review",
    "customers": "/customers",
    "models": "/models",
    "journeys": "/journeys",
    "experiments": "/experiments",
    "impact": "/impact",
    "offers": "/offers",
    "data": "/data",
    "docs": "/docs",
}

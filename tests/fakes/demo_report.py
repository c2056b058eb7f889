"""A small report as the demo writes it (`training/demo/report.py`), figures invented."""

from __future__ import annotations

from typing import Any


def _arm(decisions: int, value: float, gap: float | None) -> dict[str, Any]:
    return {
        "decisions": decisions, "sent": decisions, "sales": 9, "value": value, "interval": [value - 0.02, value + 0.02],
        "random": 0.1, "best": 0.31, "lift": value / 0.1, "gap_closed": gap, "earned_per_decision": value,
    }  # fmt: skip


DEMO_REPORT: dict[str, Any] = {
    "version": 1,
    "made_at": "2026-07-01T10:00:00Z",
    "seconds": 141.2,
    "data": {
        "kind": "real", "what": "Complete Journey (84.51°), 2017, dates moved by whole weeks",
        "first_day": "2025-07-02",
        "last_day": "2026-06-30", "transactions": 1469307, "households": 2469, "baskets": 155848, "campaigns": 27,
        "deliveries": 6589, "redemptions": 2102, "demographics": 801, "revenue": 4.5e6, "offers": 120,
        "assumptions": ["E-mail addresses are invented."],
    },
    "features": {"kind": "real", "count": 66, "customers": 2469, "as_of": "2026-06-30T00:00:00Z"},
    "models": [
        {
            "kind": "real", "name": "churn", "version": "1", "promoted": True, "metric": "auc",
            "metric_title": "area under the ROC curve", "value": 0.91, "baseline_name": "recency",
            "baseline_value": 0.86, "rivals": [
                {"name": "recency", "value": 0.86}, {"name": "base_rate", "value": None}],
            "verdict": "better than recency by 0.05 (0.03 to 0.07)",
        },
        {
            "kind": "real", "name": "lead", "version": None, "promoted": False, "metric": "auc",
            "metric_title": "area under the ROC curve",
            "value": 0.7, "baseline_name": "recency", "baseline_value": 0.71,
            "rivals": [{"name": "recency", "value": 0.71}], "verdict": "not better than recency",
        },
    ],
    "decisions": [
        {
            "kind": "real", "who": "buys every week", "customer": "household-1", "arm": "model",
            "actions": [
                {"rank": 1, "offer_id": "o1", "offer": "Coffee, 20% off", "channel": "email",
                 "send_at": "2026-07-02T17:00:00Z", "probability": 0.083, "expected_value": 0.94, "propensity": 0.6,
                 "reasons": ["last order 41 days ago, usually every 20"], "subject": "20% off coffee"},
                {"rank": 2, "offer_id": "o2", "offer": "Tea", "channel": "sms", "send_at": None, "probability": None,
                 "expected_value": 0.1, "propensity": 0.1, "reasons": [], "subject": None},
            ],
            "excluded": [], "degraded": [],
        },
        {
            "kind": "real", "who": "somebody of whom nothing is known", "customer": "somebody new/?", "arm": "holdout",
            "actions": [], "excluded": [], "degraded": ["unknown_customer"],
        },
    ],
    "content": {"kind": "real", "by": "templates", "written": 130, "approved": 127, "failed_a_check": 0, "pending": 3},
    "journey": {"kind": "simulated"},
    "experiment": {
        "kind": "simulated", "sentence": "The good hour brought 12% more purchases; the interval holds zero.",
        "arms": [
            {"key": "now", "control": True, "weight": 0.5, "exposures": 210, "value": 0.031, "shown": "3.1%"},
            {"key": "good_hour", "control": False, "weight": 0.5, "exposures": 198, "value": 0.035, "shown": "3.5%"},
        ],
    },
    "world": {
        "kind": "simulated", "seed": 7, "customers": 400, "offers": 8, "days": 30, "decisions": 1700, "random": 0.1,
        "best": 0.31, "model_untrained": _arm(600, 0.18, 0.38), "model_trained": _arm(800, 0.27, 0.8),
        "arms": {"model": _arm(1400, 0.23, 0.6), "random": _arm(90, 0.1, 0.0), "holdout": _arm(0, 0.0, None)},
        "journey": {"enrolled": 80, "arrived": 74, "sales": 6},
    },
    "timings": [{"name": "data", "title": "Read the data", "seconds": 11.0, "reused": False},
                {"name": "copy", "title": "Write copy", "seconds": 0.2, "reused": True}],
    "addresses": {"report": "http://127.0.0.1:8000/"},
}  # fmt: skip

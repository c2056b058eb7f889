from __future__ import annotations

import io
from typing import Any

import orjson
from rich.console import Console

from training.demo.report import PAGES, Report, decision_section, model_section, timing_rows
from training.demo.speak import Speaker
from training.demo.steps import Timing
from training.demo.summary import print_summary

CHURN = {
    "name": "churn",
    "version": "3",
    "promoted": True,
    "verdict": "beats recency",
    "metrics": {"log_loss": 0.3, "auc": 0.882},
    "rivals": {"logistic": {"auc": 0.87}, "recency": {"auc": 0.81}},
}
DECISION = {
    "decision_id": "d1",
    "customer_id": "household-1",
    "arm": "model",
    "actions": [
        {
            "rank": 1,
            "offer_id": "save-tea",
            "channel": "email",
            "send_at": "2026-11-23T15:00:00Z",
            "probability": 0.083,
            "expected_value": 0.94,
            "propensity": 0.6,
            "reasons": [{"feature": "days_since_last_order", "text": "last order 41 days ago", "effect": 0.3}],
            "content": {"variant_id": "v1", "locale": "en", "subject": "Tea for you", "body": "…"},
        }
    ],
    "excluded": [{"offer_id": "save-beef", "channel": "sms", "rule": "consent", "detail": "said no"}],
}
FIGURES = {"decisions": 10, "sent": 9, "value": 0.5, "lift": 2.5, "gap_closed": 0.4, "random": 0.2, "best": 1.0}


def report() -> Report:
    world: dict[str, Any] = {
        "kind": "simulated",
        "days": 30,
        "arms": {"model": FIGURES, "holdout": {**FIGURES, "lift": None, "gap_closed": None}},
        "model_untrained": {**FIGURES, "decisions": 0},
        "model_trained": FIGURES,
        "random": 0.2,
        "best": 1.0,
        "journey": {"enrolled": 5, "arrived": 4, "sales": 1},
    }
    return {
        "version": 1,
        "made_at": "2026-11-22T10:00:00Z",
        "seconds": 200.0,
        "data": {
            "kind": "real", "what": "Complete Journey", "first_day": "2025-11-16", "last_day": "2026-11-15",
            "transactions": 1_469_307, "households": 2_469, "baskets": 155_848, "campaigns": 27, "deliveries": 6_589,
            "redemptions": 2_102, "demographics": 801, "revenue": 1.0, "offers": 100, "assumptions": ["dates moved"],
        },
        "features": {"kind": "real", "count": 70, "customers": 2_469, "as_of": "2026-11-16T04:59:59Z"},
        "models": [model_section(CHURN), model_section({**CHURN, "name": "own", "metrics": {}, "rivals": {}})],
        "decisions": [
            decision_section("a regular", DECISION, {"save-tea": "20% off tea"}),
            decision_section("a stranger", {**DECISION, "actions": [], "degraded": ["unknown_customer"]}, {}),
        ],
        "content": {"kind": "real"},
        "journey": None,
        "experiment": {"kind": "simulated", "sentence": "Too early to tell."},
        "world": world,
        "timings": timing_rows([Timing("data", "D", 3.0, reused=False), Timing("train", "T", 60.0, reused=True)]),
        "addresses": {name: f"http://127.0.0.1:8000{path}" for name, path in PAGES.items()},
    }  # fmt: skip


def test_a_model_stands_beside_its_plain_baseline() -> None:
    section = model_section(CHURN)
    assert (section["metric"], section["value"]) == ("auc", 0.882)
    assert (section["baseline_name"], section["baseline_value"]) == ("recency", 0.81)
    assert section["rivals"] == [{"name": "logistic", "value": 0.87}, {"name": "recency", "value": 0.81}]


def test_a_model_that_was_not_made_says_why() -> None:
    section = model_section({**CHURN, "version": None, "metrics": {}, "rivals": {}, "verdict": "64 of 100 conversions"})
    assert section["value"] is section["baseline_value"] is section["baseline_name"] is None
    assert section["verdict"] == "64 of 100 conversions"


def test_a_model_of_another_figure_shows_the_first_it_has() -> None:
    section = model_section(
        {**CHURN, "name": "upgrade", "metrics": {"brier": 0.1}, "rivals": {"recency": {"brier": 0.2}}}
    )
    assert (section["metric"], section["value"], section["baseline_value"]) == ("brier", 0.1, 0.2)


def test_a_decision_is_told_in_words() -> None:
    section = decision_section("a regular", DECISION, {"save-tea": "20% off tea"})
    action = section["actions"][0]
    assert (action["offer"], action["reasons"], action["subject"]) == (
        "20% off tea",
        ["last order 41 days ago"],
        "Tea for you",
    )
    assert section["kind"] == "real"
    assert section["excluded"][0]["rule"] == "consent"


def test_the_summary_is_plain_lines_without_a_terminal() -> None:
    out = io.StringIO()
    print_summary(Speaker(Console(file=out, highlight=False, soft_wrap=True)), report())
    said = out.getvalue()
    for words in (
        "1,469,307 transactions of 2,469 households", "churn v3", "0.882", "because: last order 41 days ago",
        "nothing is sent", "without: unknown_customer", "x2.50", "40%", "Too early to tell.", "real", "simulated",
        "http://127.0.0.1:8000/review", "data 3 s, train reused",
    ):  # fmt: skip
        assert words in said
    assert "\x1b" not in said
    assert "model, untrained" not in said


def test_the_summary_has_tables_on_a_terminal() -> None:
    out = io.StringIO()
    print_summary(Speaker(Console(file=out, force_terminal=True, width=160)), report())
    assert "┃" in out.getvalue()


def test_the_report_is_json() -> None:
    assert orjson.loads(orjson.dumps(report()))["models"][0]["name"] == "churn"

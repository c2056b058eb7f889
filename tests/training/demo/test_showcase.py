from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest

from training.demo import showcase
from training.demo.processes import StepFailed
from training.demo.run import Demo
from training.demo.simulated import log_by_arm
from training.world.client import Api

OFFERS = [
    {"offer_id": "tea", "name": "20% off tea", "channels": ["email", "sms", "push"]},
    {"offer_id": "beef", "name": "10% off beef", "channels": ["email"]},
]


class Desk:
    """Answers as `/v1/content` and `/v1/decisions` do; the copy for beef fails a check."""

    def __init__(self) -> None:
        self.variants: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, dict[str, str]]] = []

    def get(self, path: str) -> Any:
        wanted = dict(part.split("=") for part in path.partition("?")[2].split("&"))
        chosen = [v for v in self.variants.values() if all(v.get(key) == value for key, value in wanted.items())]
        return {"variants": chosen, "next": None}

    def post(self, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Any:
        self.calls.append(("POST", path, headers or {}))
        if path.endswith("/generate"):
            made = [self._make(body) for _ in range(body["n"])]
            return {"variants": made}
        if path.endswith("/approve"):
            variant = self.variants[path.split("/")[-2]]
            assert headers == {"If-Match": variant["etag"]}
            assert variant["state"] == "pending"
            variant["state"] = "approved"
            return variant
        if path.endswith("/activate"):
            return None
        actions = [] if body["customer_id"] == showcase.STRANGER else [{"rank": 1, "offer_id": "tea", "channel": "sms"}]
        return {"customer_id": body["customer_id"], "arm": "model", "actions": actions}

    def put(self, path: str, body: Any, *, headers: dict[str, str] | None = None) -> Any:
        self.calls.append(("PUT", path, headers or {}))

    def call(self, method: str, path: str, body: Any, *, ok: int) -> Any:
        self.calls.append((method, path, {"ok": str(ok)}))

    def _make(self, body: Any) -> dict[str, Any]:
        name = f"v{len(self.variants)}"
        checks = [{"name": "figures", "passed": body["offer_id"] != "beef"}]
        kept = {key: body[key] for key in ("offer_id", "channel", "locale")}
        self.variants[name] = {"variant_id": name, "etag": f'"{name}"', "state": "pending", "checks": checks, **kept}
        return self.variants[name]


def test_copy_that_passes_is_approved_and_some_is_left_to_review() -> None:
    desk = Desk()
    counts = showcase.approve_copy(cast(Api, desk), OFFERS, ["email", "sms"], leave=1)
    assert counts == {"written": 4, "approved": 2, "failed_a_check": 1, "pending": 2}
    again = showcase.approve_copy(cast(Api, desk), OFFERS, ["email", "sms"], leave=1)
    assert again == counts
    assert len(desk.variants) == 4


def test_five_decisions_are_asked_for_once() -> None:
    desk = Desk()
    found = showcase.ask(cast(Api, desk), {"a regular": "h1"}, OFFERS)
    assert [(section["who"], section["customer"]) for section in found] == [
        ("a regular", "h1"),
        ("somebody of whom nothing is known", showcase.STRANGER),
    ]
    assert found[0]["actions"][0]["offer"] == "20% off tea"
    assert found[1]["actions"] == []
    keys = [headers["Idempotency-Key"] for _, _, headers in desk.calls]
    assert len(set(keys)) == 2


def test_a_journey_is_started_in_order() -> None:
    desk = Desk()
    showcase.start_journey(cast(Api, desk), "winback", b"name: x", "test", {"variants": ["a", "b"]})
    showcase.enrol(cast(Api, desk), "winback", ["h1", "h2"])
    assert [(method, path) for method, path, _ in desk.calls] == [
        ("PUT", "/v1/experiments/test"),
        ("PUT", "/v1/journeys/winback"),
        ("POST", "/v1/journeys/winback/activate"),
        ("POST", "/v1/journeys/winback/enrollments"),
        ("POST", "/v1/journeys/winback/enrollments"),
    ]
    assert desk.calls[1][2] == {"Content-Type": "application/yaml"}


def test_the_log_is_told_by_arm(tmp_path: Path) -> None:
    pl.DataFrame(
        {
            "decision_id": ["d1", "d1", "d2", "d3", "j1"],
            "placement": ["weekly"] * 4 + ["journey"],
            "arm": ["model", "model", "model", "random", "model"],
        }
    ).write_parquet(tmp_path / "decisions.parquet")
    pl.DataFrame(
        {"decision_id": ["d1", "d1", "d3", "j1"], "kind": ["converted", "converted", "opened", "converted"]}
    ).write_parquet(tmp_path / "outcomes.parquet")
    assert log_by_arm(tmp_path) == {"model": {"decisions": 2, "sales": 1}, "random": {"decisions": 1, "sales": 0}}


def test_a_home_with_data_of_ones_own_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "state.db").touch()
    with pytest.raises(StepFailed, match="holds data of your own; set OPPORTUNE_HOME to an empty folder"):
        Demo(tmp_path).run(exit_after=True)

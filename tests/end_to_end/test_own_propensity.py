"""A propensity of an installation's own: declared in TOML, trained, served, read, ruled by, shown; and refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import orjson
import pytest

from tests.end_to_end.conftest import Service, eventually
from tests.fakes.segment_file import END, segment_file

pytestmark = pytest.mark.slow
DECLARED = """
[[propensity]]
name = "upgrade"
title = "Upgrades within 28 days"
purpose = "Shown to people."
population = ["orders_90d >= 1 OR forms_90d >= 1"]
exclusions = [{ condition = "complaints_365d > 0", otherwise = "has complained" }]
goal = { event = "Plan Upgraded", where = "properties.plan = 'pro'", noun = "upgrades" }
horizon_days = 28
"""
OFFER = {
    "name": "Pro", "facts": {}, "channels": ["web"], "requires_approval": False,
    "eligibility": "customer.scores.upgrade > 0.0",
}  # fmt: skip


def write_events(path: Path, customers: int) -> str:
    """Orders of a small shop; those who order often upgrade often, some only to another plan. Returns who complains."""
    segment_file(path, customers, days=300, broken=False)
    chance = random.Random(3)
    lines = path.read_bytes().splitlines()
    bought = [(m["userId"], m["timestamp"]) for m in map(orjson.loads, lines) if m.get("event") == "Order Completed"]
    for number, (who, at) in enumerate(bought):
        if chance.random() < 0.2:
            plan = "pro" if int(who[1:]) % 2 else "team"
            moment = datetime.fromisoformat(at) + timedelta(days=2)
            event = {"type": "track", "event": "Plan Upgraded", "userId": who, "messageId": f"u{number}"}
            lines.append(orjson.dumps({**event, "timestamp": moment.isoformat(), "properties": {"plan": plan}}))
    angry = bought[-1][0]
    complaint = {"type": "track", "event": "Email Marked as Spam", "userId": angry, "messageId": "spam"}
    lines.append(orjson.dumps({**complaint, "timestamp": (END - timedelta(days=3)).isoformat()}))
    path.write_bytes(b"\n".join(lines))
    return str(angry)


def test_a_propensity_in_toml_is_trained_served_and_ruled_by(make_service: Callable[..., Service]) -> None:
    service = make_service()
    (service.home / "clock").write_text((END + timedelta(days=1)).isoformat())
    service.environment["OPPORTUNE_CLOCK"] = f"file:{service.home / 'clock'}"
    (service.home / "propensities.toml").write_text(DECLARED)
    angry = write_events(service.home / "events.jsonl", 110)
    service.done("ingest", "events.jsonl")
    told = service.done("train", "upgrade")
    assert "upgrade: version 1; promoted" in told
    service.start()
    client = service.client("admin")

    def scores(customer: str) -> dict[str, dict[str, object]]:
        found: dict[str, dict[str, object]] = client.get(f"/v1/customers/{customer}/scores").json()
        return found

    assert eventually(lambda: scores("c3")["upgrade"]["model_version"] == "1", 30)
    assert list(scores("c3")) == ["lead", "churn", "winback", "upgrade"]
    likely = [one for one in (scores(f"c{n}")["upgrade"] for n in range(2, 40)) if one["probability"] is not None]
    assert all(0 < float(str(one["probability"])) < 1 and one["reasons"] for one in likely)
    assert len(likely) > 5
    assert scores(angry)["upgrade"]["why"] == "has complained"
    assert client.put("/v1/offers/pro", json=OFFER).is_success
    asked = {"customer_id": angry, "placement": "p"}
    assert [one["rule"] for one in client.post("/v1/decisions", json=asked).json()["excluded"]] == ["eligibility"]
    page = client.get("/models").text
    assert "opportune-upgrade" in page
    assert "Upgrades within 28 days. Shown to people." in page


def test_a_wrong_table_says_what_is_wrong(make_service: Callable[..., Service]) -> None:
    service = make_service()
    (service.home / "propensities.toml").write_text(DECLARED.replace("horizon_days", "horizon"))
    result = service.run("train", "upgrade")
    assert result.returncode == 1
    assert "propensities.toml: upgrade: horizon: there is no such key; do you mean horizon_days" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1

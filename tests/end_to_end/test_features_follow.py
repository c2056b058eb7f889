"""Features of an installation's own, and features that follow files, through the commands and HTTP that a user has."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.end_to_end.conftest import Service, eventually

pytestmark = pytest.mark.slow
FEATURES = """
[[feature]]
name = "trials_30d"
aggregate = "count"
events = { verbs = ["Trial Started"] }
window_days = 30
unit = "trials"
description = "Trials started in the last 30 days"
"""
OFFER = {
    "name": "Go on", "facts": {}, "channels": ["web"], "requires_approval": False,
    "eligibility": "customer.features.trials_30d >= 2",
}  # fmt: skip


def write_events(path: Path, customers: int, each: int, event: str = "Trial Started") -> None:
    at = datetime.now(UTC) - timedelta(days=3)
    lines = [
        {"type": "track", "event": event, "userId": f"c{c}", "messageId": f"{path.stem}-{c}-{n}",
         "timestamp": (at + timedelta(minutes=n)).isoformat()}
        for c in range(customers)
        for n in range(each)
    ]  # fmt: skip
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))


def features_of(client: Any, customer: str) -> dict[str, Any]:
    answer = client.get(f"/v1/customers/{customer}")
    told: dict[str, Any] = (answer.json().get("features") or {}) if answer.status_code == 200 else {}
    return told


def test_a_feature_in_toml_reaches_rows_rules_and_explanations(make_service: Callable[..., Service]) -> None:
    service = make_service()
    write_events(service.home / "before.jsonl", 3, 2)
    once = {"type": "track", "event": "Trial Started", "userId": "one-trial", "messageId": "one"}
    with (service.home / "before.jsonl").open("ab") as file:
        file.write(b"\n" + orjson.dumps({**once, "timestamp": datetime.now(UTC).isoformat()}))
    service.done("ingest", "before.jsonl")  # rows are packed without the feature
    (service.home / "features.toml").write_text(FEATURES)
    service.start()
    client = service.client("admin")
    assert client.put("/v1/offers/o1", json=OFFER).is_success
    assert eventually(lambda: features_of(client, "c1").get("trials_30d") == 2.0)

    def ruled_out(customer: str) -> set[str]:
        answer = client.post("/v1/decisions", json={"customer_id": customer, "placement": "p"}).json()
        return {one["rule"] for one in answer["excluded"]}

    assert "eligibility" not in ruled_out("c1")
    assert "eligibility" in ruled_out("one-trial")
    event = {"type": "track", "event": "Trial Started", "userId": "new", "messageId": "n1"}
    client.post("/v1/batch", json={"batch": [event, {**event, "messageId": "n2"}]}).raise_for_status()
    assert eventually(lambda: features_of(client, "new").get("trials_30d") == 2.0)
    service.done("features")
    told = service.done("features", "--explain", "trials_30d")
    assert "Trials started in the last 30 days" in told
    assert "events Trial Started, the last 30 days" in told
    assert "5 of 5 customers have it" in told
    assert "0 values differ" in service.done("skew")


def test_a_wrong_declaration_says_what_is_wrong(make_service: Callable[..., Service]) -> None:
    service = make_service()
    (service.home / "features.toml").write_text('[[feature]]\nname = "x"\naggregate = "guess"\n')
    result = service.run("features", "--explain", "x")
    assert result.returncode == 1
    assert "features.toml: x" in result.stderr
    assert "no aggregate guess" in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_files_beside_a_running_service_reach_decisions(service: Service) -> None:
    client = service.client("admin")
    client.post("/v1/track", json={"userId": "c1", "event": "Order Completed", "messageId": "live"}).raise_for_status()
    assert eventually(lambda: features_of(client, "c1").get("orders_30d") == 1.0)
    write_events(service.home / "orders.jsonl", 30, 4, "Order Completed")
    service.done("ingest", "orders.jsonl")
    assert features_of(client, "c1")["orders_30d"] == 5.0
    assert features_of(client, "c29")["orders_30d"] == 4.0
    report = client.get("/v1/data-report").json()
    assert (report["events"], report["features"]["customers_waiting"]) == (121, 0)
    assert "orders.jsonl" in client.get("/data").text


def test_features_that_a_killed_ingest_left_are_made_by_the_service(make_service: Callable[..., Service]) -> None:
    service = make_service()
    write_events(service.home / "orders.jsonl", 60, 200, "Order Completed")
    ingest = service.background("ingest", "orders.jsonl")
    log = service.home / "ingest.log"
    end = time.monotonic() + 60
    while b"online features" not in log.read_bytes() and ingest.poll() is None and time.monotonic() < end:
        time.sleep(0.001)
    ingest.send_signal(signal.SIGKILL)
    ingest.wait(10)
    service.start()
    client = service.client("admin")
    right = [f"c{number}" for number in range(60)]
    assert eventually(lambda: all(features_of(client, one).get("orders_30d") == 200.0 for one in right), 30)

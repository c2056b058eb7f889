"""A copy made as docs/running.md says, of a home at work, holds all that was answered before it was begun."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from tests.end_to_end.conftest import Service, eventually
from tests.end_to_end.test_documents import ROOT, blocks
from tests.faults.conftest import OFFER, MakeService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def order(api: httpx.Client, number: int) -> str:
    properties = {"order_id": f"o{number}", "revenue": 5}
    event = {"messageId": f"m{number}", "userId": "c1", "event": "Order Completed", "properties": properties}
    assert api.post("/v1/track", json=event).status_code == 200
    return f"m{number}"


def back_up(home: Path) -> None:
    [script] = [block for block in blocks((ROOT / "docs/running.md").read_text(), "sh") if "VACUUM" in block]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    subprocess.run(["bash", "-c", script], cwd=home, env={"PATH": path}, check=True, timeout=60)


def held(service: Service) -> tuple[list[str], float]:
    """The customer's events, and how many orders the features have."""
    api = service.client("admin")
    assert eventually(lambda: api.get("/health/ready").json()["heartbeats"]["events"].get("pending") == 0, 30)
    service.done("features")
    messages = [event["message_id"] for event in api.get("/v1/customers/c1/export").json()["events"]]
    return messages, api.get("/v1/customers/c1").json()["features"]["orders_total"]


def test_a_copy_of_a_home_at_work_holds_all_that_was_answered(make_service: MakeService) -> None:
    service = make_service("live")
    service.environment["OPPORTUNE_HOME"] = str(service.home / ".opportune")
    service.start()
    api = service.client("admin")
    assert api.put("/v1/offers/thanks", json=OFFER).status_code == 200
    before = {order(api, number) for number in range(100)}
    decision_id = api.post("/v1/decisions", json={"customer_id": "c1"}).json()["decision_id"]
    over = threading.Event()

    def go_on() -> None:
        with httpx.Client(base_url=service.url, headers=api.headers, timeout=30, trust_env=False) as other:
            number = 100
            while not over.is_set():
                order(other, number)
                number += 1

    going = threading.Thread(target=go_on)
    going.start()
    back_up(service.home)
    over.set()
    going.join()
    service.stop()

    restored = make_service("restored")
    (service.home / "backup").rename(restored.home / "state")
    restored.start()
    messages, orders = held(restored)
    assert before <= set(messages)
    assert orders == len(messages) == len(set(messages))
    assert restored.client("admin").get(f"/v1/decisions/{decision_id}").status_code == 200

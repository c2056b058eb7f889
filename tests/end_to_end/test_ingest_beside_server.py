"""A bulk import beside a server that takes events and decides: nobody fails, and each event counts once."""

from __future__ import annotations

import threading
from collections import Counter

import httpx
import pytest

from tests.end_to_end.conftest import eventually
from tests.fakes.segment_file import segment_file
from tests.faults.conftest import MakeService, Place, make_service, place

__all__ = ["make_service", "place"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def test_an_import_beside_a_server(make_service: MakeService, place: Place) -> None:
    service = make_service(**place.settings)
    service.start()
    api = service.client("admin")
    source = segment_file(service.home / "events.jsonl", customers=40, days=200, broken=False)
    imported = Counter(
        customer
        for line in source.read_text().splitlines()
        if '"Order Completed"' in line
        for customer in [line.split('"userId":"')[1].split('"')[0]]
    )
    assert sum(imported.values()) > 250
    done, statuses, sent = threading.Event(), Counter[int](), Counter[str]()

    def live() -> None:
        number = 0
        with httpx.Client(base_url=service.url, headers=api.headers, timeout=60, trust_env=False) as client:
            while not done.is_set() or number < 200:
                customer = f"c{number % 40}"
                event = {"userId": customer, "event": "Order Completed", "messageId": f"live-{number}",
                         "properties": {"order_id": f"live-{number}", "revenue": 1}}  # fmt: skip
                statuses[client.post("/v1/track", json=event).status_code] += 1
                statuses[client.post("/v1/decisions", json={"customer_id": customer}).status_code] += 1
                sent[customer] += 1
                number += 1

    shopper = threading.Thread(target=live)
    shopper.start()
    try:
        service.done("ingest", str(source))
    finally:
        done.set()
        shopper.join()
    assert set(statuses) == {200}, statuses

    def settled() -> bool:
        report = api.get("/health/ready").json()["heartbeats"]["events"]
        return report["pending"] == 0 and report["set_aside"] == 0

    assert eventually(settled, 60)

    def wrong() -> dict[str, tuple[float, int]]:
        found = {}
        for customer in sorted(set(imported) | set(sent)):
            features = api.get(f"/v1/customers/{customer}").json()["features"]
            expected = imported[customer] + sent[customer]
            if features.get("orders_total") != expected:
                found[customer] = (features.get("orders_total"), expected)
        return found

    assert eventually(lambda: not wrong(), 30), wrong()
    service.done("features")
    assert wrong() == {}

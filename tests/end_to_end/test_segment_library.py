"""Segment's own Python library, only its host changed, sends events that change a decision."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from segment.analytics import request
from segment.analytics.client import Client

from tests.end_to_end.conftest import Service, eventually

pytestmark = pytest.mark.slow
OFFER = {
    "name": "Thank you",
    "description": "For those who bought lately",
    "category": "coffee",
    "product_ids": ["p1"],
    "channels": ["web"],
    "facts": {"discount": {"percent": 20}, "url": "https://shop.example/coffee"},
    "value": 12.5,
    "cost": 0.1,
    "eligibility": "customer.features.orders_90d >= 1",
    "requires_approval": False,
}


def decide(api: httpx.Client, customer: str) -> dict[str, Any]:
    answer = api.post("/v1/decisions", json={"customer_id": customer, "placement": "web.home", "channels": ["web"]})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize("gzip", [False, True])
def test_events_of_the_library_change_a_decision(service: Service, gzip: bool) -> None:
    api = service.client("admin")
    assert api.put("/v1/offers/thanks", json=OFFER).status_code in {200, 201}
    before = decide(api, "c42")
    assert before["degraded"][:1] == ["unknown_customer"]
    assert [(one["offer_id"], one["rule"]) for one in before["excluded"]] == [("thanks", "eligibility")]

    errors: list[Exception] = []
    library = Client(service.key("ingest"), host=service.url, gzip=gzip, on_error=lambda error, _: errors.append(error))
    library.identify("c42", {"email": "ann@shop.example", "firstName": "Ann"})
    library.track(
        "c42",
        "Order Completed",
        {
            "order_id": "1",
            "revenue": 30,
            "currency": "USD",
            "products": [{"product_id": "p1", "price": 30, "quantity": 1}],
        },
    )
    library.flush()
    library.join()
    request._session.close()  # the library keeps one for the process
    assert errors == []

    def offered() -> bool:
        decision = decide(api, "c42")
        in_actions = [action["offer_id"] for action in decision["actions"]] == ["thanks"]
        return decision["arm"] == "holdout" or in_actions

    assert eventually(offered, seconds=5)
    customer = api.get("/v1/customers/c42").json()
    assert customer["traits"]["firstName"] == "Ann"
    assert customer["features"]["orders_90d"] == 1

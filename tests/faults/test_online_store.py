"""The online features go away and come back: decisions are made without them, and no event is lost to them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import httpx
import pytest

from tests.end_to_end.conftest import BEST_ONLY, Service, eventually
from tests.fakes.redis_server import RedisServer
from tests.faults.conftest import EVERYBODY, OFFER, MakeService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("no redis-server on this machine")
    server = RedisServer(binary)
    server.start()
    yield server
    server.remove()


def buy(api: httpx.Client, order: str) -> int:
    event = {"userId": "c1", "event": "Order Completed", "properties": {"order_id": order, "revenue": 5}}
    return api.post("/v1/track", json=event).status_code


def orders(api: httpx.Client) -> float:
    answer = api.get("/v1/customers/c1")
    return float(answer.json()["features"].get("orders_total", 0)) if answer.status_code == 200 else 0.0


def test_redis_away_and_back(make_service: MakeService, redis: RedisServer) -> None:
    service: Service = make_service(
        OPPORTUNE_ONLINE_STORE=redis.url, OPPORTUNE_PLACEMENTS=EVERYBODY, OPPORTUNE_DECISIONS=json.dumps(BEST_ONLY)
    )
    service.start()
    api = service.client("admin")
    assert api.put("/v1/offers/thanks", json=OFFER).status_code == 200
    assert buy(api, "1") == 200
    assert eventually(lambda: orders(api) == 1, 30)
    before = api.post("/v1/decisions", json={"customer_id": "c1"}).json()
    assert "features" not in before["degraded"]

    redis.stop()
    assert buy(api, "2") == 200  # accepted: events wait in the state, a lone one too
    during = api.post("/v1/decisions", json={"customer_id": "c1"})
    assert during.status_code == 200
    assert "features" in during.json()["degraded"]
    assert during.json()["actions"]
    shown = api.get("/v1/customers/c1")
    assert shown.status_code == 200, shown.text
    assert (shown.json()["degraded"], shown.json()["features"]) == (["features"], {})
    assert len(shown.json()["timeline"]) >= 1
    assert api.get("/v1/customers/c1/scores").json() == shown.json()["scores"]
    whole = api.get("/v1/customers/c1/export")  # all that is held, or nothing
    assert (whole.status_code, whole.json()["type"]) == (503, "urn:opportune:unavailable")
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert any("online store" in problem for problem in ready.json()["problems"])
    assert not eventually(lambda: api.get("/health/ready").json()["heartbeats"]["events"]["set_aside"] > 0, 8)

    redis.start()
    assert eventually(lambda: orders(api) == 2, 30)
    assert buy(api, "3") == 200
    assert eventually(lambda: orders(api) == 3, 30)
    after = api.post("/v1/decisions", json={"customer_id": "c1"}).json()
    assert "features" not in after["degraded"]
    assert api.get("/health/ready").json()["heartbeats"]["events"]["set_aside"] == 0

"""A whole service over a fresh home, with its pages, an offer, copy, a decision, a journey and an experiment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.main import create_app
from service.settings import Pages, Settings
from service.web.auth import create_key
from service.wiring import Parts, build

OFFER = {
    "name": "Coffee Gold", "description": "Fine coffee.", "category": "coffee", "channels": ["email", "sms", "push"],
    "facts": {"discount": {"percent": 20}, "price": {"amount": "9.90", "currency": "EUR"}, "url": "https://shop.example/x",
              "ends_at": "2030-12-31T22:00:00Z"},
    "value": 12.5, "cost": 0.1, "caps": [{"max": 1, "per_days": 7}],
}  # fmt: skip
JOURNEY = {
    "name": "Welcome", "entry": {"event": "Signed Up"},
    "steps": [{"id": "think", "kind": "wait", "for": "1h"}, {"id": "end", "kind": "exit"}],
}  # fmt: skip


@dataclass
class House:
    """The parts, the app over them, and keys by scope."""

    parts: Parts
    app: FastAPI
    keys: dict[str, str]

    def client(self, scope: str | None = None) -> httpx.AsyncClient:
        headers = {"Authorization": f"Bearer {self.keys[scope]}"} if scope else {}
        transport = httpx.ASGITransport(app=self.app, raise_app_exceptions=False, client=("127.0.0.1", 50_000))
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)


def make_house(home: Path, open_pages: bool = False, **settings: Any) -> House:
    """Nothing runs in the background: what events do is applied when a test asks."""
    parts = build(Settings(home=home, pages=Pages(open=open_pages), **settings))
    app = create_app(parts)
    scopes = ("ingest", "decide", "review", "admin")
    keys = {scope: create_key(parts.database, (scope,), f"{scope} key", parts.clock.now()) for scope in scopes}
    return House(parts, app, keys)


async def fill(house: House) -> dict[str, Any]:
    """Puts a bit of everything in through the API; returns the variants that were made."""
    async with house.client("admin") as admin:
        await _ok(admin.put("/v1/offers/o1", json=OFFER))
        await _ok(admin.put("/v1/offers/o2", json={"name": "Tea", "facts": {}, "channels": ["push"]}))
        order = {"offer_id": "o1", "channel": "email", "locale": "en", "n": 3}
        made = (await _ok(admin.post("/v1/content/generate", json=order))).json()["variants"]
        await _ok(admin.post("/v1/content/generate", json={**order, "channel": "sms", "locale": "th", "n": 1}))
        event = {"type": "identify", "userId": "c1", "messageId": "m1", "traits": {"first_name": "Ada", "plan": "<b>x"}}
        order_event = {"type": "track", "event": "Order Completed", "userId": "c1", "messageId": "m2",
                       "properties": {"order_id": "1", "revenue": 20.5, "currency": "EUR"}}  # fmt: skip
        await _ok(admin.post("/v1/batch", json={"batch": [event, order_event]}))
        house.parts.events.run_pass()
        approved = made[0]
        path = f"/v1/content/variants/{approved['variant_id']}/approve"
        await _ok(admin.post(path, headers={"If-Match": approved["etag"]}))
        for _ in range(2):
            await _ok(
                admin.post("/v1/decisions", json={"customer_id": "c1", "placement": "weekly", "channels": ["email"]})
            )
        arms = [{"key": "a", "value": False}, {"key": "b", "value": True}]
        await _ok(admin.put("/v1/journeys/welcome", json=JOURNEY))
        await _ok(admin.put("/v1/experiments/test", json={"variants": arms, "metric": {"event": "Order Completed"}}))
    return {"variants": made}


async def _ok(call: Any) -> httpx.Response:
    answer: httpx.Response = await call
    assert answer.status_code < 300, answer.text
    return answer


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = make_house(tmp_path / "home")
    yield made
    made.parts.close()


@pytest.fixture
async def reader(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client("review") as client:
        yield client

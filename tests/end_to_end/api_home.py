"""The app behind a real server in a thread of this process, over a home with one of everything to name."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from service.clock import SystemClock
from service.main import create_front
from service.serve import PROTOCOL
from service.settings import Placement, Settings
from service.telemetry import App
from service.web.auth import create_key
from service.wiring import build
from tests.conftest import free_port

STARTER = Path(__file__).parents[2] / "service" / "starter"
OFFER: dict[str, Any] = {
    "name": "Thank you",
    "description": "For those who came back",
    "category": "coffee",
    "product_ids": ["p1"],
    "channels": ["email", "web"],
    "facts": {"discount": {"percent": 20}, "url": "https://shop.example/coffee"},
    "value": 12.5,
    "cost": 0.1,
}
ARMS = {"model": 1.0, "random": 0.0, "business_as_usual": 0.0, "holdout": 0.0}


@dataclass(frozen=True)
class ApiHome:
    """A client with an admin's key, and the ids of what is there, by the path parameter that takes them."""

    api: httpx.Client
    secret: str
    ids: dict[str, str]


@contextmanager
def api_home(home: Path, database_url: str | None = None) -> Iterator[ApiHome]:
    """The server, its loops running, until the block ends."""
    placements = {"default": Placement.model_validate({"arms": ARMS})}
    parts = build(Settings(home=home, database_url=database_url, placements=placements))
    secret = create_key(parts.database, ("admin",), "test", SystemClock().now())
    with (
        serving(create_front(parts)) as url,
        httpx.Client(base_url=url, headers={"Authorization": f"Bearer {secret}"}, timeout=60, trust_env=False) as api,
    ):
        yield ApiHome(api, secret, _fill(api))


@contextmanager
def serving(app: App) -> Iterator[str]:
    """The app's address, answering."""
    port = free_port()
    config = uvicorn.Config(
        app, port=port, http=PROTOCOL, access_log=False, log_config=None, timeout_graceful_shutdown=5
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive(), "the server did not come up"
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def _fill(api: httpx.Client) -> dict[str, str]:
    events = [{"type": "identify", "userId": "c1", "traits": {"email": "c1@shop.example"}}]
    _did(api.post("/v1/batch", json={"batch": events}))
    _did(api.put("/v1/offers/thanks", json=OFFER))
    variants = _did(api.post("/v1/content/generate", json={"offer_id": "thanks", "channel": "email", "n": 1}))
    decision = _did(api.post("/v1/decisions", json={"customer_id": "c1"}))
    experiment = (STARTER / "winback-hour.experiment.json").read_bytes()
    _did(api.put("/v1/experiments/winback-hour", content=experiment, headers={"Content-Type": "application/json"}))
    journey = (STARTER / "winback.yaml").read_bytes()
    _did(api.put("/v1/journeys/winback", content=journey, headers={"Content-Type": "application/yaml"}))
    _did(api.post("/v1/journeys/winback/activate"))
    return {
        "customer_id": "c1",
        "offer_id": "thanks",
        "variant_id": variants["variants"][0]["variant_id"],
        "decision_id": decision["decision_id"],
        "experiment_id": "winback-hour",
        "key": "winback-hour",
        "journey_id": "winback",
    }


def _did(answer: httpx.Response) -> dict[str, Any]:
    assert answer.status_code in {200, 201}, answer.text
    return dict(answer.json())

"""What only the whole app behind a server shows: connections that outlive a failure, and the route that is counted."""

from __future__ import annotations

import http.client
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.routing import iter_route_contexts

from service.customers.look_up import CustomerReader
from service.main import create_app
from service.settings import Settings
from service.telemetry import registry
from service.web import auth
from service.web.auth import create_key
from service.web.bodies import parse
from service.wiring import build
from tests.conftest import free_port


class Api:
    """One connection that stays open; `http.client` would open another without a word."""

    def __init__(self, port: int, key: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._connection.connect()
        self._connection.auto_open = 0
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        told = None if body is None else json.dumps(body)
        self._connection.request(method, path, told, self._headers | headers)
        answer = self._connection.getresponse()
        text = answer.read()
        return answer.status, json.loads(text) if text else None

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Api]:
    parts = build(Settings(home=tmp_path))
    key, port = create_key(parts.database, ("admin",), "test", parts.clock.now()), free_port()
    server = uvicorn.Server(uvicorn.Config(create_app(parts), port=port, lifespan="off", log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        thread.join(0.02)
    made = Api(port, key)
    yield made
    made.close()
    server.should_exit = True
    thread.join()
    parts.close()


def test_a_connection_goes_on_after_a_failure(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(CustomerReader, "overview", fail)
    status, problem = api.ask("GET", "/v1/customers/c1")
    assert (status, problem["status"]) == (500, 500)
    assert "secret" not in str(problem)
    assert api.ask("HEAD", "/v1/customers/c1") == (500, None)
    assert api.ask("GET", "/health/live") == (200, {"status": "ok"})


def test_a_slash_at_the_end_leads_nowhere(api: Api) -> None:
    """It led on to http://, also from behind a proxy with TLS; and /v1/customers to the customer without an id."""
    status, problem = api.ask("POST", "/v1/decisions/", {"customer_id": "c1"})
    assert (status, problem["detail"].rpartition("; ")[2]) == (404, "leave out the slash at its end")
    assert api.ask("GET", "/v1/customers")[0] == 404


def counted(route: str, status: int) -> float:
    labels = {"method": "POST", "route": route, "status": str(status)}
    return registry.get_sample_value("opportune_http_requests_total", labels) or 0.0


@pytest.mark.parametrize(
    ("path", "body", "header", "route", "status"),
    [
        ("/v1/decisions/batch", {"requests": [{"customer_id": "c1", "dry_run": True}]}, {"Idempotency-Key": "k"},
         "/v1/decisions/batch", 200),
        ("/v1/journeys/x/pause", {}, {"Content-Encoding": "br"}, "/v1/journeys/{journey_id}/pause", 415),
        ("/nowhere", {}, {}, "unmatched", 404),
    ],
)  # fmt: skip
def test_what_is_answered_before_its_route_is_counted_under_it(
    api: Api, path: str, body: Any, header: dict[str, str], route: str, status: int
) -> None:
    before = counted(route, status)
    for _ in range(2):
        assert api.ask("POST", path, body, **header)[0] == status
    end = time.monotonic() + 10
    while counted(route, status) < before + 2 and time.monotonic() < end:  # it is counted behind its answer
        time.sleep(0.01)
    assert counted(route, status) == before + 2


@pytest.mark.parametrize(
    "headers", [{"Authorization": ""}, {"Authorization": "Bearer op_nobody"}], ids=["none", "wrong"]
)
def test_a_stranger_leaves_nothing_in_the_database(tmp_path: Path, api: Api, headers: dict[str, str]) -> None:
    """Each request with an Idempotency-Key was two transactions, and a 404 was kept for a day."""
    for path in ("/nowhere", "/v1/decisions"):
        assert api.ask("POST", path, {}, **headers, **{"Idempotency-Key": "mine"})[0] in (401, 404)
    with sqlite3.connect(tmp_path / "state.db") as database:
        assert database.execute("SELECT count(*) FROM idempotency_keys").fetchone() == (0,)


def test_a_revoked_key_is_not_told_its_answers_again(tmp_path: Path, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    once = {"Idempotency-Key": "mine"}
    order = {"customer_id": "c1", "placement": "email"}
    assert api.ask("POST", "/v1/decisions", order, **once)[0] == 200
    with sqlite3.connect(tmp_path / "state.db") as database:
        database.execute("DELETE FROM api_keys")
    monkeypatch.setattr(auth, "_REMEMBER_S", 0.0)
    assert api.ask("POST", "/v1/decisions", order, **once)[0] == 401


async def test_no_body_is_read_without_a_key(tmp_path: Path) -> None:
    """FastAPI parses a body before it asks for the key: ten megabytes of JSON held everybody up for seconds."""
    parts = build(Settings(home=tmp_path))
    app = create_app(parts)
    routes = [one for one in iter_route_contexts(app.routes) if getattr(one, "body_field", None) is not None]
    asked = [(method, one.path) for one in routes for method in one.methods if one.path != "/sign-in"]
    assert ("POST", "/v1/content/check") in asked

    async def receive() -> Any:
        raise AssertionError("the body was read")

    for method, path in asked:
        sent: list[Any] = []

        async def send(message: Any, sent: list[Any] = sent) -> None:
            sent.append(message)

        scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "app": app}
        await app(scope, receive, send)
        assert (path, sent[0]["status"]) == (path, 401)
    parts.close()


def test_a_catalogue_is_read_while_others_are_answered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """The offers of 10 MB were checked on the event loop: for two seconds nobody got an answer, decisions neither."""
    threads: list[str] = []

    def watched(model: Any, body: bytes) -> Any:
        threads.append(threading.current_thread().name)
        return parse(model, body)

    monkeypatch.setattr("service.offers.routes.parse", watched)
    offers = [{"offer_id": "tea", "name": "Tea", "channels": ["web"]}]
    assert api.ask("PUT", "/v1/offers", {"offers": offers})[1]["put"] == 1
    assert api.ask("PUT", "/v1/offers", {"offers": [{"name": "Tea"}]})[0] == 422
    assert [name.startswith("AnyIO worker") for name in threads] == [True, True]

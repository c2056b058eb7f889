"""A database that goes away under a running service and comes back: no restart needed.

In between decisions go on without it, and all else answers 503.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import psycopg
import pytest

from tests.end_to_end.conftest import Service, eventually
from tests.fakes.postgres_server import PostgresServer
from tests.faults.conftest import EVERYBODY, OFFER, MakeService

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
JOURNEY = {
    "name": "Tag",
    "entry": {"event": "Form Submitted"},
    "reentry": {"rule": "always"},
    "steps": [{"id": "tag", "kind": "segment", "to": "tagged"}, {"id": "end", "kind": "exit"}],
}


@pytest.fixture
def api(service: Service) -> httpx.Client:
    api = service.client("admin")
    assert api.put("/v1/offers/thanks", json=OFFER).status_code == 200
    assert api.put("/v1/journeys/tag", json=JOURNEY).status_code == 201
    assert api.post("/v1/journeys/tag/activate").status_code == 200
    return api


@pytest.fixture
def service(make_service: MakeService, stoppable: PostgresServer) -> Iterator[Service]:
    with psycopg.connect(f"{stoppable.url}/postgres", autocommit=True) as admin:
        admin.execute("CREATE DATABASE opportune")
    made: Service = make_service(OPPORTUNE_DATABASE_URL=f"{stoppable.url}/opportune", OPPORTUNE_PLACEMENTS=EVERYBODY)
    made.start()
    yield made
    made.stop()  # before the database, which would wait for its connections


def requests() -> list[tuple[str, str, dict[str, Any] | None]]:
    return [
        ("POST", "/v1/decisions", {"customer_id": "c1"}),
        ("POST", "/v1/decisions/batch", {"requests": [{"customer_id": "c1"}]}),
        ("POST", "/v1/track", {"userId": "c1", "event": "Played"}),
        ("POST", "/v1/batch", {"batch": [{"type": "track", "userId": "c1", "event": "Played"}]}),
        ("GET", "/v1/customers/c1", None),
        ("GET", "/v1/customers/c1/scores", None),
        ("GET", "/v1/customers/c1/export", None),
        ("PUT", "/v1/customers/c1/consents", {"email": {"marketing": True}}),
        ("DELETE", "/v1/customers/c1", None),
        ("GET", "/v1/offers", None),
        ("PUT", "/v1/offers/thanks", OFFER),
        ("POST", "/v1/content/generate", {"offer_id": "thanks", "channel": "sms"}),
        ("GET", "/v1/content/variants", None),
        ("GET", "/v1/journeys/tag/stats", None),
        ("POST", "/v1/journeys/tag/enrollments", {"customer_id": "c1"}),
        ("GET", "/v1/experiments", None),
        ("POST", "/ofrep/v1/evaluate/flags", {"context": {"targetingKey": "c1"}}),
    ]


def decided_without_it(answer: httpx.Response) -> list[str]:
    """The ids of decisions that were made from memory: the offer on the page still stands, nothing goes out."""
    assert answer.status_code == 200, answer.text
    made = answer.json().get("decisions") or [answer.json()]
    for decision in made:
        assert "database" in decision["degraded"]
        assert {action["channel"] for action in decision["actions"]} <= {"web"}
    return [decision["decision_id"] for decision in made]


def orders(api: httpx.Client, customer: str) -> float:
    answer = api.get(f"/v1/customers/{customer}")
    return float(answer.json()["features"].get("orders_total", 0)) if answer.status_code == 200 else 0.0


def lines_of(server: PostgresServer, decision_id: str) -> int:
    """How many lines of the ledger a decision has."""
    with psycopg.connect(f"{server.url}/opportune") as connection:
        found = connection.execute("SELECT count(*) FROM ledger WHERE decision_id = %s", [decision_id]).fetchone()
    return int(found[0]) if found else 0


def buy(api: httpx.Client, customer: str, order: str) -> httpx.Response:
    return api.post(
        "/v1/track",
        json={"userId": customer, "event": "Order Completed", "properties": {"order_id": order, "revenue": 5}},
    )


def test_postgres_away_and_back(service: Service, api: httpx.Client, stoppable: PostgresServer) -> None:
    assert buy(api, "c1", "1").status_code == 200
    assert eventually(lambda: orders(api, "c1") == 1, 30)
    for method, path, body in requests()[:4]:  # connections lie in the pools when the server goes
        assert api.request(method, path, json=body).status_code == 200

    stoppable.stop()
    spooled: list[str] = []
    for round_ in range(3):
        for method, path, body in requests():
            headers = {"Idempotency-Key": f"{path}-{round_}"} if method == "POST" and round_ else {}
            answer = api.request(method, path, json=body, headers=headers)
            if path.startswith("/v1/decisions"):
                spooled += decided_without_it(answer)
                if headers:  # asked again under its key, the same decisions come again
                    again = api.request(method, path, json=body, headers=headers)
                    assert (again.content, again.headers["idempotent-replay"]) == (answer.content, "true")
                continue
            assert answer.status_code == 503, (method, path, answer.status_code, answer.text)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:opportune:unavailable"
    assert api.get("/health/live").status_code == 200
    ready = api.get("/health/ready")
    assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
    assert "database" in ready.json()["problems"][0]
    assert ready.json()["decisions"] == {"open": ["database"], "spool_waits": True, "nowhere": False}
    metrics = api.get("/metrics").text
    assert 'opportune_circuit_open{part="database"} 1.0' in metrics
    assert 'opportune_degraded_total{part="database"} 6.0' in metrics
    assert httpx.get(f"{service.url}/offers", trust_env=False).status_code in {401, 503}

    stoppable.start()
    assert buy(api, "c1", "2").status_code == 200
    assert eventually(lambda: orders(api, "c1") == 2, 30)  # the loop is back
    assert eventually(lambda: not api.get("/health/ready").json()["decisions"]["spool_waits"], 30)
    for decision_id in spooled:  # brought in, each once, with what it reserved
        record = api.get(f"/v1/decisions/{decision_id}").json()
        assert record["degraded"][0] == "database"
        assert api.post(f"/v1/decisions/{decision_id}/replay").json()["equal"]
        if record["actions"]:
            assert lines_of(stoppable, decision_id) == len(record["actions"])
    assert eventually(lambda: 'opportune_circuit_open{part="database"} 0.0' in api.get("/metrics").text, 30)
    for method, path, body in requests():
        answer = api.request(
            method, path, json=body, headers={"Idempotency-Key": f"{path}-2"} if method == "POST" else {}
        )
        assert answer.status_code in {200, 201}, (method, path, answer.status_code, answer.text)
    decision = api.post("/v1/decisions", json={"customer_id": "c9"}).json()
    assert "features" not in decision["degraded"]
    assert api.get("/health/ready").json()["heartbeats"]["events"]["set_aside"] == 0
    log = (service.home / "serve.log").read_text()
    assert "unexpected failure" not in log


def test_connections_cut_but_the_server_stays(api: httpx.Client, stoppable: PostgresServer) -> None:
    """As a failover or an administrator does: what lies idle in the pools is dead, and nobody notices."""

    def has_features() -> bool:  # one made without the database (a slow start), or of a stranger, looks for none
        degraded = api.post("/v1/decisions", json={"customer_id": "c1"}).json()["degraded"]
        return not {"features", "database", "unknown_customer"}.intersection(degraded)

    assert buy(api, "c1", "1").status_code == 200
    assert eventually(has_features, 30)
    for _ in range(3):
        assert buy(api, "c1", "1").status_code == 200
        with psycopg.connect(f"{stoppable.url}/postgres", autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'opportune' AND state = 'idle'"
            )
        answer = api.post("/v1/decisions", json={"customer_id": "c1"})
        assert answer.status_code == 200, answer.text
        assert "features" not in answer.json()["degraded"]
        assert api.get("/v1/offers").status_code == 200


def test_the_journeys_runner_comes_back(service: Service, api: httpx.Client, stoppable: PostgresServer) -> None:
    worker = service.background("worker")

    def tagged(customer: str) -> bool:
        answer = api.get(f"/v1/customers/{customer}")
        return answer.status_code == 200 and answer.json()["segments"] == ["tagged"]

    def submit(customer: str) -> httpx.Response:
        return api.post("/v1/track", json={"userId": customer, "event": "Form Submitted"})

    assert submit("before").status_code == 200
    assert eventually(lambda: tagged("before"), 60)
    stoppable.stop()
    assert submit("during").status_code == 503
    assert not eventually(lambda: worker.poll() is not None, 3)  # it waits
    stoppable.start()
    assert submit("after").status_code == 200
    assert eventually(lambda: tagged("after"), 60)
    assert worker.poll() is None

"""The whole service on Postgres: state and online features there, nothing of them in the home folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import psycopg
import pytest

from tests.end_to_end.conftest import BEST_ONLY, Service, eventually
from tests.fakes.segment_file import BROKEN, segment_file

pytestmark = pytest.mark.slow
OFFER: dict[str, Any] = {
    "name": "Thank you",
    "description": "Coffee for those who come back",
    "category": "coffee",
    "product_ids": ["p1"],
    "channels": ["email"],
    "facts": {"discount": {"percent": 20}, "url": "https://shop.example/coffee"},
    "value": 12.5,
    "cost": 0.1,
}
EVERYBODY = {
    "OPPORTUNE_PLACEMENTS": '{"default": {"arms": {"model": 1, "random": 0, "business_as_usual": 0, "holdout": 0}}}',
    "OPPORTUNE_DECISIONS": json.dumps(BEST_ONLY),
}


@pytest.fixture
def grown(make_service: Callable[..., Service], postgres_url: str) -> Service:
    with_texts = {"OPPORTUNE_EMBEDDING_MODEL": ""}  # as it comes
    return make_service(OPPORTUNE_DATABASE_URL=postgres_url, **EVERYBODY, **with_texts)


def decide(api: httpx.Client, customer: str) -> dict[str, Any]:
    answer = api.post("/v1/decisions", json={"customer_id": customer, "channels": ["email"]})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def approve_one(api: httpx.Client) -> str:
    made = api.post("/v1/content/generate", json={"offer_id": "thanks", "channel": "email", "locale": "en", "n": 2})
    assert made.status_code == 201, made.text
    variant = made.json()["variants"][0]
    assert variant["state"] == "pending"
    path = f"/v1/content/variants/{variant['variant_id']}/approve"
    assert api.post(path, headers={"If-Match": '"99"'}).status_code == 412
    approved = api.post(path, headers={"If-Match": variant["etag"]})
    assert (approved.status_code, approved.json()["state"]) == (200, "approved")
    return str(variant["variant_id"])


def rows_naming(postgres_url: str, text: str) -> list[str]:
    """Tables with a row in which the text stands, whatever the column."""
    with psycopg.connect(postgres_url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        naming = []
        for (table,) in tables:
            columns = connection.execute(
                "SELECT column_name, data_type FROM information_schema.columns WHERE table_name = %s", (table,)
            ).fetchall()
            tests = [
                f'position(%(text)s::bytea in "{name}") > 0' if kind == "bytea" else f'"{name}"::text LIKE %(like)s'
                for name, kind in columns
            ]
            found = connection.execute(
                f'SELECT count(*) FROM "{table}" WHERE {" OR ".join(tests)}',
                {"text": text.encode(), "like": f"%{text}%"},
            ).fetchone()
            if found and found[0]:
                naming.append(table)
    return sorted(naming)


def test_the_whole_service_on_postgres(grown: Service, postgres_url: str) -> None:
    grown.done("keys", "create", "--scope", "admin", "--label", "first")
    source = segment_file(grown.home / "events.jsonl", customers=20)
    assert f"{len(BROKEN)} rejected" in grown.done("ingest", str(source))
    assert "ingested before" in grown.done("ingest", str(source))
    assert "loaded 20 customers" in grown.done("features")
    assert not [path.name for path in (grown.home / "state").glob("*.db") if path.name != "mlflow.db"]

    grown.start()
    api = grown.client("admin")
    assert api.put("/v1/offers/thanks", json=OFFER).status_code == 200
    wordless = decide(api, "c1")
    assert wordless["actions"]
    assert "content" in wordless["degraded"]
    variant = approve_one(api)

    customer = api.get("/v1/customers/visitor-1").json()
    assert customer["customer_id"] == "c1"
    assert customer["features"]["orders_total"] > 0
    assert customer["traits"]["email"] == "c1@shop.example"

    decision = decide(api, "c2")
    assert [action["offer_id"] for action in decision["actions"]] == ["thanks"]
    assert decision["actions"][0]["content"]["variant_id"] == variant
    record = api.get(f"/v1/decisions/{decision['decision_id']}").json()
    assert record["customer_id"] == "c2"
    assert api.post(f"/v1/decisions/{decision['decision_id']}/replay").json()["equal"] is True

    refused = api.put("/v1/customers/c3/consents", json={"email": {"marketing": False}})
    assert refused.status_code == 200
    assert [one["rule"] for one in decide(api, "c3")["excluded"]] == ["consent"]

    grown.kill()  # and everything is there again
    grown.start()
    api = grown.client("admin")
    assert api.get(f"/v1/decisions/{decision['decision_id']}").json() == record
    assert decide(api, "c4")["actions"][0]["content"]["variant_id"] == variant
    event = {"userId": "c5", "event": "Order Completed", "properties": {"order_id": "new", "revenue": 3}}
    before = api.get("/v1/customers/c5").json()["features"]["orders_total"]
    assert api.post("/v1/track", json=event).json() == {"success": True}
    assert eventually(lambda: api.get("/v1/customers/c5").json()["features"]["orders_total"] == before + 1, 20)

    export = api.get("/v1/customers/c2/export")
    assert export.status_code == 200
    assert [one["decision_id"] for one in export.json()["decisions"]["decisions"]] == [decision["decision_id"]]
    erased = api.delete("/v1/customers/c2").json()
    assert erased["complete"] is True
    assert api.get("/v1/customers/c2").status_code == 404
    assert rows_naming(postgres_url, "c2@shop.example") == []
    assert api.get("/health/ready").status_code == 200
    assert "Postgres" in grown.done("doctor")

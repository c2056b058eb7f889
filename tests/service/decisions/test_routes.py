from __future__ import annotations

from collections.abc import AsyncIterator
from types import NoneType
from typing import Any, get_args

import httpx
import pytest
from fastapi import FastAPI

from service.decisions.answer_schemas import BatchOut, DecisionOut, OutcomeOut, RecordOut, ReplayOut
from service.decisions.outcome_store import outcomes
from service.decisions.read_decision import DecisionReader
from service.decisions.routes import routes
from service.offers.routes import routes as offer_routes
from service.web.auth import Guard, create_key
from service.web.openapi import completed
from service.web.problems import install_problem_handlers
from tests.fakes.databases import sqlite_with_tables
from tests.fakes.decisions import NOON, Desk, NextOffer, settings


@pytest.fixture
async def client(tmp_path: Any) -> AsyncIterator[httpx.AsyncClient]:
    database = sqlite_with_tables(tmp_path / "state.db")
    desk = Desk(database, settings(caps=[]))
    desk.served.models["next-offer"] = NextOffer({"a": 0.3})
    guard = Guard(database)
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(offer_routes(database, desk.clock, guard))
    app.include_router(routes(desk.decider, DecisionReader(database, desk.served), guard))
    key = create_key(database, ("admin",), "test", NOON)
    transport = httpx.ASGITransport(app)
    headers = {"authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as made:
        yield made


async def test_an_offer_put_is_decided_read_and_replayed(client: httpx.AsyncClient) -> None:
    put = await client.put("/v1/offers/a", json={"name": "A", "value": 10, "channels": ["email"]})
    assert put.status_code == 200
    assert put.json()["version"] == 1
    assert (await client.get("/v1/offers")).json()["offers"][0]["offer_id"] == "a"
    decided = await client.post("/v1/decisions", json={"customer_id": "ไทย-1", "placement": "email.weekly"})
    assert decided.status_code == 200
    body = decided.json()
    assert body["decided_at"] == "2026-03-04T12:00:00Z"
    assert body["degraded"][0] == "unknown_customer"
    full = (await client.get(f"/v1/decisions/{body['decision_id']}")).json()
    assert full["actions"] == body["actions"]
    assert (await client.post(f"/v1/decisions/{body['decision_id']}/replay")).json()["equal"] is True
    assert (await client.delete("/v1/offers/a")).status_code == 204
    assert (await client.get("/v1/offers/a")).status_code == 404
    after = (await client.post("/v1/decisions", json={"customer_id": "c"})).json()
    assert after["actions"] == []


async def test_answers_have_the_shape_that_openapi_tells(client: httpx.AsyncClient) -> None:
    await client.put("/v1/offers/a", json={"name": "A", "value": 10, "channels": ["email", "web"]})
    await client.put("/v1/offers/b", json={"name": "B", "channels": ["sms"], "starts_at": "2027-01-01T00:00:00Z"})
    asked: list[dict[str, Any]] = [
        {"customer_id": "c1"},
        {"customer_id": "c1", "explain": False},
        {"customer_id": "c2", "channels": ["push"], "dry_run": True},
    ]
    answers = [(await client.post("/v1/decisions", json=one)).json() for one in asked]
    told = [DecisionOut.model_validate(one) for one in answers]
    assert [bool(one.actions) for one in told] == [True, True, False]
    assert told[0].actions[0].reasons
    assert told[0].actions[0].stage is not None
    assert {(one.offer_id, one.until is None) for one in told[0].excluded} == {("b", False)}
    assert {(one.channel, one.until is None) for one in told[2].excluded} == {(None, True)}
    assert told[1].model_fields_set.isdisjoint({"excluded"})
    batch = BatchOut.model_validate((await client.post("/v1/decisions/batch", json={"requests": asked})).json())
    assert len(batch.decisions) == 3
    record = RecordOut.model_validate((await client.get(f"/v1/decisions/{told[0].decision_id}")).json())
    assert [one.offer_id for one in record.candidates] == ["a", "a", "b", None]
    replayed = (await client.post(f"/v1/decisions/{told[0].decision_id}/replay")).json()
    assert ReplayOut.model_validate(replayed).equal


def test_an_outcome_may_lack_what_its_table_lets_it_lack() -> None:
    lacking = {name for name, field in OutcomeOut.model_fields.items() if NoneType in get_args(field.annotation)}
    assert lacking == {name for name in OutcomeOut.model_fields if outcomes.c[name].nullable}


async def test_bulk_puts_all_or_none(client: httpx.AsyncClient) -> None:
    good, bad = {"offer_id": "a", "name": "A"}, {"offer_id": "b", "name": "B", "eligibility": "customer.x >"}
    refused = await client.put("/v1/offers", json={"offers": [good, bad]})
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "offers[1].eligibility"
    assert "column 13" in refused.json()["errors"][0]["detail"]
    assert (await client.get("/v1/offers/a")).status_code == 404
    assert (await client.put("/v1/offers", json=[good])).json()["put"] == 1
    assert (await client.put("/v1/offers", json=[good, good])).status_code == 422


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "customer_id"),
        ({"customer_id": ""}, "customer_id"),
        ({"customer_id": 5}, "customer_id"),
        ({"customer_id": "a\x00b"}, "customer_id"),
        ({"customer_id": ".."}, "customer_id"),
        ({"customer_id": "ü/./b"}, "customer_id"),
        ({"customer_id": "x" * 5_000}, "customer_id"),
        ({"customer_id": "c", "channels": ["fax"]}, "channels[0]"),
        ({"customer_id": "c", "channels": []}, "channels"),
        ({"customer_id": "c", "placement": "no spaces here"}, "placement"),
        ({"customer_id": "c", "placement": "a\n"}, "placement"),
        ({"customer_id": "c", "offers": ["nosuch"]}, "offers[0]"),
        ({"customer_id": "c", "offers": "nosuch"}, "offers"),
        ({"customer_id": "c", "top_k": 10**9}, "top_k"),
        ({"customer_id": "c", "top_k": 0}, "top_k"),
        ({"customer_id": "c", "top_k": "5"}, "top_k"),
        ({"customer_id": "c", "top_k": True}, "top_k"),
        ({"customer_id": "c", "at": "1969-12-31T00:00:00Z"}, "at"),
        ({"customer_id": "c", "at": "2101-01-01T00:00:00Z"}, "at"),
        ({"customer_id": "c", "at": 1}, "at"),
        ({"customer_id": "c", "at": "yesterday"}, "at"),
        ({"customer_id": "c", "dry_run": "yes"}, "dry_run"),
        ({"customer_id": "c", "context": []}, "context"),
        ({"customer_id": "c", "context": {"a": "b\x07"}}, "context"),
        ({"customer_id": "c", "context": {"a": "x" * 40_000}}, "context"),
        ({"customer_id": "c", "surprise": 1}, "surprise"),
    ],
)
async def test_bad_input_names_the_field(client: httpx.AsyncClient, body: dict[str, Any], field: str) -> None:
    answer = await client.post("/v1/decisions", json=body)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == field
    batch = await client.post("/v1/decisions/batch", json={"requests": [{"customer_id": "ok"}, body]})
    assert batch.status_code == 422
    assert batch.json()["errors"][0]["field"] == f"requests[1].{field}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"x"',
        b'{"customer_id": NaN}',
        b'{"customer_id":"c","context":{"a":Infinity}}',
        b"\xff",
    ],
)
async def test_what_is_no_request_is_a_problem(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await client.post("/v1/decisions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.json()["errors"]


async def test_deep_context_is_refused(client: httpx.AsyncClient) -> None:
    deep = b'{"customer_id":"c","context":' + b'{"a":' * 5_000 + b"1" + b"}" * 5_000 + b"}"
    answer = await client.post("/v1/decisions", content=deep)
    assert answer.status_code in {400, 422}


async def test_a_batch_answers_in_order_and_has_a_limit(client: httpx.AsyncClient) -> None:
    asked = [{"customer_id": f"c{n}"} for n in range(230)]
    done = (await client.post("/v1/decisions/batch", json={"requests": asked})).json()["decisions"]
    assert [decision["customer_id"] for decision in done] == [request["customer_id"] for request in asked]
    over = await client.post("/v1/decisions/batch", json={"requests": [{"customer_id": "c"}] * 1_001})
    assert over.json()["errors"][0]["field"] == "requests"


async def test_keys_are_needed(client: httpx.AsyncClient) -> None:
    for method, path in (("POST", "/v1/decisions"), ("GET", "/v1/decisions/x"), ("GET", "/v1/offers")):
        answer = await client.request(method, path, headers={"authorization": ""})
        assert answer.status_code == 401


async def test_the_schema_describes_the_body(client: httpx.AsyncClient) -> None:
    document = completed((await client.get("/openapi.json")).json(), {})
    content = document["paths"]["/v1/decisions"]["post"]["requestBody"]["content"]["application/json"]
    assert content["schema"] == {"$ref": "#/components/schemas/DecisionIn"}
    schemas = document["components"]["schemas"]
    assert "top_k" in schemas["DecisionIn"]["properties"]
    assert schemas["BatchIn"]["properties"]["requests"]["items"] == content["schema"]


async def test_what_is_wrong_is_told_in_the_words_of_json(client: httpx.AsyncClient) -> None:
    for wrong, detail in (
        ({"context": []}, "should be an object, {…}"),
        ({"channels": "email"}, "should be a list, […]"),
    ):
        answer = await client.post("/v1/decisions", json={"customer_id": "c", **wrong})
        assert [error["detail"] for error in answer.json()["errors"]] == [detail]

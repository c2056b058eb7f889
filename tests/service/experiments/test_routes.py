"""The HTTP face: definitions, results, and OpenFeature's remote evaluation (open-feature/protocol 0.2)."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.customers.identity_store import Link, set_owners
from service.experiments.experiment_store import find_exposures
from service.experiments.routes import routes
from service.storage.database import Database
from service.web.auth import Guard, create_key
from service.web.problems import install_problem_handlers
from tests.fakes.databases import sqlite_with_tables


class FixedClock:
    def now(self) -> datetime:
        return datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def client(tmp_path: Path) -> httpx.AsyncClient:
    database = sqlite_with_tables(tmp_path / "state.db")
    app = FastAPI()
    app.include_router(routes(database, FixedClock(), Guard(database)))
    install_problem_handlers(app)
    key = create_key(database, ("admin",), "test", FixedClock().now())
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"Authorization": f"Bearer {key}"})


BODY: dict[str, Any] = {
    "variants": [{"key": "control", "value": False}, {"key": "treatment", "value": True}],
    "metric": {"event": "Order Completed"},
}


async def test_put_get_and_results(client: httpx.AsyncClient) -> None:
    made = await client.put("/v1/experiments/checkout", json=BODY)
    assert made.status_code == 201
    assert (await client.put("/v1/experiments/checkout", json=BODY)).status_code == 200
    assert (await client.get("/v1/experiments/checkout")).json() == made.json()
    assert (await client.get("/v1/experiments")).json() == {"experiments": [made.json()]}
    results = (await client.get("/v1/experiments/checkout/results")).json()
    assert results["exposures"] == 0
    assert results["winner"] is None
    assert (await client.get("/v1/experiments/none/results")).status_code == 404
    assert (await client.put("/v1/experiments/bad", json={**BODY, "coverge": 1})).status_code == 422
    assert (await client.get("/v1/experiments", headers={"Authorization": "Bearer x"})).status_code == 401


def context(key: Any = "c1", **attributes: Any) -> dict[str, Any]:
    return {"context": {"targetingKey": key, **attributes}}


@pytest.mark.parametrize(
    ("values", "told"), [([0.5, 1], ["0.5", "1.0"]), ([3, 5], ["3", "5"]), ([True, 1], ["true", "1"])]
)
async def test_numbers_of_a_flag_are_all_floats_or_all_whole(
    client: httpx.AsyncClient, values: list[Any], told: list[str]
) -> None:
    """Of 0.5 and 1 OpenFeature's Python SDK gave the second arm the default: a 1 is no float to it."""
    variants = [{"key": key, "value": value} for key, value in zip("ab", values, strict=True)]
    await client.put("/v1/experiments/checkout", json={**BODY, "variants": variants})
    texts = [
        (await client.post("/ofrep/v1/evaluate/flags/checkout", json=context(f"c{n}"))).text.split(",")[1]
        for n in range(20)
    ]
    assert sorted(set(texts)) == sorted(f'"value":{value}' for value in told)


async def test_a_former_id_gets_the_variant_of_its_customer(client: httpx.AsyncClient, tmp_path: Path) -> None:
    await client.put("/v1/experiments/checkout", json=BODY)
    former = [f"visitor-{n}" for n in range(20)]  # by chance alike: one in a million
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    with database.write() as connection:
        for name in former:
            set_owners(connection, [Link(name, "anna", FixedClock().now())])
    got = set()
    for name in (*former, "anna"):
        got.add((await client.post("/ofrep/v1/evaluate/flags/checkout", json=context(name))).json()["variant"])
        flags = (await client.post("/ofrep/v1/evaluate/flags", json=context(name))).json()["flags"]
        got |= {flag["variant"] for flag in flags}
    assert len(got) == 1
    assert (await client.get("/v1/experiments/checkout/results")).json()["exposures"] == 1
    database.close()


async def test_an_id_in_either_unicode_form_is_the_customer_that_events_name(
    client: httpx.AsyncClient, tmp_path: Path
) -> None:
    await client.put("/v1/experiments/checkout", json=BODY)
    for name in ("Zoe\u0301", "Zo\u00e9"):
        assert (await client.post("/ofrep/v1/evaluate/flags/checkout", json=context(name))).status_code == 200
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    with database.read() as connection:
        assert [one.customer_id for one in find_exposures(connection, ["Zoe\u0301", "Zo\u00e9"])] == ["Zo\u00e9"]
    database.close()


async def test_one_flag(client: httpx.AsyncClient) -> None:
    await client.put("/v1/experiments/checkout", json=BODY)
    url = "/ofrep/v1/evaluate/flags/checkout"
    got = await client.post(url, json=context(country="MY"))
    assert got.status_code == 200
    body = got.json()
    assert body["key"] == "checkout"
    assert body["reason"] == "SPLIT"
    assert body["value"] is (body["variant"] == "treatment")
    assert (await client.post(url, json=context())).json() == body
    assert (await client.get("/v1/experiments/checkout/results")).json()["exposures"] == 1


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b'{"context": {}}', 400, "TARGETING_KEY_MISSING"),
        (b'{"context": {"targetingKey": ""}}', 400, "TARGETING_KEY_MISSING"),
        (b"{}", 400, "TARGETING_KEY_MISSING"),
        (b'{"context": []}', 400, "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": 5}}', 400, "INVALID_CONTEXT"),
        (b'{"context": {"targetingKey": "a/.."}}', 400, "INVALID_CONTEXT"),
        (b"{", 400, "PARSE_ERROR"),
        (b"[]", 400, "PARSE_ERROR"),
        (b'{"context": {"targetingKey": "c"}, "more": 1}', 400, "PARSE_ERROR"),
    ],
)
async def test_flag_errors_are_openfeatures(client: httpx.AsyncClient, sent: bytes, status: int, code: str) -> None:
    await client.put("/v1/experiments/checkout", json=BODY)
    for url in ("/ofrep/v1/evaluate/flags/checkout", "/ofrep/v1/evaluate/flags"):
        got = await client.post(url, content=sent)
        assert (got.status_code, got.json()["errorCode"]) == (status, code)
        assert got.json()["errorDetails"]


async def test_an_unknown_flag_is_not_found(client: httpx.AsyncClient) -> None:
    got = await client.post("/ofrep/v1/evaluate/flags/nothing", json=context())
    assert got.status_code == 404
    assert got.json()["key"] == "nothing"
    assert got.json()["errorCode"] == "FLAG_NOT_FOUND"


async def test_all_flags_with_an_etag_expose_nobody(client: httpx.AsyncClient) -> None:
    await client.put("/v1/experiments/one", json=BODY)
    await client.put("/v1/experiments/two", json={**BODY, "status": "draft"})
    await client.put("/v1/experiments/three", json={**BODY, "exposed_by": "any_evaluation"})
    got = await client.post("/ofrep/v1/evaluate/flags", json=context())
    flags = {flag["key"]: flag for flag in got.json()["flags"]}
    assert set(flags) == {"one", "two", "three"}
    assert flags["two"]["reason"] == "DISABLED"
    assert flags["two"]["value"] is False
    tag = got.headers["etag"]
    same = await client.post("/ofrep/v1/evaluate/flags", json=context(), headers={"If-None-Match": f'"x", W/{tag}'})
    assert same.status_code == 304
    assert same.content == b""
    assert (await client.get("/v1/experiments/one/results")).json()["exposures"] == 0
    assert (await client.get("/v1/experiments/three/results")).json()["exposures"] == 1
    await client.put("/v1/experiments/two", json=BODY)
    changed = await client.post("/ofrep/v1/evaluate/flags", json=context(), headers={"If-None-Match": tag})
    assert changed.status_code == 200


async def test_a_stopped_flag_is_static(client: httpx.AsyncClient) -> None:
    await client.put("/v1/experiments/one", json={**BODY, "status": "stopped", "ship": "treatment"})
    body = (await client.post("/ofrep/v1/evaluate/flags/one", json=context())).json()
    assert (body["value"], body["reason"], body["variant"]) == (True, "STATIC", "treatment")

"""The OpenAPI document says what every field and parameter means, and its examples are taken as they stand."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx
import pytest

from service.web.openapi import _METHODS
from tests.service.pages.conftest import House, make_house

FIRST = ["/v1/offers/{offer_id}", "/v1/offers"]  # copy is made of an offer
NAMES = {"{customer_id}": "c42", "{offer_id}": "coffee-20", "{journey_id}": "welcome", "{experiment_id}": "hour"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    made = make_house(tmp_path_factory.mktemp("words") / "home")
    yield made
    made.parts.close()


@pytest.fixture
async def admin(house: House) -> AsyncIterator[httpx.AsyncClient]:
    async with house.client("admin") as client:
        yield client


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for path, methods in document["paths"].items():
        for method in _METHODS:
            if method in methods:
                yield method, path, methods[method]


def body_of(operation: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    content = operation.get("requestBody", {}).get("content", {})
    schema = next((part["schema"] for part in content.values() if "schema" in part), {})
    name = str(schema.get("$ref", "")).rsplit("/", 1)[-1]
    found: Mapping[str, Any] = document["components"]["schemas"][name] if name else schema
    return found


def test_every_field_and_parameter_says_what_it_means(house: House) -> None:
    document = house.app.openapi()
    silent = []
    for method, path, operation in operations(document):
        told = {one["name"]: one for one in operation.get("parameters", ())}
        told |= body_of(operation, document).get("properties", {})
        silent += [f"{method} {path}: {name}" for name, one in told.items() if not one.get("description")]
    assert silent == []


async def test_every_example_is_taken(house: House, admin: httpx.AsyncClient) -> None:
    document = house.app.openapi()
    asked = []
    for method, path, operation in sorted(operations(document), key=lambda one: one[1] not in FIRST):
        address = path
        for name, value in NAMES.items():
            address = address.replace(name, value)
        for example in body_of(operation, document).get("examples", ()):
            answer = await admin.request(method, address, json=example)
            assert answer.status_code < 300, f"{method} {path}: {answer.text}"
            asked.append(path)
    assert {"/v1/track", "/v1/batch", "/v1/decisions", "/v1/journeys/{journey_id}", *FIRST[:1]} <= set(asked)


async def test_docs_show_what_bodies_are_made_of(admin: httpx.AsyncClient) -> None:
    page = (await admin.get("/docs")).text
    for name in ("Facts", "Cap", "WaitBody", "VariantIn"):
        assert f'id="shape-{name}"' in page
    assert "&#34;customer_id&#34;: &#34;c42&#34;" in page


async def test_an_address_that_there_is_not_says_where_to_look(admin: httpx.AsyncClient) -> None:
    answer = await admin.get("/v1/decision")
    assert (answer.status_code, answer.json()["detail"]) == (
        404,
        "there is nothing at this address; /docs tells what there is",
    )

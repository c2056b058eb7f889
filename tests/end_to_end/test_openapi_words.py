"""The OpenAPI document says what every field and parameter means, and its examples are taken as they stand."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import httpx
import jsonschema
import pytest

from service.events.normalize import TYPES
from service.web.auth import SCOPES
from service.web.openapi import _METHODS
from tests.service.pages.conftest import House, make_house

FIRST = ["/v1/offers/{offer_id}", "/v1/offers"]  # copy is made of an offer
NAMES = {
    "{customer_id}": "c42",
    "{offer_id}": "coffee-20",
    "{journey_id}": "welcome",
    "{experiment_id}": "hour",
    "{key}": "hour",
}


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
    events = {f"/v1/{kind}" for kind in (*TYPES, "events", "batch")}
    others = {"/v1/decisions", "/v1/decisions/batch", "/v1/journeys/{journey_id}", "/ofrep/v1/evaluate/flags/{key}"}
    assert events | others | {FIRST[0]} <= set(asked)


def schemas_in(part: Any, at: str = "#") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object of the document, schemas among them, with its place."""
    if isinstance(part, dict):
        yield at, part
    for name, inner in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield from schemas_in(inner, f"{at}/{name}")


def test_examples_fit_their_schemas(house: House) -> None:
    document = house.app.openapi()
    told = [schema for _, schema in schemas_in(document["components"]["schemas"]) if "examples" in schema]
    assert told
    for schema in told:
        validator = jsonschema.Draft202012Validator({**schema, "components": document["components"]})
        for example in schema["examples"]:
            validator.validate(example)


def test_schemas_are_what_generators_of_clients_can_read(house: House) -> None:
    """Each of these broke a client of openapi-generator or openapi-python-client, or one that checks by schema."""
    document = house.app.openapi()
    faults = []
    for at, schema in schemas_in(document):
        if schema.get("type") == "array" and "items" not in schema:
            faults.append(f"{at}: a list of nothing")
        if not isinstance(schema.get("const", ""), str):
            faults.append(f"{at}: a constant that is no text")
        others = schema.get("additionalProperties")
        if "properties" in schema and isinstance(others, dict) and "additionalProperties" in others:
            faults.append(f"{at}: others than its fields are maps without a name")
        if "properties" in schema and "anyOf" in schema:
            faults.append(f"{at}: anyOf beside properties is taken for the whole")
        if schema.get("format") in {"duration", "time"}:
            faults.append(f"{at}: {schema['format']} is stricter than what is taken")
        if isinstance(pattern := schema.get("pattern"), str) and re.search(r"\\[^\w^$\\.*+?()[\]{}|/-]", pattern):
            faults.append(f"{at}: {pattern} is none in ECMAScript")
    assert faults == []


def test_every_operation_is_named_filed_and_guarded_or_said_to_be_open(house: House) -> None:
    document = house.app.openapi()
    assert document["servers"]
    assert document["info"]["license"]
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    names = []
    for method, path, operation in operations(document):
        assert operation["summary"], f"{method} {path}"
        assert set(operation["tags"]) <= tags, f"{method} {path}"
        assert bool(operation["security"]) == path.startswith(("/v1/", "/ofrep/")), f"{method} {path}"
        told = re.search(r"Needs a key with the scope (`[a-z]+`(?: or `[a-z]+`)*)\.$", operation.get("description", ""))
        assert bool(told) == bool(operation["security"]), f"{method} {path}"
        assert told is None or set(re.findall(r"[a-z]{4,}", told[1])) <= set(SCOPES)
        names.append(operation["operationId"])
    assert len(set(names)) == len(names)


def test_who_must_name_a_version_is_told_where_it_stands(house: House) -> None:
    for method, path, operation in operations(house.app.openapi()):
        if {"if-match", "if-none-match"} & {one["name"].lower() for one in operation.get("parameters", ())}:
            assert "ETag" in operation["responses"]["200"].get("headers", {}), f"{method} {path}"


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

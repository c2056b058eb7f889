"""Every operation answers in the shape that the OpenAPI document tells (tests/fakes/answer_shapes.py looks)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import APIRouter
from pydantic import Field

from service.settings import QuietHours
from service.web.shapes import Told, gives
from service.wiring.journeys import journey_runner
from tests.end_to_end.test_openapi_words import operations
from tests.fakes.answer_shapes import fault_of
from tests.service.pages.conftest import House, fill, make_house

MESSAGE = {"userId": "c2", "event": "Order Completed", "properties": {"revenue": 3, "products": [{"sku": "p1"}]}}
SUBJECT = {"context": {"targetingKey": "c1"}}
CUSTOMER, VARIANT = "/v1/customers/{customer_id}", "/v1/content/variants/{variant_id}"
DECISION, JOURNEY = "/v1/decisions/{decision_id}", "/v1/journeys/{journey_id}"
CALL = {"steps": [{"id": "ring", "kind": "call", "title": "Ring"}, {"id": "end", "kind": "exit"}], "name": "Calls"}
IDS = {"customer_id": "c1", "offer_id": "o4", "journey_id": "calls", "experiment_id": "hour", "key": "hour"}
CALLS: list[tuple[str, str, Any]] = [
    ("post", "/v1/identify", {"userId": "c1", "traits": {"phone": "+4915112345678"}}),
    ("post", "/v1/track", MESSAGE),
    ("post", "/v1/page", {"userId": "c2"}),
    ("post", "/v1/screen", {"userId": "c2"}),
    ("post", "/v1/group", {"userId": "c2", "groupId": "g"}),
    ("post", "/v1/alias", {"userId": "c3", "previousId": "c2"}),
    ("post", "/v1/events", {"type": "page", "userId": "c2"}),
    ("post", "/v1/batch", {"batch": [{"type": "track", **MESSAGE}]}),
    ("get", "/v1/data-report", None),
    ("get", CUSTOMER, None),
    ("get", CUSTOMER + "/scores", None),
    ("get", CUSTOMER + "/send-times?channel=email&compare=sms", None),
    ("put", CUSTOMER + "/consents", {"call": {"marketing": True}}),
    ("put", "/v1/offers", [{"offer_id": "o3", "name": "Jam", "budget": {"amount": 5, "per_days": 1}}]),
    ("put", "/v1/offers/{offer_id}", {"name": "Milk", "channels": ["email"]}),
    ("get", "/v1/offers", None),
    ("get", "/v1/offers/{offer_id}", None),
    ("post", "/v1/decisions", {"customer_id": "c4"}),
    ("post", "/v1/decisions/batch", {"requests": [{"customer_id": "c4", "channels": ["email"]}]}),
    ("get", DECISION, None),
    ("post", DECISION + "/replay", None),
    ("post", "/v1/content/generate", {"offer_id": "o1", "channel": "sms", "n": 1}),
    ("post", "/v1/content/check", {"channel": "sms", "fields": {"body": "20% off"}}),
    ("get", "/v1/content/variants", None),
    ("get", VARIANT, None),
    ("post", VARIANT + "/comment", {"text": "shorter"}),
    ("post", VARIANT + "/edit", {"fields": {"subject": "Tea"}}),
    ("post", VARIANT + "/approve", None),
    ("post", VARIANT + "/reject", {}),
    ("get", "/v1/journey-templates", None),
    ("put", "/v1/experiments/{experiment_id}", {"variants": ["a", "b"]}),
    ("post", "/ofrep/v1/evaluate/flags/{key}", SUBJECT),
    ("post", "/ofrep/v1/evaluate/flags", SUBJECT),
    ("get", "/v1/experiments", None),
    ("get", "/v1/impact", None),
    ("get", "/v1/experiments/{experiment_id}", None),
    ("get", "/v1/experiments/{experiment_id}/results", None),
    ("put", JOURNEY, CALL),
    ("post", JOURNEY + "/activate", None),
    ("post", JOURNEY + "/enrollments", {"customer_id": "c1"}),
    ("get", JOURNEY + "/tasks", None),
    ("post", JOURNEY + "/tasks/{key}/close", {"outcome": "reached"}),
    ("get", JOURNEY + "/enrollments?customer_id=c1", None),
    ("get", JOURNEY + "/stats", None),
    ("get", JOURNEY, None),
    ("get", "/v1/journeys", None),
    ("post", JOURNEY + "/retry", None),
    ("post", JOURNEY + "/pause", None),
    ("post", JOURNEY + "/archive", None),
    ("get", CUSTOMER + "/export", None),
    ("delete", "/v1/offers/{offer_id}", None),
    ("delete", CUSTOMER, None),
    ("get", "/health/live", None),
    ("get", "/health/ready", None),
    ("get", "/metrics", None),
]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = make_house(tmp_path / "home", quiet_hours=QuietHours(channels=[]))  # a call is made at whatever hour
    yield made
    made.parts.close()


async def test_every_operation_answers_in_its_shape(house: House) -> None:
    variant = (await fill(house))["variants"][1]
    known = {**IDS, "variant_id": variant["variant_id"], "etag": variant["etag"]}
    runner = journey_runner(house.parts)
    async with house.client("admin") as admin:
        for method, path, body in CALLS:
            headers = {"If-Match": known["etag"]}
            answer = await admin.request(method, path.format(**known), json=body, headers=headers)
            assert answer.status_code < 300, f"{method} {path}: {answer.text}"
            known["etag"] = answer.headers.get("ETag", known["etag"])
            if path == "/v1/decisions":
                known["decision_id"] = answer.json()["decision_id"]
            elif path.endswith("/tasks"):
                known["key"] = answer.json()["tasks"][0]["key"]
            house.parts.events.run_pass()
            runner.run_pass()
    pages = {("get", "/u/{token}"), ("post", "/u/{token}")}
    asked = {(method, path.partition("?")[0]) for method, path, _ in CALLS}
    assert asked == {(method, path) for method, path, _ in operations(house.app.openapi())} - pages


async def test_every_answer_in_json_has_a_shape_and_every_shape_a_name_of_its_own(house: House) -> None:
    document = house.app.openapi()
    told = [
        (f"{method} {path} {status}", part.get("schema", {}))
        for method, path, operation in operations(document)
        for status, answer in operation["responses"].items()
        for kind, part in answer.get("content", {}).items()
        if kind.endswith("json")
    ]
    assert [name for name, schema in told if "$ref" not in schema] == []
    assert [name for name in document["components"]["schemas"] if "__" in name] == []  # as Pydantic tells two apart
    async with house.client() as anybody:
        page = (await anybody.get("/docs")).text
    for schema in {schema["$ref"].rsplit("/", 1)[-1] for _, schema in told}:
        assert f'id="shape-{schema}"' in page


async def test_operations_have_short_names_of_their_own(house: House) -> None:
    names = [operation["operationId"] for _, _, operation in operations(house.app.openapi())]
    assert {"decisions_decide", "customers_get_scores", "offers_put_one", "events_post_track"} <= set(names)
    assert len(set(names)) == len(names)


class Asked(Told):
    """An answer."""

    count: int = Field(description="How many")


def test_an_answer_of_another_shape_is_found() -> None:
    router = APIRouter()

    @router.get("/", responses=gives(Asked))
    async def ask() -> None: ...

    [route] = router.routes
    assert fault_of(route, 200, b'{"count":1}') is None
    assert fault_of(route, 404, b'{"detail":"none"}') is None
    for other in (b'{"count":"1"}', b'{"count":1,"more":2}', b"{}"):
        assert "Asked" in str(fault_of(route, 200, other))
    assert fault_of(route, 201, b"{}") == "answers 201 without a shape"

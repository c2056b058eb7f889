"""The journeys' HTTP, over both databases."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from service.customers.identity_store import Link, set_owners
from service.journeys.enrolment_store import earlier
from service.journeys.intent_store import list_tasks
from service.journeys.routes import routes
from service.web.auth import Guard, create_key
from service.web.openapi import completed
from service.web.problems import install_problem_handlers
from tests.fakes.dying import asked_again
from tests.fakes.journeys import T0, Stage

JOURNEY = {
    "name": "Winback",
    "goal": {"event": "Order Completed", "within": "14d"},
    "steps": [
        {"id": "choose", "kind": "decide", "placement": "p", "channels": ["email"], "else": "exit"},
        {"id": "send", "kind": "send"},
        {"id": "ring", "kind": "call", "title": "Ring"},
        {"id": "rest", "kind": "wait", "for": "3d"},
    ],
}
YAML = b"""
name: Small
steps:
  - {id: rest, kind: wait, for: 1d}
"""


@pytest.fixture
async def client(stage: Stage) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(routes(stage.database, stage.clock, Guard(stage.database), stage.service.record_events))
    key = create_key(stage.database, ("admin",), "test", T0)
    transport = httpx.ASGITransport(app)
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as made:
        yield made


async def put(client: httpx.AsyncClient, body: Any = JOURNEY) -> httpx.Response:
    return await client.put("/v1/journeys/winback", json=body)


async def test_each_put_is_a_new_version_and_old_ones_stay(client: httpx.AsyncClient) -> None:
    first = await put(client)
    assert (first.status_code, first.json()["version"], first.json()["status"]) == (201, 1, "draft")
    second = await client.put("/v1/journeys/winback", content=YAML, headers={"Content-Type": "application/yaml"})
    assert (second.status_code, second.json()["version"]) == (200, 2)
    assert (await client.get("/v1/journeys/winback")).json()["definition"]["name"] == "Small"
    old = (await client.get("/v1/journeys/winback", params={"version": 1})).json()
    assert (old["version"], old["definition"]["name"]) == (1, "Winback")
    assert [one["version"] for one in old["versions"]] == [1, 2]
    assert (await client.get("/v1/journeys/winback", params={"version": 9})).status_code == 404
    assert [one["id"] for one in (await client.get("/v1/journeys")).json()["journeys"]] == ["winback"]


async def test_a_wrong_definition_is_a_problem_that_names_the_step(client: httpx.AsyncClient) -> None:
    answer = await put(client, JOURNEY | {"steps": [{"id": "a", "kind": "wait", "for": "1d", "next": "nowhere"}]})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["field"] == "steps[0].next"
    broken = await client.put("/v1/journeys/x", content=b"a: [", headers={"Content-Type": "application/yaml"})
    assert broken.status_code == 400
    assert (await client.put("/v1/journeys/x", content=b"")).status_code == 400
    assert (await client.get("/v1/journeys/x")).status_code == 404


async def test_a_former_id_enrols_its_customer_once(client: httpx.AsyncClient, stage: Stage) -> None:
    await put(client)
    await client.post("/v1/journeys/winback/activate")
    with stage.database.write() as connection:
        set_owners(connection, [Link("visitor", "anna", T0)])
    door = "/v1/journeys/winback/enrollments"
    entered = await client.post(door, json={"customer_id": "visitor"})
    assert (entered.status_code, entered.json()["customer_id"]) == (201, "anna")
    assert (await client.post(door, json={"customer_id": "anna"})).json()["reason"] == "already_enrolled"
    shown = (await client.get(door, params={"customer_id": "visitor"})).json()["enrollments"]
    assert [one["id"] for one in shown] == [entered.json()["id"]]


@pytest.mark.parametrize("rule", ["once", "always"])
async def test_an_enrolment_asked_for_again_after_its_process_died_is_the_one_that_was_made(
    stage: Stage, rule: str
) -> None:
    """A journey that lets in always took the customer in twice; another refused the very one that it had let in."""
    stage.journey({"id": "rest", "kind": "wait", "for": "3d"}, reentry={"rule": rule})
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(routes(stage.database, stage.clock, Guard(stage.database), stage.service.record_events))
    key = create_key(stage.database, ("admin",), "test", T0)

    def meanwhile() -> None:
        stage.later(minutes=1)
        stage.runner().run_due()

    door = "/v1/journeys/j/enrollments"
    first, again = await asked_again(app, stage.database, door, {"customer_id": "anna"}, key, meanwhile)
    assert (again.status_code, again.content) == (201, first)
    with stage.database.read() as connection:
        assert [one.id for one in earlier(connection, "j", "anna")] == [again.json()["id"]]


async def test_a_task_closed_again_after_its_process_died_is_closed(stage: Stage) -> None:
    stage.journey({"id": "ring", "kind": "call", "title": "Ring"}, {"id": "rest", "kind": "wait", "for": "3d"})
    stage.enrol("anna")
    stage.runner().run_due()
    with stage.database.read() as connection:
        [task] = list_tasks(connection, "j", "open", 10)
    app = FastAPI()
    install_problem_handlers(app)
    app.include_router(routes(stage.database, stage.clock, Guard(stage.database), stage.service.record_events))
    key = create_key(stage.database, ("admin",), "test", T0)
    door = f"/v1/journeys/j/tasks/{task['key']}/close"
    first, again = await asked_again(app, stage.database, door, {"outcome": "reached"}, key)
    assert (again.status_code, again.content) == (200, first)
    assert [event["event"] for event in stage.service.events].count("Call Completed") == 1


async def test_enrolment_follows_the_journeys_state_and_rule(client: httpx.AsyncClient) -> None:
    await put(client)
    door = "/v1/journeys/winback/enrollments"
    closed = await client.post(door, json={"customer_id": "anna"})
    assert (closed.status_code, closed.json()["reason"]) == (409, "not_active")
    assert (await client.post("/v1/journeys/winback/activate")).json()["status"] == "active"
    entered = await client.post(door, json={"customer_id": "anna"})
    assert (entered.status_code, entered.json()["status"]) == (201, "active")
    again = await client.post(door, json={"customer_id": "anna"})
    assert (again.status_code, again.json()["reason"]) == (409, "already_enrolled")
    assert again.json()["enrollment_id"] == entered.json()["id"]
    assert (await client.post(door, json={"customer_id": "", "x": 1})).status_code == 422
    assert (await client.post(door, json={"customer_id": "a\0b"})).status_code == 422
    assert (await client.get(door, params={"customer_id": "a\0b"})).status_code == 422
    assert (await client.post("/v1/journeys/none/enrollments", json={"customer_id": "a"})).status_code == 404


async def test_figures_enrolments_and_tasks(client: httpx.AsyncClient, stage: Stage) -> None:
    await put(client)
    await client.post("/v1/journeys/winback/activate")
    await client.post("/v1/journeys/winback/enrollments", json={"customer_id": "anna"})
    stage.runner().run_due()
    stats = (await client.get("/v1/journeys/winback/stats")).json()
    assert [step["id"] for step in stats["steps"]] == ["choose", "send", "ring", "rest"]
    send = stats["steps"][1]
    wanted = {
        "entered",
        "waiting",
        "sent",
        "opened",
        "clicked",
        "converted",
        "failed",
        "stuck",
        "first_run",
        "last_run",
    }
    assert wanted <= send.keys()
    assert (send["entered"], send["sent"], stats["steps"][3]["waiting"]) == (1, 1, 1)
    assert stats["steps"][2]["tasks"] == {"open": 1}
    (standing,) = (await client.get("/v1/journeys/winback/enrollments", params={"customer_id": "anna"})).json()[
        "enrollments"
    ]
    assert standing["step"] == "rest"
    assert [message["state"] for message in standing["messages"]] == ["sent", "sent"]
    (task,) = (await client.get("/v1/journeys/winback/tasks", params={"state": "open"})).json()["tasks"]
    closed = await client.post(f"/v1/journeys/winback/tasks/{task['key']}/close", json={"outcome": "reached"})
    assert closed.json()["state"] == "done"
    assert stage.service.events[-1]["event"] == "Call Completed"
    gone = await client.post(f"/v1/journeys/winback/tasks/{task['key']}/close", json={"outcome": "reached"})
    assert gone.status_code == 404


async def test_pause_archive_and_retry(client: httpx.AsyncClient, stage: Stage) -> None:
    await put(client)
    for verb, status in (("activate", "active"), ("pause", "paused"), ("activate", "active"), ("archive", "archived")):
        assert (await client.post(f"/v1/journeys/winback/{verb}")).json()["status"] == status
    assert (await client.post("/v1/journeys/winback/activate")).status_code == 409
    assert (await put(client)).status_code == 409
    assert (await client.post("/v1/journeys/winback/retry")).json() == {"retried": 0}


async def test_every_template_can_be_put(client: httpx.AsyncClient) -> None:
    templates = (await client.get("/v1/journey-templates")).json()["templates"]
    assert len(templates) == 4
    for template in templates:
        stored = await client.put(f"/v1/journeys/{template['id']}", json=template["definition"])
        assert stored.status_code == 201


async def test_a_key_without_the_scope_is_refused(client: httpx.AsyncClient, stage: Stage) -> None:
    key = create_key(stage.database, ("ingest",), "small", T0)
    answer = await client.put("/v1/journeys/winback", json=JOURNEY, headers={"Authorization": f"Bearer {key}"})
    assert answer.status_code == 403


async def test_the_schema_shows_the_definition(client: httpx.AsyncClient) -> None:
    document = completed((await client.get("/openapi.json")).json(), {})
    body = document["paths"]["/v1/journeys/{journey_id}"]["put"]["requestBody"]["content"]
    named = {"schema": {"$ref": "#/components/schemas/JourneyBody"}}
    assert body == {"application/json": named}
    assert "steps" in document["components"]["schemas"]["JourneyBody"]["properties"]
    assert "local_hour" in document["components"]["schemas"]["WaitBody"]["properties"]

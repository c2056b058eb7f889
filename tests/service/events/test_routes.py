"""Events in over HTTP, up to their effects."""

from __future__ import annotations

import gzip
import queue
from collections.abc import AsyncIterator
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI

from service.events import inbox_store
from service.events.inbox_writer import InboxWriter
from service.events.normalize import TYPES, Rules
from service.events.routes import routes
from service.storage.database import Database
from service.web.auth import Guard, create_key
from service.web.problems import install_problem_handlers
from tests.fakes.events import FixedClock

CLOCK = FixedClock()


@pytest.fixture
async def api(database: Database) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_problem_handlers(app)
    writer = InboxWriter(database, CLOCK)
    app.include_router(routes(writer, Rules(), CLOCK, Guard(database)))
    key = create_key(database, ("ingest",), "test", CLOCK.now())
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test", auth=(key, "")) as client:
        yield client
    writer.close()


def stored(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return inbox_store.waiting(connection, 1000)


async def test_every_call_answers_once_it_is_stored(api: httpx.AsyncClient, database: Database) -> None:
    more = {"track": {"event": "Played"}, "group": {"groupId": "g"}, "alias": {"previousId": "a"}}
    for kind in TYPES:
        answer = await api.post(f"/v1/{kind}", json={"userId": "c1", **more.get(kind, {})})
        assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [event["type"] for event in stored(database)] == list(TYPES)


async def test_a_batch_as_segments_libraries_send_it(api: httpx.AsyncClient, database: Database) -> None:
    message = {
        "integrations": {}, "anonymousId": None, "properties": {"revenue": 1}, "timestamp": "2026-03-01T11:00:00.000Z",
        "context": {"library": {"name": "analytics-python", "version": "2.4.0"}}, "userId": "c1", "type": "track",
        "event": "Order Completed", "messageId": "m1", "_metadata": {"nodeVersion": "20"},
    }  # fmt: skip
    body = orjson.dumps({"batch": [message, message], "sentAt": "2026-03-01T12:00:00+00:00", "writeKey": "secret"})
    plain = await api.post("/v1/batch", content=body)
    packed = await api.post("/v1/batch", content=gzip.compress(body), headers={"Content-Encoding": "gzip"})
    assert (plain.status_code, packed.status_code) == (200, 200)
    assert [event["message_id"] for event in stored(database)] == ["m1"]
    assert b"secret" not in inbox_store.pack(stored(database)[0])


@pytest.mark.parametrize("path", ["/v1/import", "/v1/import/", "/v1/b"])
async def test_batches_come_in_where_other_libraries_of_segments_send_them(
    api: httpx.AsyncClient, database: Database, path: str
) -> None:
    """Ruby and Java have a path of their own, Java counts its batches; those for apps send text/plain, in chunks."""

    async def parts() -> AsyncIterator[bytes]:
        message = {"type": "track", "event": "Played", "anonymousId": "a1", "messageId": "m1", "_metadata": {}}
        yield gzip.compress(orjson.dumps({"batch": [message], "sentAt": "2026-03-01T12:00:00Z", "sequence": 7}))

    answer = await api.post(path, content=parts(), headers={"Content-Encoding": "gzip", "Content-Type": "text/plain"})
    assert (answer.status_code, answer.json()) == (200, {"success": True})
    assert [event["message_id"] for event in stored(database)] == ["m1"]


async def test_one_address_takes_every_type_as_segments_webhooks_destination_sends_them(
    api: httpx.AsyncClient, database: Database
) -> None:
    """It posts each event by itself, as Segment keeps it, and again for hours while it is answered 5xx."""
    kept = {
        "version": 1, "channel": "server", "projectId": "p", "writeKey": "w", "integrations": {"All": True},
        "originalTimestamp": "2026-03-01T07:59:00.000Z", "sentAt": "2026-03-01T08:00:00.000Z",
        "receivedAt": "2026-03-01T08:00:01.000Z", "timestamp": "2026-03-01T07:59:01.000Z", "userId": "c1",
    }  # fmt: skip
    more = {"track": {"event": "Played"}, "group": {"groupId": "g"}, "alias": {"previousId": "a"}}
    for kind in TYPES:
        message = {**kept, "type": kind, "messageId": f"m-{kind}", **more.get(kind, {})}
        for _ in range(2):
            answer = await api.post("/v1/events", json=message)
            assert (answer.status_code, answer.json()) == (200, {"success": True})
    events = stored(database)
    assert [event["type"] for event in events] == list(TYPES)
    assert {event["timestamp"].isoformat() for event in events} == {"2026-03-01T07:59:01+00:00"}  # now is noon
    for wrong, told in (
        ({"userId": "c1"}, "is missing; send one of identify, track"),
        ({"userId": "c1", "type": "delete"}, "alias; a customer is erased by DELETE /v1/customers/{id}"),
    ):
        refused = await api.post("/v1/events", json=wrong)
        assert refused.status_code == 400
        [error] = refused.json()["errors"]
        assert error["field"] == "type"
        assert told in error["detail"]
    assert len(stored(database)) == len(TYPES)


async def test_messages_without_ids_are_the_same_when_a_request_under_a_key_is_done_again(
    api: httpx.AsyncClient, database: Database
) -> None:
    """As when a process dies between the commit and the answer that it would have kept under the key."""
    played = {"type": "track", "userId": "c1", "event": "Played"}
    batch = orjson.dumps({"batch": [played, played, {**played, "messageId": "m1"}]})
    for key, body, held in (("a", batch, 3), ("a", batch, 3), ("b", batch, 5), ("a", batch + b" ", 7)):
        answer = await api.post("/v1/batch", content=body, headers={"Idempotency-Key": key})
        assert (answer.status_code, len(stored(database))) == (200, held)
    for held in (8, 9):
        await api.post("/v1/track", json=played)
        assert len(stored(database)) == held


async def test_a_bad_batch_stores_nothing(api: httpx.AsyncClient, database: Database) -> None:
    batch = [{"type": "track", "userId": "c", "event": "A"}, {"type": "track", "userId": "c"}, {"type": "page"}]
    answer = await api.post("/v1/batch", json={"batch": batch})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == ["batch[1].event", "batch[2].userId"]
    assert stored(database) == []


@pytest.mark.parametrize(
    ("path", "size"), [("/v1/track", 33 * 1024), ("/v1/events", 33 * 1024), ("/v1/batch", 501 * 1024)]
)
async def test_what_is_too_large_is_413(api: httpx.AsyncClient, path: str, size: int) -> None:
    message = {"type": "track", "userId": "c", "event": "A"}
    batch = {"batch": [{**message, "properties": {"text": "x" * 20_000}} for _ in range(size // 20_000 + 1)]}
    single = {**message, "properties": {"text": "x" * size}}
    answer = await api.post(path, json=batch if path == "/v1/batch" else single)
    assert (answer.status_code, answer.json()["status"]) == (413, 413)

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(1000):
            yield b"x" * 1024

    assert (await api.post(path, content=endless())).status_code == 413


async def test_a_key_with_the_scope_is_needed(api: httpx.AsyncClient, database: Database) -> None:
    other = create_key(database, ("review",), "other", CLOCK.now())
    for auth, status in ((None, 401), (("nobody", ""), 401), ((other, ""), 403)):
        request = api.build_request("POST", "/v1/page", json={"userId": "c"})
        sent = httpx.Request("POST", request.url, json={"userId": "c"})
        headers = httpx.BasicAuth(*auth)._auth_header if auth else None
        if headers:
            sent.headers["Authorization"] = headers
        answer = await api.send(sent, auth=None)
        assert answer.status_code == status


async def test_concurrent_requests_are_all_kept(api: httpx.AsyncClient, database: Database) -> None:
    import asyncio

    answers = await asyncio.gather(
        *(api.post("/v1/track", json={"userId": "c", "event": "A", "messageId": f"m{n}"}) for n in range(100))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({event["message_id"] for event in stored(database)}) == 100


def test_segments_python_library_talks_to_it(database: Database, tmp_path: Any) -> None:
    """Its own client, in its own thread, over a real socket."""
    import threading
    import time

    import uvicorn
    from segment.analytics.client import Client

    app = FastAPI()
    install_problem_handlers(app)
    writer = InboxWriter(database, CLOCK)
    app.include_router(routes(writer, Rules(), CLOCK, Guard(database)))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    errors: queue.Queue[Any] = queue.Queue()
    key = create_key(database, ("ingest",), "library", CLOCK.now())
    client = Client(
        key, host=f"http://127.0.0.1:{port}", gzip=True, on_error=lambda error, _: errors.put(error), max_retries=1
    )
    client.identify("c1", {"name": "Ann"}, anonymous_id="a1")
    client.track("c1", "Order Completed", {"revenue": 5})
    client.page(anonymous_id="a1", name="Home", category="Start")
    client.group("c1", "acme", {"size": 5})
    client.alias("a1", "c1")
    client.flush()
    client.join()
    server.should_exit = True
    thread.join(10)
    writer.close()
    assert errors.empty()
    assert sorted(event["type"] for event in stored(database)) == ["alias", "group", "identify", "page", "track"]

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response
from sqlalchemy import insert, select

from service.clock import SystemClock
from service.errors import NotFound, Unavailable
from service.settings import Settings
from service.storage.database import Connection, Database
from service.storage.idempotency_store import GIVE_UP, answers_naming, erase_answers, idempotency_keys
from service.storage.migrate import migrate
from service.web import auth
from service.web.auth import Guard, create_key
from service.web.middleware import Idempotent, LimitBody, PlainBody
from service.web.problems import install_problem_handlers
from service.web.threads import in_thread, within
from service.wiring import build
from service.wiring.background import bring_in_what_waits
from tests.conftest import free_port
from tests.fakes.plans import plans_of, sqlite_at


class Counter:
    """A route that counts its runs, may be held up, and may fail."""

    def __init__(self) -> None:
        self.runs = 0
        self.gate = asyncio.Event()
        self.gate.set()

    async def post(self, request: Request, response: Response) -> dict[str, object]:
        self.runs += 1
        response.headers["ETag"] = f'"{self.runs}"'
        await self.gate.wait()
        body = await request.json()
        if body.get("fail"):
            raise RuntimeError("secret detail")
        return {"run": self.runs, "body": body}


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
async def client(database: Database, counter: Counter) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    install_problem_handlers(app)
    guard = Guard(database)
    app.add_api_route("/things", counter.post, methods=["POST"])
    app.add_api_route("/inflated", lambda: {"ok": True}, methods=["POST"])
    app.add_api_route("/kept", lambda: {"ok": True}, methods=["GET"], dependencies=[guard.needs("decide")])

    @app.get("/gone")
    async def gone() -> None:
        raise NotFound("offer 'x' is not known; list them at GET /v1/offers")

    app.add_middleware(Idempotent, database=database)
    app.add_middleware(PlainBody, inflated={"/inflated"})
    app.add_middleware(LimitBody, max_body=1000)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


def erase(connection: Connection, ids: Sequence[str]) -> int:
    """As an erasure does."""
    return erase_answers(connection, ids, answers_naming(connection, ids), SystemClock().now())


async def test_the_first_answer_comes_again(client: httpx.AsyncClient, counter: Counter) -> None:
    headers = {"Idempotency-Key": "k"}
    first = await client.post("/things", json={"a": 1}, headers=headers)
    again = await client.post("/things", json={"a": 1}, headers=headers)
    assert (first.json(), first.status_code) == (again.json(), again.status_code)
    assert again.headers["idempotent-replay"] == "true"
    assert (first.headers["etag"], again.headers["etag"]) == ('"1"', '"1"')  # for the next one's If-Match
    assert counter.runs == 1


async def test_an_answer_that_names_an_erased_customer_is_gone_and_nothing_is_done_again(
    client: httpx.AsyncClient, database: Database, counter: Counter
) -> None:
    for key, name in (("k", "anna ä"), ("l", "anna"), ("m", "ben")):
        await client.post("/things", json={"customer_id": name}, headers={"Idempotency-Key": key})
    with database.write() as connection:
        assert erase(connection, ["anna ä", "nobody"]) == 1
    again = await client.post("/things", json={"customer_id": "anna ä"}, headers={"Idempotency-Key": "k"})
    assert (again.status_code, again.json()["type"], counter.runs) == (410, "urn:opportune:gone", 3)
    for key, name in (("l", "anna"), ("m", "ben")):
        kept = await client.post("/things", json={"customer_id": name}, headers={"Idempotency-Key": key})
        assert kept.json()["body"] == {"customer_id": name}
    with database.read() as connection:
        answers = connection.execute(select(idempotency_keys.c.answer)).scalars().all()
    assert not any("anna ä".encode() in bytes(answer) for answer in answers if answer is not None)


async def test_a_refusal_that_names_an_erased_customer_is_gone(client: httpx.AsyncClient, database: Database) -> None:
    names = ("anna", 'o\'neil "x"', "annabel")
    for name in names:
        await client.post(
            "/things", json={"detail": f"{name!r} is in this journey now"}, headers={"Idempotency-Key": name}
        )
    with database.write() as connection:
        assert erase(connection, names[:2]) == 2
    with database.read() as connection:
        answers = connection.execute(select(idempotency_keys.c.answer)).scalars().all()
    assert [b"annabel" in bytes(answer) for answer in answers if answer is not None] == [True]


async def test_writers_do_not_wait_while_an_erasure_looks_through_answers(tmp_path: Path) -> None:
    """Only those that were found before, and requests of the last minutes, are asked for in the transaction."""
    database, ids, now = sqlite_at(tmp_path), ["anna", "anna's"], SystemClock().now()
    made = {"body_hash": "", "status": 200, "media_type": "application/json"}
    rows = [
        {"key": "old", "started_at": now - 2 * GIVE_UP, "answer": b'{"customer_id":"anna"}', **made},
        {"key": "young", "started_at": now, "answer": b'{"detail":"\'anna\' is in this journey now"}', **made},
        {"key": "another", "started_at": now, "answer": b'{"customer_id":"annabel"}', **made},
    ]
    with database.write() as connection:
        connection.execute(insert(idempotency_keys), rows)
        assert answers_naming(connection, ids) == ["old", "young"]
        assert erase_answers(connection, ids, ["old"], now) == 2
        lines = plans_of(database, connection, lambda held: erase_answers(held, ids, ["old"], now))
    assert [line for line in lines if line.startswith("SCAN idempotency_keys")] == []
    database.close()


async def test_a_client_that_goes_away_in_the_middle_of_its_body_is_no_failure_of_ours(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_api_route("/things", Counter().post, methods=["POST"])
    came = iter([{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}])
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return next(came)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/things", "query_string": b"", "headers": []}
    await app(scope, receive, send)
    assert sent[0]["status"] == 400
    assert not caplog.records


async def test_another_body_under_the_same_key_is_refused(client: httpx.AsyncClient) -> None:
    await client.post("/things", json={"a": 1}, headers={"Idempotency-Key": "k"})
    other = await client.post("/things", json={"a": 2}, headers={"Idempotency-Key": "k"})
    assert other.status_code == 422
    assert other.headers["content-type"] == "application/problem+json"


async def test_a_key_still_running_conflicts(client: httpx.AsyncClient, counter: Counter) -> None:
    counter.gate.clear()
    running = asyncio.create_task(client.post("/things", json={}, headers={"Idempotency-Key": "k"}))
    while counter.runs == 0:
        await asyncio.sleep(0.001)
    second = await client.post("/things", json={}, headers={"Idempotency-Key": "k"})
    counter.gate.set()
    assert (second.status_code, second.headers["retry-after"]) == (409, "5")
    assert (await running).status_code == 200


async def test_a_failed_request_may_be_tried_again(client: httpx.AsyncClient, counter: Counter) -> None:
    for _ in range(2):
        failed = await client.post("/things", json={"fail": True}, headers={"Idempotency-Key": "k"})
        assert failed.status_code == 500
        assert "secret detail" not in failed.text
        assert failed.json()["type"] == "about:blank"
    assert counter.runs == 2


async def test_an_answer_that_nobody_waited_for_is_kept_and_nothing_is_done_again(
    database: Database, counter: Counter, client: httpx.AsyncClient
) -> None:
    app = FastAPI()
    app.add_api_route("/things", counter.post, methods=["POST"])

    async def receive() -> Any:
        return {"type": "http.request", "body": b'{"a":1}', "more_body": False}

    async def send(message: object) -> None:
        raise asyncio.CancelledError  # a slow client's answer, as the service is stopped

    headers = [(b"idempotency-key", b"k"), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/things", "headers": headers, "query_string": b""}
    with pytest.raises(asyncio.CancelledError):
        await Idempotent(app, database)(scope, receive, send)
    again = await client.post("/things", content=b'{"a":1}', headers={"Idempotency-Key": "k"})
    assert (again.json(), counter.runs) == ({"run": 1, "body": {"a": 1}}, 1)


async def test_what_a_shutdown_cancels_is_not_done_again_while_its_thread_may_still_commit(
    database: Database, client: httpx.AsyncClient, counter: Counter
) -> None:
    app, begun, go_on = FastAPI(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go_on.wait(30)

    async def post() -> dict[str, bool]:
        await in_thread(slow)
        return {"ok": True}

    app.add_api_route("/things", post, methods=["POST"])
    stopped = httpx.ASGITransport(Idempotent(app, database))
    headers = {"Idempotency-Key": "k"}
    async with httpx.AsyncClient(transport=stopped, base_url="http://test") as asker:
        request = asyncio.create_task(asker.post("/things", json={}, headers=headers))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        request.cancel()  # as uvicorn does after its patience
        with pytest.raises(asyncio.CancelledError):
            await request
    again = await client.post("/things", json={}, headers=headers)
    go_on.set()
    assert (again.status_code, counter.runs) == (409, 0)


async def test_a_body_that_breaks_off_runs_nothing_and_leaves_the_key_free(
    database: Database, counter: Counter, client: httpx.AsyncClient
) -> None:
    app = FastAPI()
    app.add_api_route("/things", counter.post, methods=["POST"])
    parts = iter([{"type": "http.request", "body": b'{"a":', "more_body": True}, {"type": "http.disconnect"}])
    sent: list[object] = []

    async def receive() -> Any:
        return next(parts)

    async def send(message: object) -> None:
        sent.append(message)

    headers = [(b"idempotency-key", b"k")]
    scope = {"type": "http", "method": "POST", "path": "/things", "headers": headers, "query_string": b""}
    await Idempotent(app, database)(scope, receive, send)
    assert (counter.runs, sent) == (0, [])
    assert (await client.post("/things", json={"a": 1}, headers={"Idempotency-Key": "k"})).status_code == 200


async def test_a_database_that_is_away_is_503_and_not_500(counter: Counter) -> None:
    app = FastAPI()
    install_problem_handlers(app)
    app.add_api_route("/things", counter.post, methods=["POST"])
    away = Database(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
    app.add_middleware(Idempotent, database=away)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        answer = await client.post("/things", json={}, headers={"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:opportune:unavailable")
    assert answer.headers["retry-after"] == "5"
    assert counter.runs == 0


def same(again: httpx.Response, first: httpx.Response) -> bool:
    return (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])


async def test_what_goes_on_without_the_database_is_still_answered_once(database: Database, counter: Counter) -> None:
    app = FastAPI()
    app.add_api_route("/things", counter.post, methods=["POST"])
    answers = [False]
    one = Idempotent(app, database, going_on=("/things",), answers=lambda: answers[0], patience_s=10)
    other = Idempotent(app, database)

    async def post(through: Any, body: dict[str, Any], key: str = "k") -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(through), base_url="http://test") as client:
            return await client.post("/things", json=body, headers={"Idempotency-Key": key})

    first = await post(one, {"a": 1})
    assert same(await post(one, {"a": 1}), first)
    assert (await post(one, {"a": 2})).status_code == 422
    assert counter.runs == 1
    answers[0] = True
    assert same(await post(one, {"a": 1}), first)
    await post(one, {}, "another key")  # the database takes what waits
    assert same(await post(other, {"a": 1}), first)
    assert counter.runs == 2


async def test_an_erasure_takes_answers_that_wait_for_the_database(tmp_path: Path) -> None:
    parts = build(Settings(home=tmp_path))
    body = b'{"customer_id":"c1"}'
    parts.kept_here.begin("k", "hash")
    parts.kept_here.finish("k", 200, "application/json", body)
    assert parts.eraser.erase("c1", parts.events.exclusively)["erased"]["idempotency_answers"] == 1
    assert parts.kept_here.find("k") is None
    parts.close()


async def test_answers_that_wait_are_brought_in_before_anybody_asks(tmp_path: Path) -> None:
    """Another process that erases a customer finds them in the database alone."""
    parts = build(Settings(home=tmp_path))
    parts.kept_here.begin("k", "hash")
    parts.kept_here.finish("k", 200, "application/json", b'{"customer_id":"c1"}')
    parts.kept_here.begin("still running", "hash")
    bring_in_what_waits(parts)
    assert parts.kept_here.answers() == []
    assert parts.kept_here.find("still running") is not None
    with parts.database.write() as connection:
        assert erase(connection, ["c1"]) == 1
    parts.close()


async def test_an_answer_that_the_database_cannot_keep_comes_again(counter: Counter, tmp_path: Path) -> None:
    """It answers when the request comes, and is away when the answer goes."""
    database = Database(f"sqlite:///{tmp_path / 'state.db'}")
    migrate(database)
    app = FastAPI()
    app.add_api_route("/things", counter.post, methods=["POST"])
    middleware = Idempotent(app, database)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(middleware), base_url="http://test") as client:
        counter.gate.clear()
        running = asyncio.create_task(client.post("/things", json={}, headers={"Idempotency-Key": "k"}))
        while counter.runs == 0:
            await asyncio.sleep(0.001)
        middleware.database = Database(f"postgresql+psycopg://nobody@127.0.0.1:{free_port()}/none")
        counter.gate.set()
        first = await running
        assert (await client.post("/things", json={}, headers={"Idempotency-Key": "k"})).content == first.content
    assert counter.runs == 1


async def test_what_takes_too_long_is_given_up() -> None:
    with pytest.raises(Unavailable, match="longer than"):
        await within(0.01, time.sleep, 0.1)


@pytest.mark.parametrize("announced", [True, False])
async def test_a_body_over_the_limit_is_refused(client: httpx.AsyncClient, announced: bool) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    answer = await client.post("/things", content=b" " * 2000 if announced else parts())
    assert answer.status_code == 413
    assert answer.json()["status"] == 413


async def test_problems_say_what_to_do(client: httpx.AsyncClient) -> None:
    answer = await client.get("/gone")
    assert answer.status_code == 404
    assert answer.json()["detail"].endswith("GET /v1/offers")
    assert (await client.get("/nowhere")).json()["type"] == "urn:opportune:not-found"


async def test_keys_open_what_their_scope_allows(client: httpx.AsyncClient, database: Database) -> None:
    now = SystemClock().now()
    decide = create_key(database, ("decide",), "engine", now)
    ingest = create_key(database, ("ingest",), "site", now)
    admin = create_key(database, ("admin",), "me", now)

    async def status(**kwargs: object) -> int:
        return (await client.get("/kept", **kwargs)).status_code  # type: ignore[arg-type]

    assert await status() == 401
    assert await status(headers={"Authorization": "Bearer nonsense"}) == 401
    assert await status(headers={"Authorization": "Basic !!!"}) == 401
    assert await status(headers={"Authorization": f"Bearer {ingest}"}) == 403
    assert await status(headers={"Authorization": f"Bearer {decide}"}) == 200
    assert await status(auth=(decide, "")) == 200
    assert await status(headers={"Authorization": f"Bearer {admin}"}) == 200


@pytest.mark.parametrize(("encoding", "status"), [("gzip", 415), (" BR ", 415), ("identity", 200), ("", 200)])
async def test_a_compressed_body_is_named_where_none_is_read(
    client: httpx.AsyncClient, encoding: str, status: int
) -> None:
    headers = {"Content-Encoding": encoding}
    answer = await client.post("/things", json={"a": 1}, headers=headers)
    assert answer.status_code == status
    assert status == 200 or "Content-Encoding " + repr(encoding.strip().lower()) in answer.json()["detail"]
    assert (await client.post("/inflated", json={}, headers=headers)).status_code == 200


@pytest.mark.timeout(30)
async def test_a_database_that_hangs_is_waited_for_so_long_then_a_key_of_lately_is_good(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    over, slow = threading.Event(), []
    guard = Guard(database, patience_s=0.05, too_slow=lambda: slow.append(True))
    secret = create_key(database, ("decide",), "", SystemClock().now())
    known = await guard.identify(secret)
    monkeypatch.setattr(auth, "_REMEMBER_S", 0.0)  # and yet it is to be looked up again
    monkeypatch.setattr(guard, "_find", lambda _: over.wait())
    try:
        assert await guard.identify(secret) == known
        with pytest.raises(Unavailable):
            await guard.identify("op_of_nobody")
    finally:
        over.set()
    assert slow == [True, True]

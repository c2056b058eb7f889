"""`POST /v1/decisions` without the framework, for what is plainly right; all else takes the usual route.

Plain ASGI in front of the whole app. A request that names a known key and parses is decided here, by the same parser
and the same `Together` as in `routes.py`, and counted as the app counts it; any other is handed on untouched, so that
every refusal comes from one place. `http_protocol.py` does the same a step earlier, by what is written here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from service.decisions.schemas import DecisionIn
from service.decisions.together import Answered, Together, Told
from service.errors import Problem
from service.storage.key_store import ApiKey
from service.telemetry import count_request
from service.web.auth import Guard, bearer_of, require
from service.web.bodies import parse
from service.web.middleware import MAX_BODY
from service.web.problems import MEDIA_TYPE, as_problem, problem_body, raw_headers

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

PATH = "/v1/decisions"
_ROUTE = SimpleNamespace(path=PATH)
_DECIDE = ("decide",)


class FastDecisions:
    """ASGI: decides where it can."""

    def __init__(self, app: App, together: Together, guard: Guard) -> None:
        self._app = app
        self._together = together
        self._guard = guard

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        secret = _secret(scope) if scope["type"] == "http" and scope["path"] == PATH else None
        if secret is None:
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        body = await _body(receive)
        if body is None:  # the client has gone
            return
        asked = await self._asked(secret, body)
        if asked is None:
            await self._app(scope, _again(body, receive), send)
            return
        scope["route"] = _ROUTE
        told: Told
        try:
            told = await self._together.decide(asked)
        except Exception as failure:
            told = failure
        status, headers, answer = answer_of(told)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
        count(status, started)

    async def _asked(self, secret: str, body: bytes) -> DecisionIn | None:
        """The request, if its key may decide and it is right."""
        try:
            key = self._guard.remembered(secret) or await self._guard.identify(secret)
        except Problem:
            return None
        return _right(key, body)

    def asked_at_once(self, secret: str, body: bytes) -> DecisionIn | None:
        """The same where the key was looked up in the last few seconds; None otherwise."""
        key = self._guard.remembered(secret)
        return None if key is None else _right(key, body)

    def ask(self, asked: DecisionIn, answered: Answered) -> None:
        """See `Together.ask`."""
        self._together.ask(asked, answered)


def plain_secret(headers: Sequence[tuple[bytes, bytes]], longest: int = MAX_BODY) -> str | None:
    """The key of a plain POST; None for what takes more: one repeatable, compressed, long, endless or without key."""
    secret: str | None = None
    announced = False
    for name, value in headers:
        if name == b"authorization" and secret is None:
            secret = bearer_of(value) or ""
        elif name == b"content-length":
            announced = value.isdigit() and int(value) <= longest
        elif name in (b"idempotency-key", b"content-encoding"):
            return None
    return secret or None if announced else None


def answer_of(told: Told) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
    """Status, headers and body of what `Together` told."""
    if isinstance(told, bytes):
        return 200, [(b"content-length", b"%d" % len(told)), (b"content-type", b"application/json")], told
    problem = as_problem(told, "POST", PATH)
    body = problem_body(problem)
    headers = [(b"content-length", b"%d" % len(body)), (b"content-type", MEDIA_TYPE.encode())]
    return problem.status, [*headers, *raw_headers(problem)], body


def count(status: int, started: float) -> None:
    """Counts a request as the app does; `started` by `perf_counter`."""
    count_request("POST", PATH, status, perf_counter() - started)


def _secret(scope: MutableMapping[str, Any]) -> str | None:
    return plain_secret(scope["headers"]) if scope["method"] == "POST" and not scope["query_string"] else None


def _right(key: ApiKey, body: bytes) -> DecisionIn | None:
    try:
        require(key, _DECIDE)
        return parse(DecisionIn, body)
    except Problem:
        return None


async def _body(receive: Receive) -> bytes | None:
    chunks = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


def _again(body: bytes, receive: Receive) -> Receive:
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay

"""`POST /v1/decisions` without the framework, for what is plainly right; all else takes the usual route.

Plain ASGI in front of the whole app. A request that names a known key and parses is decided here, by the same parser
and the same `Together` as in `routes.py`, and counted as the app counts it; any other is handed on untouched, so that
every refusal comes from one place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from types import SimpleNamespace
from typing import Any

from service.decisions.schemas import DecisionIn, parse
from service.decisions.together import Together
from service.errors import Problem
from service.telemetry import count_request
from service.web.auth import Guard, bearer_of, require
from service.web.middleware import MAX_BODY
from service.web.problems import MEDIA_TYPE, as_problem, problem_body

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
        status, media_type = 200, b"application/json"
        try:
            answer = await self._together.decide(asked)
        except Exception as failure:
            problem = as_problem(failure, "POST", PATH)
            status, media_type, answer = problem.status, MEDIA_TYPE.encode(), problem_body(problem)
        await _answer(send, status, media_type, answer)
        count_request("POST", PATH, status, perf_counter() - started)

    async def _asked(self, secret: str, body: bytes) -> DecisionIn | None:
        """The request, if its key may decide and it is right."""
        try:
            require(self._guard.remembered(secret) or await self._guard.identify(secret), _DECIDE)
            return parse(DecisionIn, body)
        except Problem:
            return None


def _secret(scope: MutableMapping[str, Any]) -> str | None:
    """The key of a plain POST; None for whatever takes more: another method, a query, a repeatable or long request."""
    if scope["method"] != "POST" or scope["query_string"]:
        return None
    secret: str | None = None
    announced = False
    for name, value in scope["headers"]:
        if name == b"authorization" and secret is None:
            secret = bearer_of(value) or ""
        elif name == b"content-length":
            announced = value.isdigit() and int(value) <= MAX_BODY
        elif name == b"idempotency-key":
            return None
    return secret or None if announced else None


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


async def _answer(send: Send, status: int, media_type: bytes, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", media_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

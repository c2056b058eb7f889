"""`POST /v1/decisions` without the framework's routing, for what is plainly right; all else takes the usual route.

Plain ASGI in front of the routes. A request that names a known key and parses is decided here, by the same parser and
the same `Together` as in `routes.py`; any other is handed on untouched, so that every refusal comes from one place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from types import SimpleNamespace
from typing import Any

from service.decisions.schemas import DecisionIn, parse
from service.decisions.together import Together
from service.errors import Problem
from service.web.auth import Guard, presented_key, require
from service.web.problems import MEDIA_TYPE, problem_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

PATH = "/v1/decisions"
_ROUTE = SimpleNamespace(path=PATH)


class FastDecisions:
    """ASGI: decides where it can."""

    def __init__(self, app: App, together: Together, guard: Guard) -> None:
        self._app = app
        self._together = together
        self._guard = guard

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != PATH or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        body = await _body(receive)
        if body is None:  # the client has gone
            return
        asked = await self._asked(scope, body)
        if asked is None:
            await self._app(scope, _again(body, receive), send)
            return
        scope["route"] = _ROUTE
        try:
            await _answer(send, 200, b"application/json", await self._together.decide(asked))
        except Problem as problem:
            await _answer(send, problem.status, MEDIA_TYPE.encode(), problem_body(problem))

    async def _asked(self, scope: MutableMapping[str, Any], body: bytes) -> DecisionIn | None:
        """The request, if its key may decide and it is right."""
        header = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        try:
            require(await self._guard.identify(presented_key({"authorization": header.decode("latin-1")})), ("decide",))
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


async def _answer(send: Send, status: int, media_type: bytes, body: bytes) -> None:
    headers = [(b"content-length", str(len(body)).encode()), (b"content-type", media_type)]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""What stands before every route: limits on bodies and addresses, `Idempotency-Key`. Plain ASGI, a few µs a request."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from service.clock import SystemClock
from service.errors import BadRequest, Conflict, FieldError, Invalid, Problem, TooLarge
from service.storage.database import Database
from service.storage.idempotency_store import Earlier, begin, finish, forget
from service.web.auth import hash_key, presented_key
from service.web.problems import MEDIA_TYPE, problem_body
from service.web.threads import in_thread

log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 10 * 1024 * 1024


class LimitBody:
    """Refuses a body of more than `MAX_BODY` bytes with 413, whether its length was announced or not."""

    def __init__(self, app: App, max_body: int = MAX_BODY) -> None:
        self.app = app
        self.max_body = max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self.app(scope, receive, send)
            return
        announced = _header(scope, b"content-length")
        if announced and announced.isdigit() and int(announced) > self.max_body:
            await _answer(send, self._too_large())
            return
        taken, started = 0, False

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_body:
                raise self._too_large()
            return message

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, counted, watched)
        except TooLarge as problem:
            if started:
                raise
            await _answer(send, problem)

    def _too_large(self) -> TooLarge:
        return TooLarge(f"the body is larger than {self.max_body:,} bytes; send it in parts")


class PlainAddress:
    """Refuses an address with U+0000, which no database can look up, with 400."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and ("\0" in scope["path"] or b"%00" in scope.get("query_string", b"")):
            detail = "contains the control character U+0000; remove it"
            await _answer(send, BadRequest(f"the address {detail}", [FieldError("address", detail)]))
            return
        await self.app(scope, receive, send)


class Idempotent:
    """`Idempotency-Key` on POST: the same key and body get the first answer again; another body 422; running 409.

    Keys belong to the API key that sends them and to the path. Answers of 5xx and 429 are not kept: a retry may do
    better. A claim whose process died is free again after five minutes.
    """

    def __init__(self, app: App, database: Database) -> None:
        self.app = app
        self.database = database
        self.clock = SystemClock()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = _header(scope, b"idempotency-key") if scope["type"] == "http" and scope["method"] == "POST" else None
        if sent is None:
            await self.app(scope, receive, send)
            return
        if not 1 <= len(sent) <= 255:
            await _answer(send, BadRequest("Idempotency-Key has 1 to 255 characters"))
            return
        body = await _whole_body(receive)
        if body is None:
            return
        secret = presented_key({"authorization": (_header(scope, b"authorization") or b"").decode("latin-1")})
        owner = hash_key(secret) if secret else ""
        key = hashlib.sha256(b"\0".join([owner.encode(), scope["path"].encode(), sent])).hexdigest()
        body_hash = hashlib.sha256(body + b"\0" + scope.get("query_string", b"")).hexdigest()
        try:
            earlier = await in_thread(self._begin, key, body_hash)
        except Problem as away:
            await _answer(send, away)
            return
        if earlier is not None:
            await self._repeat(send, earlier, body_hash)
            return
        await self._first(scope, body, receive, send, key)

    async def _first(self, scope: Scope, body: bytes, receive: Receive, send: Send, key: str) -> None:
        given, start, chunks = False, {}, []

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def capture(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = dict(message)
            elif message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))
                if not message.get("more_body"):  # kept before it is sent: an answer seen is an answer repeated
                    await self._keep(key, start, b"".join(chunks))
                    await send(start)
                    await send({"type": "http.response.body", "body": b"".join(chunks)})

        try:
            await self.app(scope, replay, capture)
        except BaseException:
            await self._keep(key, {"status": 500}, b"")
            raise

    async def _keep(self, key: str, start: Message, answer: bytes) -> None:
        """Keeps an answer, or frees the key. Where neither can be, the answer still goes; the claim ends by time."""
        status = start["status"]
        try:
            if status >= 500 or status in {401, 403, 413, 429}:
                await in_thread(self._forget, key)
                return
            media_type = dict(start["headers"]).get(b"content-type", b"application/json").decode("latin-1")
            await in_thread(self._finish, key, status, media_type, answer)
        except Problem as away:
            log.warning("an answer under an Idempotency-Key could not be kept: %s", away.detail)

    async def _repeat(self, send: Send, earlier: Earlier, body_hash: str) -> None:
        if earlier.body_hash != body_hash:
            await _answer(send, Invalid("this Idempotency-Key was used with another body; use a new key"))
        elif earlier.status is None:
            await _answer(send, Conflict("the first request with this Idempotency-Key is still running; try again"))
        else:
            media_type = earlier.media_type or "application/json"
            await _send(send, earlier.status, media_type, earlier.answer or b"", (b"idempotent-replay", b"true"))

    def _begin(self, key: str, body_hash: str) -> Earlier | None:
        with self.database.write() as connection:
            return begin(connection, key, body_hash, self.clock.now())

    def _finish(self, key: str, status: int, media_type: str, answer: bytes) -> None:
        with self.database.write() as connection:
            finish(connection, key, status, media_type, answer)

    def _forget(self, key: str) -> None:
        with self.database.write() as connection:
            forget(connection, key)


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)


async def _whole_body(receive: Receive) -> bytes | None:
    """The body; None when the client went away in the middle of it."""
    chunks: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(chunks)


async def _answer(send: Send, problem: Problem) -> None:
    await _send(send, problem.status, MEDIA_TYPE, problem_body(problem))


async def _send(send: Send, status: int, media_type: str, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", media_type.encode("latin-1")), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""What stands before every route: limits on bodies and addresses, `Idempotency-Key`. Plain ASGI, a few µs a request."""

from __future__ import annotations

import hashlib
import logging
from asyncio import CancelledError
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any

from service.clock import SystemClock
from service.errors import (
    BadRequest,
    FieldError,
    Gone,
    Invalid,
    Problem,
    StillRunning,
    TooLarge,
    Unavailable,
    UnknownEncoding,
)
from service.storage.database import Database
from service.storage.idempotency_store import ERASED, Earlier, Once, begin, bring_in, finish, forget
from service.web.auth import hash_key, presented_key
from service.web.kept_here import KeptHere
from service.web.problems import MEDIA_TYPE, problem_body, raw_headers
from service.web.threads import in_thread, within

log = logging.getLogger(__name__)
Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

MAX_BODY = 10 * 1024 * 1024
ONCE = "opportune.once"
"""Where a request's scope has the `Once` that it is known by, if it came with a key that the database holds."""


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


class PlainBody:
    """Refuses a compressed body with 415, except at paths that read one: its bytes would be told as no JSON."""

    def __init__(self, app: App, inflated: Collection[str] = ()) -> None:
        self.app = app
        self._inflated = frozenset(inflated)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in self._inflated:
            kind = (_header(scope, b"content-encoding") or b"identity").decode("latin-1").strip().lower()
            if kind not in {"identity", ""}:
                detail = f"Content-Encoding {kind[:40]!r} is not known at this address; send the body uncompressed"
                await _answer(send, UnknownEncoding(detail))
                return
        await self.app(scope, receive, send)


class AnswerHead:
    """Answers HEAD as GET without its body (RFC 9110, 9.3.2): health checks and `curl -I` ask so."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return

        async def bare(message: Message) -> None:
            await send({**message, "body": b""} if message["type"] == "http.response.body" else message)

        await self.app({**scope, "method": "GET"}, receive, bare)


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


async def anybody(_: str | None) -> None:
    """Lets every API key, and none, leave answers."""


class Idempotent:
    """`Idempotency-Key` on POST: the same key and body get the first answer again; another body 422; running 409.

    Keys belong to the API key that sends them and to the path; who has none that is known leaves nothing here, and is
    not told again what a key that was revoked meanwhile was told. Answers of 5xx and 429 are not kept: a retry may do
    better. A claim whose process died, or was stopped before it had an answer, is free again after five minutes. While
    the database does not answer, or takes longer than `patience_s`, paths of `going_on` are answered all the same;
    their keys are then kept by this process, and brought into the database when it is back.
    """

    def __init__(
        self,
        app: App,
        database: Database,
        going_on: Collection[str] = (),
        answers: Callable[[], bool] = lambda: True,
        patience_s: float | None = None,
        too_slow: Callable[[], object] = lambda: None,
        here: KeptHere | None = None,
        identify: Callable[[str | None], Awaitable[object]] = anybody,
    ) -> None:
        """`answers`: whether the database did when it was asked last; `too_slow` is told when it does not now. `here`
        keeps answers meanwhile. `identify` raises the problem of an API key that is not known.
        """
        self.app = app
        self.database = database
        self.clock = SystemClock()
        self._going_on = frozenset(going_on)
        self._answers = answers
        self._patience_s = patience_s
        self._too_slow = too_slow
        self._here = here or KeptHere()
        self._identify = identify

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent = _header(scope, b"idempotency-key") if scope["type"] == "http" and scope["method"] == "POST" else None
        if sent is None:
            await self.app(scope, receive, send)
            return
        if not 1 <= len(sent) <= 255:
            await _answer(send, BadRequest("Idempotency-Key has 1 to 255 characters"))
            return
        secret = presented_key({"authorization": (_header(scope, b"authorization") or b"").decode("latin-1")})
        try:
            await self._identify(secret)
        except Problem:
            await self.app(scope, receive, send)  # which says what is wrong with the key, or needs none
            return
        body = await _whole_body(receive)
        if body is None:
            return
        owner = hash_key(secret) if secret else ""
        key = hashlib.sha256(b"\0".join([owner.encode(), scope["path"].encode(), sent])).hexdigest()
        body_hash = hashlib.sha256(body + b"\0" + scope.get("query_string", b"")).hexdigest()
        goes_on = scope["path"] in self._going_on
        earlier: Earlier | Once | None = self._here.find(key)
        here = False
        if earlier is None:
            try:
                earlier = await self._claim(key, body_hash, goes_on)
            except Problem as away:
                if not goes_on:
                    await _answer(send, away)
                    return
                earlier, here = self._here.begin(key, body_hash), True
        if isinstance(earlier, Earlier):
            await self._repeat(send, earlier, body_hash)
            return
        if earlier is not None:
            scope[ONCE] = earlier
        await self._first(scope, body, receive, send, key, body_hash, here)

    async def _claim(self, key: str, body_hash: str, goes_on: bool) -> Earlier | Once:
        """Asks the database; `Unavailable` when it does not answer."""
        if not goes_on:
            return await in_thread(self._begin, key, body_hash)
        if not self._answers():
            raise Unavailable("the database is away")
        try:
            return await within(self._patience_s, self._begin, key, body_hash)
        except Unavailable:
            self._too_slow()  # what is answered now need not wait as long again
            raise

    async def _first(
        self, scope: Scope, body: bytes, receive: Receive, send: Send, key: str, body_hash: str, here: bool
    ) -> None:
        """Runs the request under its key, which the database holds, or (`here`) this process."""
        given, answered, start, chunks = False, False, {}, []

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def capture(message: Message) -> None:
            nonlocal start, answered
            if message["type"] == "http.response.start":
                start = dict(message)
            elif message["type"] == "http.response.body":
                chunks.append(message.get("body", b""))
                if not message.get("more_body"):  # kept before it is sent: an answer seen is an answer repeated
                    await self._keep(key, body_hash, here, start, b"".join(chunks))
                    answered = True
                    await send(start)
                    await send({"type": "http.response.body", "body": b"".join(chunks)})

        try:
            await self.app(scope, replay, capture)
        except CancelledError:
            raise  # by a shutdown: its thread may still commit, so the claim stands, as after a kill
        except BaseException:
            if not answered:  # else the client did not wait for it, and what was done is not done again
                await self._keep(key, body_hash, here, {"status": 500}, b"")
            raise

    async def _keep(self, key: str, body_hash: str, here: bool, start: Message, answer: bytes) -> None:
        """Keeps an answer, or frees the key. What the database does not take is kept here; the answer always goes."""
        status = start["status"]
        kept = status < 500 and status not in {401, 403, 413, 429}
        headers = dict(start.get("headers", ()))
        media_type = headers.get(b"content-type", b"application/json").decode("latin-1")
        etag = headers[b"etag"].decode("latin-1") if b"etag" in headers else None
        try:
            if not here and kept:
                await within(self._patience_s, self._finish, key, status, media_type, answer, etag)
            elif not here:
                await within(self._patience_s, self._forget, key)
        except Problem as away:
            log.warning("the database could not keep an answer under an Idempotency-Key: %s", away.detail)
            self._here.begin(key, body_hash)
            here = True
        if here and kept:
            self._here.finish(key, status, media_type, answer, etag)
        elif here:
            self._here.forget(key)

    async def _repeat(self, send: Send, earlier: Earlier, body_hash: str) -> None:
        if earlier.body_hash != body_hash:
            await _answer(send, Invalid("this Idempotency-Key was used with another body; use a new key"))
        elif earlier.status is None:
            await _answer(send, StillRunning("the first request with this Idempotency-Key is still running; try again"))
        elif earlier.status == ERASED:
            await _answer(send, Gone("the answer under this Idempotency-Key was erased with a customer whom it named"))
        else:
            media_type = earlier.media_type or "application/json"
            etag = [(b"etag", earlier.etag.encode("latin-1"))] if earlier.etag is not None else []
            replay = (b"idempotent-replay", b"true")
            await _send(send, earlier.status, media_type, earlier.answer or b"", replay, *etag)

    def _begin(self, key: str, body_hash: str) -> Earlier | Once:
        waiting = self._here.answers()
        with self.database.write() as connection:
            bring_in(connection, waiting, self.clock.now())
            earlier = begin(connection, key, body_hash, self.clock.now())
        self._here.brought_in(waiting)
        return earlier

    def _finish(self, key: str, status: int, media_type: str, answer: bytes, etag: str | None) -> None:
        with self.database.write() as connection:
            finish(connection, key, status, media_type, answer, etag)

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
    await _send(send, problem.status, MEDIA_TYPE, problem_body(problem), *raw_headers(problem))


async def _send(send: Send, status: int, media_type: str, body: bytes, *more: tuple[bytes, bytes]) -> None:
    headers = [(b"content-type", media_type.encode("latin-1")), (b"content-length", str(len(body)).encode()), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})

"""uvicorn's HTTP protocol, with plain `POST /v1/decisions` answered before there is ASGI.

A task, a scope, events and two messages a request take longer than all that `fast_route.py` does. A request is held
until its body is there; if it is plainly right it is decided, and its answer written to the transport in one piece. Any
other is then handed to uvicorn as it came: every refusal comes from one place.

A client says the same before each of its requests. What was found plain once is known by its bytes on that connection,
and the parser is not asked again: with its callbacks it takes as long as all else here.

Who sends no more still gets its answers (RFC 9112, 9.6), and a request's head may not go on for ever.

An offer to go on in another protocol is passed over (RFC 9110, 7.8). Java's client makes one with every request that is
not encrypted, and httptools would take the request's body for the other protocol's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, ClassVar

import httptools
from uvicorn.config import Config
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE
from uvicorn.server import ServerState

from service.decisions.fast_route import PATH, FastDecisions, answer_of, count, plain_secret
from service.decisions.schemas import DecisionIn
from service.decisions.together import Told
from service.errors import BadRequest
from service.web.patient_protocol import PatientProtocol

_URL = PATH.encode()
_BAD = "this is no HTTP/1.1 request; see RFC 9112, or send another method"
_LONG, _MOST_HEAD = "the request's address and headers are too long", 65_536
"""Of a head that comes in many pieces; each piece is at most as long as what is read at once."""
_END_OF_HEAD = b"\r\n\r\n"
_HEADS, _HEAD_BYTES = 64, 2_048
"""Heads of plain requests that a connection remembers, and how long they may be; they differ in the length of what
follows."""
_UNKNOWN = "", -1


@dataclass(slots=True, eq=False, repr=False)  # a secret has no place in a log
class Held:
    """A request that the app has not seen. To uvicorn it is a cycle as its own are: it queues behind it what the client
    sends meanwhile, and tells it that the client has gone, or (`keep_alive`) that the server is about to end."""

    secret: str
    started: float
    keep_alive: bool = True
    disconnected: bool = False
    response_complete: bool = False
    body: bytes | bytearray = field(default_factory=bytearray)
    message_event: ClassVar = asyncio.Event()
    """Set by uvicorn when a part has come; nobody waits for it."""


class DecisionsProtocol(PatientProtocol):
    """For `uvicorn.Config(http=…)`. Only uvicorn's own where anything stands before `FastDecisions` that must see all
    requests: traces, a log of requests, a limit on connections."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        app: Any = self.app
        if isinstance(app, ProxyHeadersMiddleware):  # it tells of the client, who makes no difference here
            app = app.app
        sees_all = self.access_log or self.limit_concurrency is not None or self.root_path
        self._decisions = app if isinstance(app, FastDecisions) and not sees_all else None
        self._held: Held | None = None
        self._head_bytes = 0
        self._plain: dict[bytes, tuple[str, int]] = {}
        """Heads of requests that were plain: the key, and the length of the body."""

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._decisions is None or not self._between:
            self._parse(data)
        elif not self._ask_as_known(data, self._decisions):
            self._parse(data)
            self._remember(data)

    def _ask_as_known(self, data: bytes, decisions: FastDecisions) -> bool:
        """Asks for a decision, and says so, if this is a whole request that begins as a plain one did before."""
        head, _, body = data.partition(_END_OF_HEAD)
        secret, length = self._plain.get(head, _UNKNOWN)
        if len(body) != length or self.flow.write_paused or not self._is_first():
            return False
        held = Held(secret, perf_counter(), body=body)
        asked = _asked(decisions, held)
        if asked is None:
            return False
        self.cycle = held
        decisions.ask(asked, partial(self._answer, held))
        return True

    def _remember(self, data: bytes) -> None:
        """The head of a request that came whole, was plain and is alone."""
        held, (head, _, body) = self.cycle, data.partition(_END_OF_HEAD)
        if self._between and isinstance(held, Held) and held.body == body and len(head) <= _HEAD_BYTES:
            if len(self._plain) >= _HEADS:
                self._plain.clear()
            self._plain[head] = held.secret, len(body)

    def _parse(self, data: bytes) -> None:
        inside = self._in_head
        while data and not self._refused:
            try:
                self.parser.feed_data(data)
                if inside and self._in_head:
                    self._goes_on(len(data))
                return
            except httptools.HttpParserUpgrade as offer:
                data = self._without_offer() + data[offer.args[0] :] if self._offers_another() else b""
            except httptools.HttpParserError:
                self.logger.warning(_BAD)
                self._refuse(BadRequest(_BAD))

    def _goes_on(self, more: int) -> None:
        """A head that did not end with this piece either; nobody need have a key to send one."""
        self._head_bytes += more
        if self._head_bytes > _MOST_HEAD:
            self.logger.warning(_LONG)
            self._refuse(BadRequest(_LONG))

    def eof_received(self) -> bool:  # type: ignore[override]
        """Whether the connection stays until all is answered: the client may only have said that it asks no more."""
        last = self.pipeline[0][0] if self.pipeline else self.cycle
        stays = (self._between or self._refused) and last is not None and not last.response_complete
        if stays:
            last.keep_alive = False
        return stays

    def on_message_begin(self) -> None:
        self._head_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if not self._offers_another():
            secret = None if self._decisions is None else self._plain_secret()
            if secret is None:
                super().on_headers_complete()
            else:
                self.cycle = self._held = Held(secret, perf_counter())
        self._in_head = False  # not where the head could not be read: then the request has no cycle

    def on_message_complete(self) -> None:
        held, self._held = self._held, None
        self._between = True
        if held is None or self._decisions is None:
            if not self._offers_another():
                super().on_message_complete()
            return
        asked = _asked(self._decisions, held)
        if asked is None:
            self._hand_over(held)
        else:
            self._decisions.ask(asked, partial(self._answer, held))

    def _plain_secret(self) -> str | None:
        """The key, where no other request is before this one, no answer waits for its reader, and it is plain."""
        parser = self.parser
        plain = (
            self.url == _URL
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not self.expect_100_continue
            and not self.flow.write_paused
            and self._is_first()
        )
        return plain_secret(self.headers, HIGH_WATER_LIMIT) if plain else None

    def _offers_another(self) -> bool:
        """Whether the request would go on in another protocol, so that it comes again, without that."""
        return self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT"  # which offers nothing

    def _without_offer(self) -> bytes:
        """The request so far, once more."""
        parser = self.parser
        lines = [b"%s %s HTTP/%s" % (parser.get_method(), self.url, parser.get_http_version().encode())]
        lines += [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([*lines, b"", b""])

    def _hand_over(self, held: Held) -> None:
        """To uvicorn, as if it came now."""
        self.cycle = None
        super().on_headers_complete()
        self.cycle.keep_alive = held.keep_alive
        super().on_body(bytes(held.body))
        super().on_message_complete()

    def _answer(self, held: Held, told: Told) -> None:
        status, headers, body = answer_of(told)
        count(status, held.started)
        if held.disconnected:
            return
        held.response_complete = True
        lines = [STATUS_LINE[status]]
        for name, value in (*self.server_state.default_headers, *headers):
            lines += (name, b": ", value, b"\r\n")
        lines += (b"\r\n" if held.keep_alive else b"connection: close\r\n\r\n", body)
        self.transport.write(b"".join(lines))
        if not held.keep_alive:
            self.transport.close()
        self.on_response_complete()


def _asked(decisions: FastDecisions, held: Held) -> DecisionIn | None:
    try:
        return decisions.asked_at_once(held.secret, bytes(held.body))
    except Exception:  # to the parser that calls us it would be bad HTTP; the app tells it as it is
        return None

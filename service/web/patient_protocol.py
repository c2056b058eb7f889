"""uvicorn's HTTP protocol, with an end to its patience, and what is no HTTP refused in its turn.

uvicorn waits for good for a request whose next byte never comes, and for who does not read an answer. Each connection
is looked at now and then, whatever it does in between, so that requests pay nothing for it. A look finds a client owing
us only while nothing of ours is under way. Looks are counted, not seconds: a pause of this process is nobody's fault.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from service.errors import Problem, TooSlow
from service.web.problems import MEDIA_TYPE, problem_body

LOOK_S, LOOKS = 15.0, 4
"""So often a connection is looked at, and so often again it may be found owing the same: a minute and a quarter."""
_NEXT = "a request"


class PatientProtocol(HttpToolsProtocol):
    """Heirs keep `_between` and `_in_head` true to where the parser is."""

    cycle: Any

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._between = True
        """Whether the parser has seen the last request's end and nothing of the next."""
        self._in_head = False
        self._requests = 0
        self._refused = False
        """Whether the parser has met its end: whatever comes behind that is nothing to us."""
        self._owed: object = None
        self._looks = 0
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(LOOK_S, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        self._between, self._in_head = False, True
        self._requests += 1
        super().on_message_begin()

    def _look(self) -> None:
        owed = self._what_is_owed()
        self._looks = self._looks + 1 if owed is not None and owed == self._owed else 0
        self._owed = owed
        if self._looks < LOOKS:
            self._timer = self.loop.call_later(LOOK_S, self._look)
        elif self.transport.get_write_buffer_size():
            self.transport.abort()
        elif owed is _NEXT:
            self.transport.close()
        else:
            self._refuse(TooSlow("the request did not come to its end in time; send it again, and whole"))

    def _what_is_owed(self) -> object:
        """What the client must do next: the same while it does nothing, or drips. None where it is our turn."""
        unread = self.transport.get_write_buffer_size()
        if unread:
            return unread
        if self._between:  # uvicorn's timer waits from the last answer on, but empty lines stop it
            return _NEXT if self._is_first() and self.timeout_keep_alive_task is None else None
        ours = self.flow.read_paused or (self._in_head and not self._is_first())
        return None if ours else (self._requests,)

    def _is_first(self) -> bool:
        """Whether no other request is before this one."""
        return self.cycle is None or self.cycle.response_complete

    def _refuse(self, problem: Problem) -> None:
        """Tells it once the requests before are answered, and ends the connection."""
        own = None if self._between or self._in_head else self.cycle
        self._refused, self._between = True, False
        if own is not None and self.pipeline:  # it waits for its turn, and would wait for the rest of its body then
            own.keep_alive = False
            self.pipeline[0] = own, _telling(problem)
        elif own is None and not self._is_first():
            self.flow.pause_reading()
            self.cycle = self._cycle_of_nothing()
            self.pipeline.appendleft((self.cycle, _telling(problem)))
        else:
            if not getattr(own, "response_started", False):
                self._write(problem)
            if own is not None:
                own.disconnected = True
            self.transport.close()

    def _cycle_of_nothing(self) -> RequestResponseCycle:
        return RequestResponseCycle(
            scope=self.scope | {"method": "GET", "path": "/", "raw_path": b"/", "query_string": b""},
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )

    def _write(self, problem: Problem) -> None:
        """A problem like every other, of what no route sees."""
        body = problem_body(problem)
        head = [STATUS_LINE[problem.status], *[b"%s: %s\r\n" % pair for pair in self.server_state.default_headers]]
        head += [b"%s: %s\r\n" % pair for pair in _headers(body)]
        self.transport.write(b"".join([*head, b"\r\n", body]))


def _headers(body: bytes) -> list[tuple[bytes, bytes]]:
    length = b"%d" % len(body)
    return [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", length), (b"connection", b"close")]


def _telling(problem: Problem) -> ASGI3Application:
    async def app(_scope: Any, _receive: Any, send: Any) -> None:
        body = problem_body(problem)
        await send({"type": "http.response.start", "status": problem.status, "headers": _headers(body)})
        await send({"type": "http.response.body", "body": body})

    return app

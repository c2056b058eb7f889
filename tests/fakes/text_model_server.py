"""An OpenAI-compatible endpoint on loopback that can behave well, or badly in every way that has been seen."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

BEHAVIOURS = (
    "honest", "lying", "repairing", "refusing", "empty", "prose", "fenced", "truncated", "slow", "dripping", "error",
    "not_json", "wrong_shape", "too_few", "hang_up", "endless", "endless_error", "bomb", "redirecting",
)  # fmt: skip
ENDLESS = 64 * 2**20
"""Bytes after which an endless answer ends all the same, so that a test does."""
_TEXT = {
    "subject": "For you: {{ offer.name }}", "preheader": "{{ offer.name }}",
    "title": "{{ offer.name }}", "cta": "See it",
    "body": "A good day to try {{ offer.name }}.", "script": "Hello, this is about {{ offer.name }}.",
    "payload": '{"text": "{{ offer.name }}"}',
}  # fmt: skip


class FakeTextModel:
    """Serves `/v1/chat/completions`. `requests` keeps each request's JSON; `behaviour` may change between calls."""

    def __init__(self, behaviour: str = "honest") -> None:
        self.behaviour = behaviour
        self.requests: list[dict[str, Any]] = []
        self.released = threading.Event()
        self.written = 0
        """Bytes of endless answers that somebody took."""
        fake = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                fake.requests.append(json.loads(body))
                fake.answer(self, fake.requests[-1])

            def log_message(self, *_: Any) -> None:
                """Quiet."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.base_url = f"http://127.0.0.1:{self._server.server_port}/v1"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def answer(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # the client gave up, as it should
            getattr(self, f"_{self.behaviour}")(handler, request)

    def _honest(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion(json.dumps({"variants": _variants(request)})))

    def _lying(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        lies = [{**item, _text_field(item): "Only $3.99 today, 75% off, free!"} for item in _variants(request)]
        _send(handler, _completion(json.dumps({"variants": lies})))

    def _repairing(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        (self._honest if len(request["messages"]) > 2 else self._lying)(handler, request)

    def _refusing(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion(None, refusal="I cannot help with that."))

    def _empty(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion(None))

    def _prose(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion("Sure! Here are some lovely variants for your offer."))

    def _fenced(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion("```json\n" + json.dumps({"variants": _variants(request)}) + "\n```"))

    def _truncated(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion(json.dumps({"variants": _variants(request)})[:40], finish="length"))

    def _slow(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        self.released.wait(30)
        self._honest(handler, request)

    def _dripping(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        """Never silent long enough for a read timeout, never done."""
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-length", "1000000")
        handler.end_headers()
        while not self.released.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()

    def _error(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, {"error": {"message": "overloaded"}}, 500)

    def _not_json(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        body = b"<html>Welcome</html>"
        handler.send_response(200)
        handler.send_header("content-type", "text/html")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _wrong_shape(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion(json.dumps({"variants": [{"subject": 5}, "text", None]})))

    def _too_few(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        _send(handler, _completion(json.dumps({"variants": _variants(request)[:1]})))

    def _endless(self, handler: BaseHTTPRequestHandler, request: dict[str, Any], status: int = 200) -> None:
        handler.send_response(status)
        handler.send_header("content-type", "application/json")
        handler.end_headers()
        while self.written < ENDLESS and not self.released.is_set():
            self.written += handler.wfile.write(b" " * 65_536)

    def _endless_error(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        self._endless(handler, request, 400)

    def _bomb(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        """Little to send, much to keep."""
        body = gzip.compress(b" " * ENDLESS + json.dumps(_completion("{}")).encode())
        handler.send_response(200)
        handler.send_header("content-type", "application/json")
        handler.send_header("content-encoding", "gzip")
        handler.send_header("content-length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def _redirecting(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        """To where it would be answered well."""
        if handler.path == "/other":
            self._honest(handler, request)
            return
        handler.send_response(307)
        handler.send_header("location", "/other")
        handler.send_header("content-length", "0")
        handler.end_headers()

    def _hang_up(self, handler: BaseHTTPRequestHandler, request: dict[str, Any]) -> None:
        handler.close_connection = True


@contextmanager
def fake_text_model(behaviour: str = "honest") -> Iterator[FakeTextModel]:
    """A running fake; stopped at the end."""
    fake = FakeTextModel(behaviour)
    try:
        yield fake
    finally:
        fake.close()


def _variants(request: dict[str, Any]) -> list[dict[str, str]]:
    """One variant for each that the task asks for, with the fields of the schema."""
    task = json.loads(request["messages"][1]["content"])
    item = request["response_format"]["json_schema"]["schema"]["properties"]["variants"]["items"]
    fields = [name for name in item["required"] if name != "angle"]
    stop = '<p>{}</p><p><a href="{{{{ unsubscribe_url }}}}">Stop</a></p>'
    return [
        {
            "angle": wanted["angle"],
            **{
                name: stop.format(_TEXT[name]) if task["channel"] == "email" and name == "body" else _TEXT[name]
                for name in fields
            },
        }
        for wanted in task["variants"]
    ]


def _text_field(item: dict[str, str]) -> str:
    return next(name for name in ("subject", "title", "body", "script", "payload") if name in item)


def _completion(content: str | None, refusal: str | None = None, finish: str = "stop") -> dict[str, Any]:
    message = {"role": "assistant", "content": content, "refusal": refusal}
    return {
        "id": "fake",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": "fake-1",
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }


def _send(handler: BaseHTTPRequestHandler, document: dict[str, Any], status: int = 200) -> None:
    body = json.dumps(document).encode()
    handler.send_response(status)
    handler.send_header("content-type", "application/json")
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)

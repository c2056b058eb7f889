"""Spans go to the collector that the user names, without ids; a collector that is away costs nothing."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import httpx
import pytest
from fastapi import FastAPI
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from service import tracing
from service.tracing import TraceRequests, is_configured

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Collector(HTTPServer):
    """Takes OTLP over HTTP, as a real collector does."""

    spans: list[Span]


class Take(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        asked = ExportTraceServiceRequest.FromString(body)
        assert isinstance(self.server, Collector)
        self.server.spans += [s for r in asked.resource_spans for scope in r.scope_spans for s in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    server = Collector(("127.0.0.1", 0), Take)
    server.spans = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "none")
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def shop() -> FastAPI:
    app = FastAPI()

    @app.get("/customers/{customer_id}")
    async def customer(customer_id: str) -> str:
        if customer_id == "broken":
            raise ZeroDivisionError
        return customer_id

    app.add_middleware(TraceRequests)
    return app


async def ask(app: FastAPI, *paths: str) -> list[int]:
    """Runs the app to its shutdown, at which the spans are flushed; the statuses of the answers."""
    stack = app.build_middleware_stack()
    transport = httpx.ASGITransport(app=stack, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://shop") as client:
        statuses = [(await client.get(path, headers={"traceparent": PARENT})).status_code for path in paths]
    told = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, str]:
        return next(told)

    async def send(_: object) -> None:
        """Start-up and shutdown have nothing to say here."""

    await stack({"type": "lifespan", "app": app, "state": {}}, receive, send)  # type: ignore[arg-type]
    return statuses


async def test_a_request_is_a_span_of_its_caller_and_names_the_route_not_the_customer(collector: Collector) -> None:
    await ask(shop(), "/customers/anna@example.net")
    (span,) = collector.spans
    assert span.name == "GET /customers/{customer_id}"
    assert span.trace_id.hex() == PARENT.split("-")[1]
    assert span.parent_span_id.hex() == PARENT.split("-")[2]
    told = {pair.key: pair.value for pair in span.attributes}
    assert told["http.response.status_code"].int_value == 200
    assert "anna" not in str(span)


async def test_what_fails_is_marked_and_unknown_paths_share_a_name(collector: Collector) -> None:
    await ask(shop(), "/customers/broken", "/nothing/here")
    broken, unmatched = collector.spans
    assert broken.status.code == Status.STATUS_CODE_ERROR
    assert unmatched.name == "GET unmatched"


async def test_a_collector_that_is_away_costs_a_request_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    assert await ask(shop(), "/customers/anna") == [200]
    assert "Failed to export" in caplog.text


def has_ended(line: socket.socket) -> bool:
    try:
        while line.recv(65_536):
            pass
    except TimeoutError:
        return False
    return True


async def test_a_collector_that_takes_and_never_answers_is_not_waited_for_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tracing, "FLUSH_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{mute.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
        assert await ask(shop(), "/customers/anna") == [200]
        mute.settimeout(2)
        line, _ = mute.accept()
        with line:
            line.settimeout(0.2)
            assert not has_ended(line)  # who sent still waits


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
    ],
)
def test_only_who_names_a_collector_is_traced(environment: dict[str, str], expected: bool) -> None:
    assert is_configured(environment) is expected

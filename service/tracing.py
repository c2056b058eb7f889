"""OpenTelemetry, when configured: one span a request, sent by OTLP over HTTP to the collector that the user names.

On when `OTEL_EXPORTER_OTLP_ENDPOINT` (or `..._TRACES_ENDPOINT`) is set, OpenTelemetry's own variables; they also hold
headers, timeout and sampling. A span carries the route's template, never an address with an id in it.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from threading import Thread
from typing import TYPE_CHECKING, Any

from service.telemetry import App, Message

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

log = logging.getLogger(__name__)
FLUSH_S = 2.0
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def is_configured(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether the user named a collector."""
    disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    return not disabled and any(environment.get(name) for name in _ENDPOINTS)


class TraceRequests:
    """ASGI: a span for every request, as a child of the caller's (W3C `traceparent`).

    Spans leave in batches from a thread of their own; a collector that is away costs a request nothing.

    Raises:
        RuntimeError: a collector is named, but the extra `otel` is not installed.
    """

    def __init__(self, app: App) -> None:
        self.app = app
        self._tracer, self._provider = _tracer()

    async def __call__(self, scope: Message, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            if scope["type"] == "lifespan":
                self._flush()
            return
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        method = scope["method"]
        with self._tracer.start_as_current_span(method, extract(headers), SpanKind.SERVER) as span:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self.app(scope, receive, watched)
            finally:
                route = getattr(scope.get("route"), "path", "unmatched")
                span.update_name(f"{method} {route}")
                span.set_attributes({"http.request.method": method, "http.route": route})

    def _flush(self) -> None:
        """Sends what waits, as long as a stop may take; OpenTelemetry would wait 10 s for each batch."""
        last = Thread(target=self._provider.shutdown, name="last-spans", daemon=True)
        last.start()
        last.join(FLUSH_S)
        if last.is_alive():
            log.warning("the collector did not take the last spans within %g s; they are lost", FLUSH_S)


def _tracer() -> tuple[Tracer, Any]:
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    except ImportError as missing:
        raise RuntimeError(
            f"{_ENDPOINTS[0]} is set, but OpenTelemetry's exporter is not installed: pip install 'opportune[otel]'"
        ) from missing
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", "opportune")})
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("opportune"), provider

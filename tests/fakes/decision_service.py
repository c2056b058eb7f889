"""A stand-in for the service over real HTTP: keeps what it is sent, decides by a rule, mails whom a journey enrols."""

from __future__ import annotations

import itertools
import smtplib
import threading
from collections.abc import Callable
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson

Rule = Callable[[str], tuple[str, str] | None]


class DecisionService:
    """`rule(customer)` gives offer and channel, or None for a holdout."""

    def __init__(self, clock: Path, rule: Rule, smtp_port: int = 0) -> None:
        self.events: list[dict[str, Any]] = []
        self.decisions: dict[str, dict[str, Any]] = {}
        self.enrolled: list[str] = []
        self.capped: set[str] = set()
        """Customers whom no rule lets anything go to."""
        self.send_at: str | None = None
        """When messages of decisions are planned for; None: at once."""
        self._clock, self._rule, self._smtp_port = clock, rule, smtp_port
        self._to_mail: list[str] = []
        self._numbers = itertools.count()
        self._lock = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        """The route's answer."""
        with self._lock:
            if path == "/health/ready":
                self._run_journey()
                beats = {"journeys": {"at": self._clock.read_text(), "due": 0}, "events": {"pending": 0}}
                return 200, {"status": "ok", "heartbeats": beats}
            if path == "/v1/batch":
                self.events += body["batch"]
                return 200, {"success": True}
            if path == "/v1/decisions/batch":
                return 200, {"decisions": [self._decide(request["customer_id"]) for request in body["requests"]]}
            if path.startswith("/v1/decisions/"):
                return 200, self.decisions[path.rsplit("/", 1)[1]]
            if path.endswith("/enrollments"):
                self.enrolled.append(body["customer_id"])
                self._to_mail.append(body["customer_id"])
                return 201, {"customer_id": body["customer_id"]}
            return 404, {"title": "Not found", "detail": f"{method} {path}", "status": 404}

    def _decide(self, customer: str) -> dict[str, Any]:
        chosen = self._rule(customer)
        decision: dict[str, Any] = {
            "decision_id": f"d{next(self._numbers)}",
            "customer_id": customer,
            "decided_at": self._clock.read_text(),
            "arm": "holdout" if chosen is None else "model",
            "actions": [] if chosen is None else [self._action(*chosen)],
            "candidates": [{"offer_id": "coffee-30", "channel": "push", "eligible": customer not in self.capped}],
        }
        self.decisions[decision["decision_id"]] = decision
        return decision

    def _action(self, offer: str, channel: str) -> dict[str, Any]:
        return {"rank": 1, "offer_id": offer, "channel": channel, "send_at": self.send_at}

    def _run_journey(self) -> None:
        for customer in self._to_mail:
            decision = self._decide(customer)
            decision["actions"] = [{"rank": 1, "offer_id": "come-back", "channel": "email"}]
            message = EmailMessage()
            message["To"], message["From"] = f"{customer}@example.net", "shop@example.net"
            message["X-Opportune-Decision"] = decision["decision_id"]
            message.set_content("Come back!")
            with smtplib.SMTP("127.0.0.1", self._smtp_port) as smtp:
                smtp.send_message(message)
        self._to_mail.clear()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        service = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, answer = service.answer(self.command, self.path, orjson.loads(content) if content else None)
                data = orjson.dumps(answer)
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PUT = _serve  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                """Says nothing."""

        return Handler

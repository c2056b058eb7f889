"""What arrives at the world's customers: a real SMTP server, and the file channel's outbox."""

from __future__ import annotations

import email
import email.policy
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orjson
from aiosmtpd.controller import Controller

DECISION_HEADER = "X-Opportune-Decision"


@dataclass(frozen=True, slots=True)
class Arrival:
    """A message that arrived: to whom (an address or a customer's id), and by which decision."""

    recipient: str
    decision_id: str | None
    channel: str


class _Handler:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.arrived: list[Arrival] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        decision = message.get(DECISION_HEADER)
        with self.lock:
            self.arrived += [
                Arrival(recipient, None if decision is None else str(decision).strip(), "email")
                for recipient in envelope.rcpt_tos
            ]
        return "250 Message accepted for delivery"


class Mailbox:
    """An SMTP server on a free port of this machine, which keeps what it takes until it is fetched."""

    def __init__(self) -> None:
        self._handler = _Handler()
        self.port = _free_port()
        self._controller = Controller(self._handler, hostname="127.0.0.1", port=self.port)

    def __enter__(self) -> Self:
        self._controller.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._controller.stop()

    def take(self) -> list[Arrival]:
        """What arrived since the last call."""
        with self._handler.lock:
            taken, self._handler.arrived = self._handler.arrived, []
        return taken


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Outbox:
    """Reads what the file channel wrote since the last call: JSON lines in a folder, complete lines only."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: dict[Path, int] = {}

    def take(self) -> list[Arrival]:
        """New messages, in the files' order."""
        return [
            Arrival(str(line["customer_id"]), line.get("decision_id"), str(line["channel"]))
            for line in self._new_lines()
        ]

    def _new_lines(self) -> Iterator[dict[str, Any]]:
        for path in sorted(self._folder.glob("**/*.jsonl")):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read[path] = self._read.get(path, 0) + len(line)
                    yield orjson.loads(line)

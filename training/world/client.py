"""The service's HTTP API, as much of it as the world and the demo use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import httpx
import orjson

BATCH_BYTES = 450_000  # the API takes 500 KB
BATCH_DECISIONS = 500  # the API takes 1,000


class ApiError(RuntimeError):
    """The API refused; the message says what it said."""


class Api:
    """A connection with a key. Every refusal raises `ApiError`, with the problem's detail."""

    def __init__(self, base_url: str, key: str) -> None:
        self.base_url = base_url
        self._client = httpx.Client(
            base_url=base_url, timeout=60.0, headers={"Authorization": f"Bearer {key}"}, trust_env=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def call(
        self, method: str, path: str, body: Any = None, *, headers: Mapping[str, str] | None = None, ok: int = 0
    ) -> Any:
        """The answer's JSON. `body` as bytes is sent as it is. `ok` is one more status that is no refusal."""
        content = body if isinstance(body, bytes) or body is None else orjson.dumps(body)
        sent = {"Content-Type": "application/json", **(headers or {})} if content is not None else dict(headers or {})
        answer = self._client.request(method, path, content=content, headers=sent)
        if answer.is_success or answer.status_code == ok:
            return orjson.loads(answer.content) if answer.content else None
        raise ApiError(f"{method} {path} answered {answer.status_code}: {_problem(answer)}")

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Any:
        return self.call("POST", path, body, headers=headers)

    def put(self, path: str, body: Any, *, headers: Mapping[str, str] | None = None) -> Any:
        return self.call("PUT", path, body, headers=headers)

    def ready(self) -> dict[str, Any]:
        """`/health/ready`, also when it says that something is not."""
        found: dict[str, Any] = self.call("GET", "/health/ready", ok=503)
        return found

    def send_events(self, events: Iterable[Mapping[str, Any]]) -> int:
        """`/v1/batch`, in batches under the limit; returns how many were sent."""
        count = 0
        for lines in _batches(events):
            self.post("/v1/batch", b'{"batch":[' + b",".join(lines) + b"]}")
            count += len(lines)
        return count

    def decide(self, requests: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """`/v1/decisions/batch`: a decision a request, in their order."""
        found: list[dict[str, Any]] = []
        for start in range(0, len(requests), BATCH_DECISIONS):
            part = requests[start : start + BATCH_DECISIONS]
            answer = self.post("/v1/decisions/batch", {"requests": list(part)})
            decisions = answer["decisions"] if isinstance(answer, dict) else answer
            if len(decisions) != len(part):
                raise ApiError(f"{len(part)} decisions were asked for and {len(decisions)} came")
            found += decisions
        return found


def wait_until(holds: Callable[[], bool], what: str, timeout_s: float, pause_s: float = 0.02) -> None:
    """Polls until it holds; TimeoutError says for what it waited in vain."""
    end = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > end:
            raise TimeoutError(f"waited {timeout_s:.0f} s in vain for {what}")
        time.sleep(pause_s)


def _batches(events: Iterable[Mapping[str, Any]]) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    size = 0
    for event in events:
        line = orjson.dumps(event)
        if lines and size + len(line) > BATCH_BYTES:
            yield lines
            lines, size = [], 0
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield lines


def _problem(answer: httpx.Response) -> str:
    try:
        problem = answer.json()
    except ValueError:
        return answer.text[:200]
    errors = "; ".join(f"{e.get('field')}: {e.get('detail')}" for e in problem.get("errors", [])[:3])
    return f"{problem.get('detail') or problem.get('title')}{' (' + errors + ')' if errors else ''}"

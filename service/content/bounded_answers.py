"""An HTTP client for an endpoint that need not mean well: its answers are kept to a length, and lead nowhere else."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

MOST = 2 * 2**20
"""Bytes of an answer; the copy that is asked for takes some kilobytes."""


class AnswerRefused(Exception):
    """Why an answer was not read to its end."""


def bounded_client(timeout_s: float) -> httpx2.AsyncClient:
    """Follows no redirect: it could lead a key and a prompt to another host. Reading raises AnswerRefused."""
    return httpx2.AsyncClient(
        timeout=timeout_s,
        follow_redirects=False,
        headers={"accept-encoding": "identity"},
        event_hooks={"response": [_bound]},
    )


async def _bound(answer: httpx2.Response) -> None:
    if answer.headers.get("content-encoding", "identity").lower() != "identity":  # little to send may be much to keep
        raise AnswerRefused("the answer was compressed, which was not asked for")
    assert isinstance(answer.stream, httpx2.AsyncByteStream)
    answer.stream = _Bounded(answer.stream)


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST
        async for part in self._stream:
            left -= len(part)
            if left < 0:
                raise AnswerRefused(f"the answer was longer than {MOST // 2**20} MiB")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()

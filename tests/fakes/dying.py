"""A process that dies with its answer in hand, and the next one that is asked the same under the same key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import update

from service.clock import SystemClock
from service.storage.database import Database
from service.storage.idempotency_store import GIVE_UP, idempotency_keys
from service.web.middleware import App, Idempotent


class KilledError(BaseException):
    """Stands for a kill at this point."""


class Dying(Idempotent):
    """A process that is killed before it has kept an answer; `answer` is what it would have said."""

    answer: bytes | None = None

    async def _keep(self, *of: Any) -> None:
        self.answer = self.answer or of[-1]
        raise KilledError


def five_minutes_later(database: Database) -> None:
    """A claim without an answer is free again."""
    with database.write() as connection:
        long_ago = SystemClock().now() - GIVE_UP - timedelta(seconds=1)
        connection.execute(update(idempotency_keys).values(started_at=long_ago))


async def asked_again(
    app: App, database: Database, path: str, body: Any, key: str, meanwhile: Callable[[], object] = lambda: None
) -> tuple[bytes, httpx.Response]:
    """What a process that died would have answered, and what the next one answers."""
    dying, living = Dying(app, database), Idempotent(app, database)
    headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}
    with pytest.raises(KilledError):
        await _post(dying, path, body, headers)
    meanwhile()
    five_minutes_later(database)
    assert dying.answer is not None
    return dying.answer, await _post(living, path, body, headers)


async def _post(app: App, path: str, body: Any, headers: dict[str, str]) -> httpx.Response:
    transport = httpx.ASGITransport(app)  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        return await client.post(path, json=body, headers=headers)

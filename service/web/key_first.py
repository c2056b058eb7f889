"""Routes that ask for the API key before they read the body."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute


class KeyFirst(APIRoute):
    """For a router whose routes declare bodies: FastAPI parses a body first and looks at dependencies afterwards.

    So who had no key could have ten megabytes of JSON parsed on the event loop, and nobody was answered meanwhile.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        checks: list[Any] = [one.call for one in self.dependant.dependencies if hasattr(one.call, "scopes")]

        async def first(request: Request) -> Response:
            for check in checks:
                await check(request)
            return await handle(request)

        return first
